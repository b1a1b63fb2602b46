//! From desired state to compiled objects, one object at a time.
//!
//! Works on opened objects: secrets filled in, references resolved to ids. Nothing here looks at another object, so the
//! order in which objects come cannot matter; what depends on several of them (a pool's address space, pools of a class)
//! is derived in `definitions`. A reference that was not resolved becomes the nil id, which no object has.
//!
//! Digests cover what a policy says, not how it is labelled: an edit of labels or annotations changes none.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::hash::Digest;
use super::types::{
    Access, AccessKey, Nas, Network, Plan, Pool, Relay, Service, ServiceExtras, ServiceIpv4, Space,
};
use crate::ids::{TenantId, Uid};
use crate::model::access::{AccessSpec, Identity, LineId};
use crate::model::decode::{SecretField, octets_from_text};
use crate::model::nas::{Accounting, Case, NasSpec};
use crate::model::network::NetworkSpec;
use crate::model::object::Envelope;
use crate::model::plan::PlanSpec;
use crate::model::pool::PoolSpec;
use crate::model::relay::RelaySpec;
use crate::model::service::{Ipv4Source, Ipv6Source, ServiceSpec, ServiceState};
use crate::model::{Object, Prefix, Ref, Spec};
use crate::radius::wire::integrity::SharedKey;
use crate::secret::Secret;

/// An object whose secrets were filled in from their sealed form.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The object.
    pub object: Object,
}

/// A compiled object of any kind that packets need.
#[derive(Debug)]
pub(super) enum Compiled {
    Network(Arc<Network>),
    Pool(Arc<Pool>),
    Plan(Arc<Plan>),
    Nas(Arc<Nas>),
    Relay(Arc<Relay>),
    Service(Arc<Service>),
    Access(Arc<Access>),
}

/// Compiles one object; `None` for kinds that no packet needs.
pub(super) fn compile(object: &Object) -> Option<Compiled> {
    let envelope = &object.envelope;
    Some(match &object.spec {
        Spec::Subscriber(_) => return None,
        Spec::Network(spec) => Compiled::Network(Arc::new(network(envelope, spec))),
        Spec::Pool(spec) => Compiled::Pool(Arc::new(pool(envelope, spec))),
        Spec::Plan(spec) => Compiled::Plan(Arc::new(plan(envelope, spec))),
        Spec::Nas(spec) => Compiled::Nas(Arc::new(nas(envelope, spec))),
        Spec::Relay(spec) => Compiled::Relay(Arc::new(relay(envelope, spec))),
        Spec::Service(spec) => Compiled::Service(Arc::new(service(envelope, spec))),
        Spec::Access(spec) => Compiled::Access(Arc::new(access(envelope, spec))),
    })
}

fn access(envelope: &Envelope, spec: &AccessSpec) -> Access {
    let line = |id: &Option<LineId>| id.as_ref().map(|id| boxed_bytes(&id.0));
    let (key, password) = match &spec.identity {
        Identity::Pppoe { login, password } => {
            (AccessKey::Login(boxed_bytes(login.as_bytes())), password.secret())
        }
        Identity::IpoeMac { mac } => (AccessKey::Mac(*mac), None),
        Identity::IpoeOpt82 { circuit_id, remote_id } => {
            let key = AccessKey::Line { remote_id: line(remote_id), circuit_id: line(circuit_id) };
            (key, None)
        }
    };
    Access {
        id: envelope.id,
        tenant: envelope.tenant,
        service: spec.service.resolved(),
        key,
        password: password.map(|password| Box::new(exact(password))),
        network: resolved(spec.network.as_ref()),
        group: boxed(spec.group.as_ref()),
        bind_mac: spec.bind_mac.unwrap_or_default(),
        bind_vlan: spec.bind_vlan.unwrap_or(0),
        enabled: spec.enabled,
        seq: envelope.seq,
    }
}

