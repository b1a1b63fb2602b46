//! One subscription: plan, addressing, state.

use std::net::Ipv4Addr;

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Prefix;
use super::decode::{Problems, Reader, ipv4, kind_of, name, number, parsed, text, word};
use super::object::Kind;
use super::reference::Ref;

/// Whether a service may use the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Served by its plan.
    #[default]
    Active,
    /// Refused until it is active again; its addresses are kept.
    Paused,
    /// Ended: refused; its addresses come back as its sessions and leases end.
    Terminated,
}

/// Where the IPv4 address of a service comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ipv4Source {
    /// From a pool of the plan's class.
    #[default]
    Pool,
    /// No IPv4.
    None,
    /// This address, always.
    Address(Ipv4Addr),
}

/// Where an IPv6 prefix of a service comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ipv6Source {
    /// From a pool of the plan's class, if the plan names one.
    #[default]
    Pool,
    /// None.
    None,
    /// This prefix, always.
    Prefix(Ipv6Network),
}

/// Addresses of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Addressing {
    /// IPv4 address.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub ipv4: Ipv4Source,
    /// Prefix of the WAN link (Framed-IPv6-Prefix).
    #[serde(default)]
    #[schema(value_type = Object)]
    pub ipv6_wan: Ipv6Source,
    /// Prefix delegated to the CPE (Delegated-IPv6-Prefix).
    #[serde(default)]
    #[schema(value_type = Object)]
    pub ipv6_pd: Ipv6Source,
    /// IPv4 subnets routed to the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub routed_v4: Vec<Ipv4Network>,
    /// IPv6 subnets routed to the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub routed_v6: Vec<Ipv6Network>,
    /// VRF of all of the above; `None` is the plan's, and without one there the default VRF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
}

impl Addressing {
    /// Every address or prefix that is assigned by name rather than chosen from a pool.
    pub fn fixed(&self) -> impl Iterator<Item = Prefix> + '_ {
        let v4 = match self.ipv4 {
            Ipv4Source::Address(address) => Some(Prefix::v4(address)),
            Ipv4Source::Pool | Ipv4Source::None => None,
        };
        let v6 = [&self.ipv6_wan, &self.ipv6_pd].into_iter().filter_map(|source| match source {
            Ipv6Source::Prefix(prefix) => Some(Prefix::from(*prefix)),
            Ipv6Source::Pool | Ipv6Source::None => None,
        });
        let routed_v4 = self.routed_v4.iter().map(|prefix| Prefix::from(*prefix));
        let routed_v6 = self.routed_v6.iter().map(|prefix| Prefix::from(*prefix));
        v4.into_iter().chain(v6).chain(routed_v4).chain(routed_v6)
    }
}

/// Desired state of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceSpec {
    /// Who subscribes.
    #[schema(value_type = String)]
    pub subscriber: Ref,
    /// Network policy.
    #[schema(value_type = String)]
    pub plan: Ref,
    /// Whether it may use the network.
    #[serde(default)]
    pub state: ServiceState,
    /// Its addresses.
    #[serde(default)]
    pub addressing: Addressing,
    /// Simultaneous sessions, 1 to 16; the plan's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u8>,
    /// Text shown to the subscriber by CPEs that display Reply-Message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_message: Option<String>,
}

impl ServiceSpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let subscriber = reader.required("subscriber", parsed::<Ref>);
        let plan = reader.required("plan", parsed::<Ref>);
        let state = reader.optional("state", word(STATES)).unwrap_or_default();
        let addressing = match reader.raw("addressing") {
            Some(value) => {
                let at = reader.pointer("addressing");
                Addressing::decode(value, &at, reader.problems())
            }
            None => Some(Addressing::default()),
        };
        let max_sessions = reader.optional("max_sessions", number(1..=16)).map(|sessions| sessions as u8);
        let reply_message = reader.optional("reply_message", text);
        reader.finish(|| {
            Some(Self {
                subscriber: subscriber?,
                plan: plan?,
                state,
                addressing: addressing?,
                max_sessions,
                reply_message,
            })
        })
    }

    pub(super) fn refs(&self) -> Vec<(&'static str, Kind, &Ref)> {
        vec![("subscriber", Kind::Subscriber, &self.subscriber), ("plan", Kind::Plan, &self.plan)]
    }

    pub(super) fn refs_mut(&mut self) -> Vec<(&'static str, Kind, &mut Ref)> {
        vec![("subscriber", Kind::Subscriber, &mut self.subscriber), ("plan", Kind::Plan, &mut self.plan)]
    }
}

const STATES: &[(&str, ServiceState)] = &[
    ("active", ServiceState::Active),
    ("paused", ServiceState::Paused),
    ("terminated", ServiceState::Terminated),
];

impl Addressing {
    fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let ipv4 = reader.optional("ipv4", ipv4_source).unwrap_or_default();
        let ipv6_wan = reader.optional("ipv6_wan", ipv6_source).unwrap_or_default();
        let ipv6_pd = reader.optional("ipv6_pd", ipv6_source).unwrap_or_default();
        let routed_v4 = reader.list("routed_v4", subnet::<Ipv4Network>);
        let routed_v6 = reader.list("routed_v6", subnet::<Ipv6Network>);
        let vrf = reader.optional("vrf", name);
        reader.finish(|| Some(Self { ipv4, ipv6_wan, ipv6_pd, routed_v4, routed_v6, vrf }))
    }
}

/// A subnet without host bits.
pub(super) fn subnet<T>(value: &Value) -> Result<T, String>
where
    T: std::str::FromStr,
{
    let text = text(value)?;
    if !text.contains('/') {
        return Err(format!("`{text}` has no prefix length; write for example 192.0.2.0/29"));
    }
    text.parse::<Prefix>()?;
    text.parse().map_err(|_| format!("`{text}` is not a prefix of this family"))
}

fn ipv4_source(value: &Value) -> Result<Ipv4Source, String> {
    match value {
        Value::String(word) if word == "pool" => Ok(Ipv4Source::Pool),
        Value::String(word) if word == "none" => Ok(Ipv4Source::None),
        Value::Object(members) if members.len() == 1 => match members.get("address") {
            Some(address) => ipv4(address).map(Ipv4Source::Address),
            None => Err("expected \"pool\", \"none\" or {\"address\": \"192.0.2.1\"}".to_owned()),
        },
        other => Err(format!("expected \"pool\", \"none\" or {{\"address\": …}}, got {}", kind_of(other))),
    }
}

fn ipv6_source(value: &Value) -> Result<Ipv6Source, String> {
    match value {
        Value::String(word) if word == "pool" => Ok(Ipv6Source::Pool),
        Value::String(word) if word == "none" => Ok(Ipv6Source::None),
        Value::Object(members) if members.len() == 1 => match members.get("prefix") {
            Some(prefix) => subnet(prefix).map(Ipv6Source::Prefix),
            None => Err("expected \"pool\", \"none\" or {\"prefix\": \"2001:db8::/56\"}".to_owned()),
        },
        other => Err(format!("expected \"pool\", \"none\" or {{\"prefix\": …}}, got {}", kind_of(other))),
    }
}
