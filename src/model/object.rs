//! The common envelope of every object, and the kinds of spec it can carry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::access::{AccessSpec, Identity};
use super::decode::{Problems, SecretField};
use super::nas::NasSpec;
use super::network::NetworkSpec;
use super::plan::PlanSpec;
use super::pool::PoolSpec;
use super::reference::Ref;
use super::relay::RelaySpec;
use super::service::ServiceSpec;
use super::subscriber::SubscriberSpec;
use crate::ids::{TenantId, Uid};
use crate::time::Stamp;

/// The kinds of object that the API and `netdefs/` write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The CRM's customer.
    Subscriber,
    /// One subscription.
    Service,
    /// How a service is recognised on the network.
    Access,
    /// Network policy.
    Plan,
    /// A network segment.
    Network,
    /// Addresses or delegated prefixes of a network.
    Pool,
    /// A RADIUS client.
    Nas,
    /// A DHCP relay.
    Relay,
}

impl Kind {
    /// Every kind, in the order in which references allow them to be written.
    pub const ALL: [Self; 8] = [
        Self::Network,
        Self::Pool,
        Self::Plan,
        Self::Nas,
        Self::Relay,
        Self::Subscriber,
        Self::Service,
        Self::Access,
    ];

    /// Singular name, as in `kind` members and journal text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Service => "service",
            Self::Access => "access",
            Self::Plan => "plan",
            Self::Network => "network",
            Self::Pool => "pool",
            Self::Nas => "nas",
            Self::Relay => "relay",
        }
    }

    /// Name of the collection in URLs and of the table in `netdefs/`.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Subscriber => "subscribers",
            Self::Service => "services",
            Self::Access => "accesses",
            Self::Plan => "plans",
            Self::Network => "networks",
            Self::Pool => "pools",
            Self::Nas => "nas",
            Self::Relay => "relays",
        }
    }

    /// Prefix of this kind's ids.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Subscriber => "sub",
            Self::Service => "svc",
            Self::Access => "acc",
            Self::Plan => "pln",
            Self::Network => "net",
            Self::Pool => "pool",
            Self::Nas => "nas",
            Self::Relay => "rly",
        }
    }

    /// The kind with this singular name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind with this collection name.
    pub fn from_collection(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.collection() == name)
    }

    /// Splits an id into its kind and value.
    pub fn parse_id(text: &str) -> Option<(Self, Uid)> {
        let (prefix, rest) = text.split_once('_')?;
        let kind = Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)?;
        Some((kind, Uid::parse_base32(rest)?))
    }

    /// The text of an id of this kind.
    pub fn format_id(self, uid: Uid) -> String {
        format!("{}_{}", self.prefix(), uid.base32())
    }
}

/// What every object carries besides its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Kind of object.
    pub kind: Kind,
    /// Its id: minted here, never reused.
    pub id: Uid,
    /// The operator it belongs to.
    pub tenant: TenantId,
    /// Namespace of the writer; `None` when made by an operator, `netdefs` for definitions from files.
    pub source: Option<String>,
    /// The writer's own id, unique per (tenant, source, kind).
    pub external_id: Option<String>,
    /// Starts at 1, +1 whenever the spec really changes.
    pub generation: u64,
    /// Optional fence supplied by the CRM: an older one is refused.
    pub source_version: Option<i64>,
    /// Indexed labels, at most 32.
    pub labels: BTreeMap<String, String>,
    /// Opaque notes, at most 4 KiB together.
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Stamp,
    /// When its spec, labels or annotations last changed.
    pub updated_at: Stamp,
    /// Who changed it last, as shown to people.
    pub updated_by: String,
    /// When it was deleted; deleted objects are kept for a grace period.
    pub deleted_at: Option<Stamp>,
    /// The installation's commit number at which it last changed.
    pub seq: u64,
}

impl Envelope {
    /// The strong entity tag: `<id>/<generation>`.
    pub fn etag(&self) -> String {
        format!("{}/{}", self.kind.format_id(self.id), self.generation)
    }
}

/// One object: envelope and desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Identity and bookkeeping.
    pub envelope: Envelope,
    /// Desired state.
    pub spec: Spec,
}

/// Desired state of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    /// See [`SubscriberSpec`].
    Subscriber(SubscriberSpec),
    /// See [`ServiceSpec`].
    Service(ServiceSpec),
    /// See [`AccessSpec`].
    Access(AccessSpec),
    /// See [`PlanSpec`].
    Plan(PlanSpec),
    /// See [`NetworkSpec`].
    Network(NetworkSpec),
    /// See [`PoolSpec`].
    Pool(PoolSpec),
    /// See [`NasSpec`].
    Nas(NasSpec),
    /// See [`RelaySpec`].
    Relay(RelaySpec),
}

impl Spec {
    /// Decodes a spec of `kind`; every problem found is added to `problems` with a JSON pointer below `pointer`.
    pub fn decode(
        kind: Kind,
        value: &serde_json::Value,
        pointer: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        match kind {
            Kind::Subscriber => SubscriberSpec::decode(value, pointer, problems).map(Self::Subscriber),
            Kind::Service => ServiceSpec::decode(value, pointer, problems).map(Self::Service),
            Kind::Access => AccessSpec::decode(value, pointer, problems).map(Self::Access),
            Kind::Plan => PlanSpec::decode(value, pointer, problems).map(Self::Plan),
            Kind::Network => NetworkSpec::decode(value, pointer, problems).map(Self::Network),
            Kind::Pool => PoolSpec::decode(value, pointer, problems).map(Self::Pool),
            Kind::Nas => NasSpec::decode(value, pointer, problems).map(Self::Nas),
            Kind::Relay => RelaySpec::decode(value, pointer, problems).map(Self::Relay),
        }
    }