fn service(envelope: &Envelope, spec: &ServiceSpec) -> Service {
    let addressing = &spec.addressing;
    let prefix = |source: &Ipv6Source| match source {
        Ipv6Source::Prefix(prefix) => Some(Prefix::from(*prefix)),
        Ipv6Source::Pool | Ipv6Source::None => None,
    };
    let v4 = addressing.routed_v4.iter().map(|subnet| Prefix::from(*subnet));
    let v6 = addressing.routed_v6.iter().map(|subnet| Prefix::from(*subnet));
    let mut extras = ServiceExtras {
        wan: prefix(&addressing.ipv6_wan),
        delegated: prefix(&addressing.ipv6_pd),
        no_wan: addressing.ipv6_wan == Ipv6Source::None,
        no_delegated: addressing.ipv6_pd == Ipv6Source::None,
        routed: v4.chain(v6).collect(),
        reply_message: boxed(spec.reply_message.as_ref()),
        vrf: boxed(addressing.vrf.as_ref()),
        space: None,
    };
    extras.routed.shrink_to_fit();
    let parts = ServiceParts {
        id: envelope.id,
        tenant: envelope.tenant,
        plan: spec.plan.resolved(),
        state: spec.state,
        max_sessions: spec.max_sessions.unwrap_or(0),
        ipv4: match addressing.ipv4 {
            Ipv4Source::Pool => ServiceIpv4::Pool,
            Ipv4Source::None => ServiceIpv4::None,
            Ipv4Source::Address(address) => ServiceIpv4::Fixed(address),
        },
        extras,
        seq: envelope.seq,
    };
    parts.assemble()
}

/// What a service is made of; its digest and address space follow from the rest.
#[derive(Debug)]
pub(super) struct ServiceParts {
    pub(super) id: Uid,
    pub(super) tenant: TenantId,
    pub(super) plan: Uid,
    pub(super) state: ServiceState,
    pub(super) max_sessions: u8,
    pub(super) ipv4: ServiceIpv4,
    pub(super) extras: ServiceExtras,
    pub(super) seq: u64,
}

impl ServiceParts {
    pub(super) fn assemble(mut self) -> Service {
        self.extras.space = self.extras.vrf.as_ref().map(|vrf| space(self.tenant, Some(vrf)));
        let digest = self.digest();
        let plain = self.extras.routed.is_empty()
            && self.extras.reply_message.is_none()
            && self.extras.vrf.is_none()
            && (self.extras.wan, self.extras.delegated) == (None, None)
            && !(self.extras.no_wan || self.extras.no_delegated);
        Service {
            id: self.id,
            tenant: self.tenant,
            plan: self.plan,
            state: self.state,
            max_sessions: self.max_sessions,
            ipv4: self.ipv4,
            extras: (!plain).then(|| Box::new(self.extras)),
            digest,
            seq: self.seq,
        }
    }

    /// The plan is not part of it: moving to an equal plan changes nothing on the network.
    fn digest(&self) -> u64 {
        let mut digest = Digest::of("service");
        digest.number(match self.state {
            ServiceState::Active => 0,
            ServiceState::Paused => 1,
            ServiceState::Terminated => 2,
        });
        digest.number(u64::from(self.max_sessions));
        match self.ipv4 {
            ServiceIpv4::Pool => digest.number(0),
            ServiceIpv4::None => digest.number(1),
            ServiceIpv4::Fixed(address) => {
                digest.number(2);
                digest.prefix(Some(Prefix::v4(address)));
            }
        }
        digest.prefix(self.extras.wan);
        digest.prefix(self.extras.delegated);
        digest.number(u64::from(self.extras.no_wan) | u64::from(self.extras.no_delegated) << 1);
        digest.number(self.extras.routed.len() as u64);
        for routed in &self.extras.routed {
            digest.prefix(Some(*routed));
        }
        digest.text(self.extras.reply_message.as_deref());
        digest.text(self.extras.vrf.as_deref());
        digest.finish()
    }
}

fn plan(envelope: &Envelope, spec: &PlanSpec) -> Plan {
    plan_of(Origin::of(envelope), spec.clone())
}

fn network(envelope: &Envelope, spec: &NetworkSpec) -> Network {
    network_of(Origin::of(envelope), spec.clone())
}

/// What a definition takes from its envelope.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) id: Uid,
    pub(super) tenant: TenantId,
    pub(super) name: Box<str>,
    pub(super) seq: u64,
}

impl Origin {
    fn of(envelope: &Envelope) -> Self {
        Self { id: envelope.id, tenant: envelope.tenant, name: name(envelope), seq: envelope.seq }
    }
}

pub(super) fn plan_of(origin: Origin, spec: PlanSpec) -> Plan {
    Plan {
        id: origin.id,
        space: space(origin.tenant, spec.vrf.as_deref()),
        name: origin.name,
        digest: spec_digest("plan", &spec),
        spec,
        seq: origin.seq,
    }
}

pub(super) fn network_of(origin: Origin, spec: NetworkSpec) -> Network {
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    };
    let dns_v4: Vec<Ipv4Addr> = spec.dns.iter().filter_map(v4).collect();
    let options = spec
        .options
        .iter()
        .filter_map(|option| Some((option.code, octets_from_text(&option.value)?.into())))
        .collect();
    Network {
        id: origin.id,
        name: origin.name,
        space: Space { tenant: origin.tenant, vrf: spec.vrf.as_deref().unwrap_or_default().into() },
        dns_v4,
        options,
        digest: spec_digest("network", &spec),
        spec,
        seq: origin.seq,
    }
}

