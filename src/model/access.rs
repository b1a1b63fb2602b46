//! How a service is recognised on the network.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Mac;
use super::decode::{
    Problems, Reader, SecretField, boolean, number, octets, octets_from_text, octets_to_text, parsed, text,
};
use super::object::Kind;
use super::reference::Ref;

/// Bytes of an agent circuit-id or remote-id, compared as bytes and shown as text or `0x…`.
#[derive(Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct LineId(pub Vec<u8>);

impl std::fmt::Debug for LineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&octets_to_text(&self.0))
    }
}

impl Serialize for LineId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&octets_to_text(&self.0))
    }
}

impl<'de> Deserialize<'de> for LineId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        octets_from_text(&text).map(Self).ok_or_else(|| serde::de::Error::custom("not octets"))
    }
}

/// What a packet must show to be this access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Identity {
    /// A PPPoE login with its password.
    Pppoe {
        /// User-Name after the NAS profile's name rules.
        login: String,
        /// Password, write-only.
        #[serde(default)]
        #[schema(value_type = Option<String>)]
        password: SecretField,
    },
    /// A CPE's MAC address on an IPoE network.
    IpoeMac {
        /// The address.
        #[schema(value_type = String)]
        mac: Mac,
    },
    /// A line, by relay agent information (DHCP option 82, or its RADIUS equivalents).
    IpoeOpt82 {
        /// Agent circuit-id, raw bytes; `0x…` when not printable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        circuit_id: Option<LineId>,
        /// Agent remote-id, raw bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        remote_id: Option<LineId>,
    },
}

/// Desired state of an access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AccessSpec {
    /// The service it recognises.
    #[schema(value_type = String)]
    pub service: Ref,
    /// What a packet must show.
    #[serde(flatten)]
    pub identity: Identity,
    /// Which network, where one line carries several services; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub network: Option<Ref>,
    /// Scope of uniqueness: the relay group or NAS group; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only from this MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub bind_mac: Option<Mac>,
    /// Only on this VLAN (1 to 4094).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_vlan: Option<u16>,
    /// A disabled access is refused.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

const fn enabled() -> bool {
    true
}

impl AccessSpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let service = reader.required("service", parsed::<Ref>);
        let kind = reader.required("type", text);
        let identity = kind.and_then(|kind| Self::identity(&kind, &mut reader));
        let network = reader.optional("network", parsed::<Ref>);
        let group = reader.optional("group", super::decode::name);
        let bind_mac = reader.optional("bind_mac", parsed::<Mac>);
        let bind_vlan = reader.optional("bind_vlan", number(1..=4094)).map(|vlan| vlan as u16);
        let enabled = reader.optional("enabled", boolean).unwrap_or(true);
        reader.finish(|| {
            Some(Self {
                service: service?,
                identity: identity?,
                network,
                group,
                bind_mac,
                bind_vlan,
                enabled,
            })
        })
    }

    fn identity(kind: &str, reader: &mut Reader<'_, '_>) -> Option<Identity> {
        match kind {
            "pppoe" => {
                let login = reader.required("login", text);
                let password = reader.optional("password", SecretField::decode).unwrap_or_default();
                if login.as_ref().is_some_and(|login| login.is_empty() || login.len() > 253) {
                    reader.problem("login", "a login has 1 to 253 bytes (RFC 2865 §5.1)");
                }
                Some(Identity::Pppoe { login: login?, password })
            }
            "ipoe_mac" => Some(Identity::IpoeMac { mac: reader.required("mac", parsed::<Mac>)? }),
            "ipoe_opt82" => {
                let circuit_id = reader.optional("circuit_id", octets).map(LineId);
                let remote_id = reader.optional("remote_id", octets).map(LineId);
                if circuit_id.is_none() && remote_id.is_none() {
                    reader.problem("circuit_id", "a line needs a circuit_id, a remote_id or both");
                }
                Some(Identity::IpoeOpt82 { circuit_id, remote_id })
            }
            other => {
                reader.problem("type", format!("`{other}` is not one of: pppoe, ipoe_mac, ipoe_opt82"));
                None
            }
        }
    }

    pub(super) fn refs(&self) -> Vec<(&'static str, Kind, &Ref)> {
        let mut refs = vec![("service", Kind::Service, &self.service)];
        refs.extend(self.network.as_ref().map(|network| ("network", Kind::Network, network)));
        refs
    }

    pub(super) fn refs_mut(&mut self) -> Vec<(&'static str, Kind, &mut Ref)> {
        let mut refs = vec![("service", Kind::Service, &mut self.service)];
        refs.extend(self.network.as_mut().map(|network| ("network", Kind::Network, network)));
        refs
    }

    /// Uniqueness is per (tenant, access type, relay or NAS group), and per network where one is named.
    pub(super) fn unique_keys(&self) -> Vec<String> {
        let group = self.group.as_deref().unwrap_or("");
        let network = self.network.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = match &self.identity {
            Identity::Pppoe { login, .. } => format!("pppoe:{group}:{login}"),
            Identity::IpoeMac { mac } => format!("mac:{group}:{network}:{mac}"),
            Identity::IpoeOpt82 { circuit_id, remote_id } => {
                let part =
                    |id: &Option<LineId>| id.as_ref().map(|id| octets_to_text(&id.0).replace(':', "%3a"));
                let (circuit, remote) = (part(circuit_id), part(remote_id));
                format!(
                    "line:{group}:{network}:{}:{}",
                    remote.unwrap_or_default(),
                    circuit.unwrap_or_default()
                )
            }
        };
        vec![key]
    }
}