    /// The kind of this spec.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Subscriber(_) => Kind::Subscriber,
            Self::Service(_) => Kind::Service,
            Self::Access(_) => Kind::Access,
            Self::Plan(_) => Kind::Plan,
            Self::Network(_) => Kind::Network,
            Self::Pool(_) => Kind::Pool,
            Self::Nas(_) => Kind::Nas,
            Self::Relay(_) => Kind::Relay,
        }
    }

    /// Every reference this spec holds: (member name, kind it must name, the reference).
    pub fn refs(&self) -> Vec<(&'static str, Kind, &Ref)> {
        match self {
            Self::Subscriber(_) | Self::Plan(_) | Self::Network(_) | Self::Nas(_) => Vec::new(),
            Self::Service(spec) => spec.refs(),
            Self::Access(spec) => spec.refs(),
            Self::Pool(spec) => spec.refs(),
            Self::Relay(spec) => spec.refs(),
        }
    }

    /// The same references, for resolving them in place.
    pub fn refs_mut(&mut self) -> Vec<(&'static str, Kind, &mut Ref)> {
        match self {
            Self::Subscriber(_) | Self::Plan(_) | Self::Network(_) | Self::Nas(_) => Vec::new(),
            Self::Service(spec) => spec.refs_mut(),
            Self::Access(spec) => spec.refs_mut(),
            Self::Pool(spec) => spec.refs_mut(),
            Self::Relay(spec) => spec.refs_mut(),
        }
    }

    /// The secret members of this spec by name; they are stored sealed, apart from the rest.
    pub fn secrets(&self) -> Vec<(&'static str, &SecretField)> {
        match self {
            Self::Access(AccessSpec { identity: Identity::Pppoe { password, .. }, .. }) => {
                vec![("password", password)]
            }
            Self::Nas(spec) => vec![
                ("secret", &spec.secret),
                ("previous_secret", &spec.previous_secret),
                ("ipoe_password", &spec.ipoe_password),
            ],
            _ => Vec::new(),
        }
    }

    /// The same members, for filling in what was sealed.
    pub fn secrets_mut(&mut self) -> Vec<(&'static str, &mut SecretField)> {
        match self {
            Self::Access(AccessSpec { identity: Identity::Pppoe { password, .. }, .. }) => {
                vec![("password", password)]
            }
            Self::Nas(spec) => vec![
                ("secret", &mut spec.secret),
                ("previous_secret", &mut spec.previous_secret),
                ("ipoe_password", &mut spec.ipoe_password),
            ],
            _ => Vec::new(),
        }
    }

    /// Reads a spec of `kind` back from its stored JSON, in which secrets are markers only.
    pub fn from_stored(kind: Kind, json: &str) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            Kind::Subscriber => Self::Subscriber(serde_json::from_str(json)?),
            Kind::Service => Self::Service(serde_json::from_str(json)?),
            Kind::Access => Self::Access(serde_json::from_str(json)?),
            Kind::Plan => Self::Plan(serde_json::from_str(json)?),
            Kind::Network => Self::Network(serde_json::from_str(json)?),
            Kind::Pool => Self::Pool(serde_json::from_str(json)?),
            Kind::Nas => Self::Nas(serde_json::from_str(json)?),
            Kind::Relay => Self::Relay(serde_json::from_str(json)?),
        })
    }

    /// The keys that must be unique within the tenant, as texts: two objects holding one are a conflict. Fixed
    /// addresses are not among them: their VRF may come from the plan, so the use-case adds those.
    pub fn unique_keys(&self) -> Vec<String> {
        match self {
            Self::Access(spec) => spec.unique_keys(),
            Self::Nas(spec) => spec.unique_keys(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_back_from_its_stored_form_without_its_secrets() {
        let value =
            serde_json::json!({"service": "ext:1", "type": "pppoe", "login": "jan", "password": "hunter22"});
        let mut problems = Problems::default();
        let spec = Spec::decode(Kind::Access, &value, "/spec", &mut problems).unwrap();
        let stored = serde_json::to_string(&spec).unwrap();
        assert!(!stored.contains("hunter22"), "{stored}");
        let mut read = Spec::from_stored(Kind::Access, &stored).unwrap();
        for ((_, field), (_, original)) in read.secrets_mut().into_iter().zip(spec.secrets()) {
            assert_eq!(*field, SecretField::Keep);
            *field = original.clone();
        }
        assert_eq!(read, spec);
    }

    #[test]
    fn wrong_specs_of_every_kind_name_each_member() {
        let cases = [
            (
                Kind::Service,
                serde_json::json!({"plann": "x"}),
                vec!["/spec/subscriber", "/spec/plan", "/spec/plann"],
            ),
            (
                Kind::Access,
                serde_json::json!({"service": "s", "type": "ipoe_opt82"}),
                vec!["/spec/circuit_id"],
            ),
            (
                Kind::Pool,
                serde_json::json!({"network": "n", "class": "c", "ranges": ["10.0.0.1-10.0.0.0"]}),
                vec!["/spec/ranges/0", "/spec/ranges"],
            ),
            (
                Kind::Nas,
                serde_json::json!({"addresses": ["10.0.0.1"], "secret": "short"}),
                vec!["/spec/secret"],
            ),
            (
                Kind::Network,
                serde_json::json!({"prefixes": ["10.0.0.0/24"], "gateways": ["10.0.1.1"]}),
                vec!["/spec/gateways"],
            ),
        ];
        for (kind, value, pointers) in cases {
            let mut problems = Problems::default();
            assert_eq!(Spec::decode(kind, &value, "/spec", &mut problems), None, "{kind:?}");
            let found: Vec<&str> = problems.0.iter().map(|problem| problem.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{kind:?}");
        }
    }
}