/// The address space stays the default one until the network is known; see `definitions`.
fn pool(envelope: &Envelope, spec: &PoolSpec) -> Pool {
    Pool {
        id: envelope.id,
        name: name(envelope),
        space: Space { tenant: envelope.tenant, vrf: Box::default() },
        network: spec.network.resolved(),
        class: spec.class.as_str().into(),
        group: boxed(spec.group.as_ref()),
        ranges: spec.ranges.clone(),
        wide_len: spec.wide_len(),
        order: spec.order,
        quarantine: spec.quarantine,
        exhausted_action: spec.exhausted_action,
        draining: spec.draining,
        seq: envelope.seq,
    }
}

fn nas(envelope: &Envelope, spec: &NasSpec) -> Nas {
    let secrets = [&spec.secret, &spec.previous_secret];
    let secrets: Vec<Secret> = secrets.into_iter().filter_map(SecretField::secret).cloned().collect();
    Nas {
        keys: secrets.iter().cloned().map(SharedKey::new).collect(),
        id: envelope.id,
        tenant: envelope.tenant,
        name: name(envelope),
        addresses: spec.addresses.clone(),
        identifier: spec.identifier.as_ref().map(|identifier| boxed_bytes(identifier.as_bytes())),
        secrets,
        vendor: spec.vendor.as_str().into(),
        group: boxed(spec.group.as_ref()),
        require_message_authenticator: spec.require_message_authenticator,
        enforce_message_authenticator: spec.enforce_message_authenticator,
        limit_proxy_state: spec.limit_proxy_state,
        sign_replies: spec.reply_message_authenticator,
        accounting: spec.accounting,
        ipoe_password: spec.ipoe_password.secret().cloned(),
        lower_logins: spec.login_case == Case::Lower,
        strip_realm: spec.strip_realm,
        reject_delay_max: spec.reject_delay_max,
        interim_min: spec.interim_min,
        proxy: spec.proxy,
        digest: nas_digest(&spec.vendor, spec.group.as_deref(), spec.accounting, spec.interim_min),
        seq: envelope.seq,
    }
}

/// What of a NAS shapes the replies it gets: the dialect, its pools, whether sessions must end by themselves, intervals.
pub(super) fn nas_digest(vendor: &str, group: Option<&str>, accounting: Accounting, interim_min: u32) -> u64 {
    let mut digest = Digest::of("nas");
    digest.text(Some(vendor));
    digest.text(group);
    digest.number(match accounting {
        Accounting::Proven => 0,
        Accounting::Absent => 1,
        Accounting::Unknown => 2,
    });
    digest.number(u64::from(interim_min));
    digest.finish()
}

fn relay(envelope: &Envelope, spec: &RelaySpec) -> Relay {
    Relay {
        id: envelope.id,
        tenant: envelope.tenant,
        name: name(envelope),
        addresses: spec.addresses.clone(),
        group: boxed(spec.group.as_ref()),
        network: resolved(spec.network.as_ref()),
        trust_option82: spec.trust_option82,
        seq: envelope.seq,
    }
}

/// Digest of a spec through its stored form, whose members have a fixed order.
fn spec_digest(what: &str, spec: &impl serde::Serialize) -> u64 {
    let mut digest = Digest::of(what);
    digest.bytes(&serde_json::to_vec(spec).unwrap_or_default());
    digest.finish()
}

fn space(tenant: TenantId, vrf: Option<&str>) -> Arc<Space> {
    Arc::new(Space { tenant, vrf: vrf.unwrap_or_default().into() })
}

/// External id for texts; an operator's object may have none.
fn name(envelope: &Envelope) -> Box<str> {
    match &envelope.external_id {
        Some(external_id) => external_id.as_str().into(),
        None => envelope.kind.format_id(envelope.id).into(),
    }
}

fn resolved(reference: Option<&Ref>) -> Uid {
    reference.map_or(Uid::NIL, Ref::resolved)
}

fn boxed(text: Option<&String>) -> Option<Box<str>> {
    text.map(|text| text.as_str().into())
}

fn boxed_bytes(bytes: &[u8]) -> Box<[u8]> {
    bytes.into()
}

/// A copy without spare capacity: a million of them are kept.
fn exact(secret: &Secret) -> Secret {
    Secret::new(secret.expose())
}
