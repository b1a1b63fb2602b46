//! A network segment: where addresses are valid and what a client on it is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Prefix;
use super::decode::{
    Problems, Reader, boolean, ip, ipv4, ipv6, name, number, octets, octets_to_text, parsed, text, word,
};

/// What the addresses of a network are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Routed on the Internet.
    #[default]
    Public,
    /// Translated by a NAT.
    Nat,
    /// Management of CPEs and equipment.
    Mgmt,
}

/// How clients of a network get their addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// By DHCP.
    #[default]
    Dhcp,
    /// By PPP.
    Pppoe,
    /// Configured by hand.
    Static,
}

/// What an unknown DHCP client of the network gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownClients {
    /// No answer.
    #[default]
    Silence,
    /// An address of the network's pools of this class, with the short lease below.
    PoolClass(String),
}

/// One DHCP option given as it goes on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RawOption {
    /// Option code, 1 to 254.
    pub code: u8,
    /// Value: text, or `0x…` for bytes.
    pub value: String,
}

/// A classless static route (RFC 3442).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Route {
    /// Destination.
    #[schema(value_type = String)]
    pub to: Ipv4Network,
    /// Next hop.
    #[schema(value_type = String)]
    pub via: Ipv4Addr,
}

/// Desired state of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetworkSpec {
    /// Prefixes of both families; giaddr and link-selection inside one choose this network.
    #[schema(value_type = Vec<String>)]
    pub prefixes: Vec<Prefix>,
    /// What its addresses are.
    #[serde(default)]
    pub role: Role,
    /// How clients get their addresses.
    #[serde(default)]
    pub assignment: Assignment,
    /// C-VLAN, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// S-VLAN, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svlan: Option<u16>,
    /// VRF; the default VRF when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Default gateways told to clients (IPv4).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<Ipv4Addr>,
    /// Name servers of both families.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<IpAddr>,
    /// Time servers (option 42).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub ntp: Vec<Ipv4Addr>,
    /// Domain name (option 15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Classless static routes (option 121), the default route through the first gateway being added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Interface MTU (option 26), 576 to 9216.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// More DHCPv4 options, as bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<RawOption>,
    /// Lease time in seconds, 120 to 2,592,000.
    #[serde(default = "lease_time")]
    pub lease_time: u32,
    /// T1 in seconds; a quarter of the lease time when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<u32>,
    /// Whether we answer with NAK where we know nothing of the client (RFC 2131 §4.3.2).
    #[serde(default)]
    pub authoritative: bool,
    /// What unknown clients get.
    #[serde(default)]
    pub unknown_clients: UnknownClients,
    /// Lease time of unknown clients, in seconds.
    #[serde(default = "unknown_lease_time")]
    pub unknown_lease_time: u32,
    /// DHCP server identifier told to clients; the address the request came to when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub server_id: Option<Ipv4Addr>,
    /// Router's link-local or global IPv6 address, for documents and devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway_v6: Option<Ipv6Addr>,
}

const fn lease_time() -> u32 {
    3600
}

const fn unknown_lease_time() -> u32 {
    300
}

const ROLES: &[(&str, Role)] = &[("public", Role::Public), ("nat", Role::Nat), ("mgmt", Role::Mgmt)];
const ASSIGNMENTS: &[(&str, Assignment)] =
    &[("dhcp", Assignment::Dhcp), ("pppoe", Assignment::Pppoe), ("static", Assignment::Static)];

impl NetworkSpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let vlan = || number(1..=4094);
        let lease = || number(120..=2_592_000);
        let spec = Self {
            prefixes: reader.list("prefixes", parsed::<Prefix>),
            role: reader.optional("role", word(ROLES)).unwrap_or_default(),
            assignment: reader.optional("assignment", word(ASSIGNMENTS)).unwrap_or_default(),
            vlan: reader.optional("vlan", vlan()).map(|vlan| vlan as u16),
            svlan: reader.optional("svlan", vlan()).map(|vlan| vlan as u16),
            vrf: reader.optional("vrf", name),
            gateways: reader.list("gateways", ipv4),
            dns: reader.list("dns", ip),
            ntp: reader.list("ntp", ipv4),
            domain: reader.optional("domain", text),
            routes: reader.list("routes", route),
            mtu: reader.optional("mtu", number(576..=9216)).map(|mtu| mtu as u16),
            options: reader.list("options", raw_option),
            lease_time: reader.optional("lease_time", lease()).map_or_else(lease_time, |secs| secs as u32),
            renew_time: reader.optional("renew_time", number(30..=2_592_000)).map(|secs| secs as u32),
            authoritative: reader.optional("authoritative", boolean).unwrap_or(false),
            unknown_clients: reader.optional("unknown_clients", unknown_clients).unwrap_or_default(),
            unknown_lease_time: reader
                .optional("unknown_lease_time", number(60..=86_400))
                .map_or_else(unknown_lease_time, |secs| secs as u32),
            server_id: reader.optional("server_id", ipv4),
            gateway_v6: reader.optional("gateway_v6", ipv6),
        };
        spec.check(&mut reader);
        reader.finish(|| Some(spec))
    }

    /// Relations between members.
    fn check(&self, reader: &mut Reader<'_, '_>) {
        if self.prefixes.is_empty() {
            reader.problem("prefixes", "at least one prefix is required");
        }
        if self.renew_time.is_some_and(|renew| renew >= self.lease_time) {
            reader.problem("renew_time", "must be shorter than lease_time");
        }
        for gateway in &self.gateways {
            if !self.prefixes.iter().any(|prefix| prefix.contains(Prefix::v4(*gateway))) {
                reader.problem("gateways", format!("{gateway} lies in none of the prefixes"));
            }
        }
    }
}

fn route(value: &Value) -> Result<Route, String> {
    let members = value.as_object().ok_or("expected {\"to\": \"192.0.2.0/24\", \"via\": \"192.0.2.1\"}")?;
    let to = members.get("to").ok_or("`to` is required").and_then(|to| {
        super::service::subnet::<Ipv4Network>(to).map_err(|_| "`to` is an IPv4 prefix such as 192.0.2.0/24")
    })?;
    let via = members
        .get("via")
        .ok_or("`via` is required")
        .and_then(|via| ipv4(via).map_err(|_| "`via` is an IPv4 address"))?;
    Ok(Route { to, via })
}

fn raw_option(value: &Value) -> Result<RawOption, String> {
    let members = value.as_object().ok_or("expected {\"code\": 66, \"value\": \"…\"}")?;
    let code = members.get("code").ok_or("`code` is required")?;
    let code = number(1..=254)(code)? as u8;
    if matches!(code, 50 | 51 | 52 | 53 | 54 | 55 | 57 | 58 | 59 | 61 | 82) {
        return Err(format!("option {code} is set by the server itself"));
    }
    let bytes = octets(members.get("value").ok_or("`value` is required")?)?;
    if bytes.is_empty() || bytes.len() > 255 {
        return Err("an option value has 1 to 255 bytes".to_owned());
    }
    Ok(RawOption { code, value: octets_to_text(&bytes) })
}

fn unknown_clients(value: &Value) -> Result<UnknownClients, String> {
    match value {
        Value::String(word) if word == "silence" => Ok(UnknownClients::Silence),
        Value::Object(members) if members.len() == 1 && members.contains_key("pool_class") => {
            name(members.get("pool_class").unwrap_or(&Value::Null)).map(UnknownClients::PoolClass)
        }
        _ => Err("expected \"silence\" or {\"pool_class\": \"guests\"}".to_owned()),
    }
}
