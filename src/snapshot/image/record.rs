//! Records of the image: compiled objects as flat values in postcard.
//!
//! Digests and address spaces are not stored but derived again, so an image never carries the rules of an older program.

use serde::{Deserialize, Serialize};

use super::super::Snapshot;
use super::super::build::Builder;
use super::super::compile::{Compiled, ServiceParts, network_of, plan_of};
use super::super::types::{Access, AccessKey, Service, ServiceExtras, ServiceIpv4};
use super::definition::{
    DefinitionRecord, NasRecord, PoolRecord, RelayRecord, of_nas, of_network, of_plan, of_pool, of_relay,
};
use crate::ids::{TenantId, Uid};
use crate::model::service::ServiceState;
use crate::model::{Kind, Mac, Prefix};
use crate::secret::Secret;

/// An id as it is written.
pub(super) type Id = [u8; 16];

/// One record. Variants are numbered by their order: new ones go to the end, with a new version of the image.
#[derive(Serialize, Deserialize)]
pub(super) enum Record<'a> {
    #[serde(borrow)]
    Network(DefinitionRecord<'a>),
    #[serde(borrow)]
    Plan(DefinitionRecord<'a>),
    #[serde(borrow)]
    Pool(PoolRecord<'a>),
    #[serde(borrow)]
    Nas(Box<NasRecord<'a>>),
    #[serde(borrow)]
    Relay(RelayRecord<'a>),
    #[serde(borrow)]
    Service(ServiceRecord<'a>),
    #[serde(borrow)]
    Access(AccessRecord<'a>),
    Unreadable(Kind, Id),
}

#[derive(Serialize, Deserialize)]
pub(super) struct ServiceRecord<'a> {
    id: Id,
    tenant: TenantId,
    plan: Id,
    state: ServiceState,
    max_sessions: u8,
    ipv4: Ipv4Record,
    #[serde(borrow)]
    extras: Option<Box<ExtrasRecord<'a>>>,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
enum Ipv4Record {
    Pool,
    None,
    Fixed([u8; 4]),
}

#[derive(Serialize, Deserialize)]
struct ExtrasRecord<'a> {
    wan: Option<Prefix>,
    delegated: Option<Prefix>,
    no_wan: bool,
    no_delegated: bool,
    routed: Vec<Prefix>,
    reply_message: Option<&'a str>,
    vrf: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AccessRecord<'a> {
    id: Id,
    tenant: TenantId,
    service: Id,
    #[serde(borrow)]
    key: KeyRecord<'a>,
    password: Option<&'a [u8]>,
    network: Id,
    group: Option<&'a str>,
    bind_mac: Mac,
    bind_vlan: u16,
    enabled: bool,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
enum KeyRecord<'a> {
    Login(&'a [u8]),
    Mac(Mac),
    Line(Option<&'a [u8]>, Option<&'a [u8]>),
}

/// Every record of a snapshot, definitions first.
pub(super) fn all(snapshot: &Snapshot) -> impl Iterator<Item = Record<'_>> {
    let networks = snapshot.networks().map(|network| Record::Network(of_network(network)));
    let plans = snapshot.plans().map(|plan| Record::Plan(of_plan(plan)));
    let pools = snapshot.pools().map(|pool| Record::Pool(of_pool(pool)));
    let nases = snapshot.all_nas().map(|nas| Record::Nas(Box::new(of_nas(nas))));
    let relays = snapshot.all_relays().map(|relay| Record::Relay(of_relay(relay)));
    let services = snapshot.services().map(|service| Record::Service(of_service(service)));
    let accesses = snapshot.accesses().map(|access| Record::Access(of_access(access)));
    let unreadable = snapshot.unreadable.iter();
    let unreadable = unreadable.map(|(kind, id)| Record::Unreadable(*kind, id.bytes()));
    networks
        .chain(plans)
        .chain(pools)
        .chain(nases)
        .chain(relays)
        .chain(unreadable)
        .chain(services)
        .chain(accesses)
}

/// Appends a record to `out`.
pub(super) fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> Option<()> {
    postcard::serialize_with_flavor(record, Tail(out)).ok()
}

/// Appends to a block that is wiped afterwards: no copy of a secret is left elsewhere.
struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Puts the first record of `body` into `builder`; the rest of `body`, or `None` when it is no record.
pub(super) fn decode<'a>(body: &'a [u8], builder: &mut Builder) -> Option<&'a [u8]> {
    let (record, rest) = postcard::take_from_bytes::<Record<'a>>(body).ok()?;
    let compiled = match record {
        Record::Network(record) => {
            let spec = serde_json::from_str(&record.spec_json).ok()?;
            Compiled::Network(network_of(record.origin(), spec).into())
        }
        Record::Plan(record) => {
            let spec = serde_json::from_str(&record.spec_json).ok()?;
            Compiled::Plan(plan_of(record.origin(), spec).into())
        }
        Record::Pool(record) => Compiled::Pool(record.pool().into()),
        Record::Nas(record) => Compiled::Nas(record.nas().into()),
        Record::Relay(record) => Compiled::Relay(record.relay().into()),
        Record::Service(record) => Compiled::Service(record.service().into()),
        Record::Access(record) => Compiled::Access(record.access().into()),
        Record::Unreadable(kind, id) => {
            builder.add_unreadable(kind, Uid::from_bytes(id));
            return Some(rest);
        }
    };
    builder.put(compiled);
    Some(rest)
}

fn of_service(service: &Service) -> ServiceRecord<'_> {
    ServiceRecord {
        id: service.id.bytes(),
        tenant: service.tenant,
        plan: service.plan.bytes(),
        state: service.state,
        max_sessions: service.max_sessions,
        ipv4: match service.ipv4 {
            ServiceIpv4::Pool => Ipv4Record::Pool,
            ServiceIpv4::None => Ipv4Record::None,
            ServiceIpv4::Fixed(address) => Ipv4Record::Fixed(address.octets()),
        },
        extras: service.extras.as_deref().map(|extras| {
            Box::new(ExtrasRecord {
                wan: extras.wan,
                delegated: extras.delegated,
                no_wan: extras.no_wan,
                no_delegated: extras.no_delegated,
                routed: extras.routed.clone(),
                reply_message: extras.reply_message.as_deref(),
                vrf: extras.vrf.as_deref(),
            })
        }),
        seq: service.seq,
    }
}

impl ServiceRecord<'_> {
    fn service(self) -> Service {
        let extras = self.extras.map_or_else(ServiceExtras::default, |extras| ServiceExtras {
            wan: extras.wan,
            delegated: extras.delegated,
            no_wan: extras.no_wan,
            no_delegated: extras.no_delegated,
            routed: extras.routed,
            reply_message: extras.reply_message.map(Box::from),
            vrf: extras.vrf.map(Box::from),
            space: None,
        });
        let parts = ServiceParts {
            id: Uid::from_bytes(self.id),
            tenant: self.tenant,
            plan: Uid::from_bytes(self.plan),
            state: self.state,
            max_sessions: self.max_sessions,
            ipv4: match self.ipv4 {
                Ipv4Record::Pool => ServiceIpv4::Pool,
                Ipv4Record::None => ServiceIpv4::None,
                Ipv4Record::Fixed(octets) => ServiceIpv4::Fixed(octets.into()),
            },
            extras,
            seq: self.seq,
        };
        parts.assemble()
    }
}

fn of_access(access: &Access) -> AccessRecord<'_> {
    AccessRecord {
        id: access.id.bytes(),
        tenant: access.tenant,
        service: access.service.bytes(),
        key: match &access.key {
            AccessKey::Login(login) => KeyRecord::Login(login),
            AccessKey::Mac(mac) => KeyRecord::Mac(*mac),
            AccessKey::Line { remote_id, circuit_id } => {
                KeyRecord::Line(remote_id.as_deref(), circuit_id.as_deref())
            }
        },
        password: access.password.as_ref().map(|password| password.expose()),
        network: access.network.bytes(),
        group: access.group.as_deref(),
        bind_mac: access.bind_mac,
        bind_vlan: access.bind_vlan,
        enabled: access.enabled,
        seq: access.seq,
    }
}

impl AccessRecord<'_> {
    fn access(self) -> Access {
        Access {
            id: Uid::from_bytes(self.id),
            tenant: self.tenant,
            service: Uid::from_bytes(self.service),
            key: match self.key {
                KeyRecord::Login(login) => AccessKey::Login(login.into()),
                KeyRecord::Mac(mac) => AccessKey::Mac(mac),
                KeyRecord::Line(remote_id, circuit_id) => AccessKey::Line {
                    remote_id: remote_id.map(Box::from),
                    circuit_id: circuit_id.map(Box::from),
                },
            },
            password: self.password.map(|password| Box::new(Secret::new(password))),
            network: Uid::from_bytes(self.network),
            group: self.group.map(Box::from),
            bind_mac: self.bind_mac,
            bind_vlan: self.bind_vlan,
            enabled: self.enabled,
            seq: self.seq,
        }
    }
}
