//! Compiled objects: what a decision reads, with nothing in it that a decision does not need.
//!
//! Compact on purpose: an installation of a million subscribers keeps a [`Service`] and an [`Access`] for each.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::ids::{TenantId, Uid};
use crate::model::nas::{Accounting, Enforce, Requirement, SignReplies};
use crate::model::network::{Role, Route};
use crate::model::pool::{ExhaustedAction, Range};
use crate::model::service::ServiceState;
use crate::model::{Mac, Prefix};
use crate::radius::wire::integrity::SharedKey;
use crate::secret::Secret;

/// One address space: addresses are unique within (tenant, VRF).
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub struct Space {
    /// Operator.
    pub tenant: TenantId,
    /// VRF, empty for the default VRF.
    pub vrf: Box<str>,
}

impl PartialEq for Space {
    /// Written out for the default VRF: its name is empty and points nowhere, and comparing no bytes there costs over a
    /// hundred nanoseconds where the processor has to suppress the fault of a masked load. Packets compare several.
    fn eq(&self, other: &Self) -> bool {
        let same_length = self.vrf.len() == other.vrf.len();
        self.tenant == other.tenant && same_length && (self.vrf.is_empty() || self.vrf == other.vrf)
    }
}

impl std::hash::Hash for Space {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
        self.vrf.hash(state);
    }
}

impl Space {
    /// A stable 64-bit key of the space (FNV-1a over tenant and VRF), the same on every node.
    pub fn key(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.tenant.0.bytes().iter().chain(self.vrf.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash
    }
}

/// What an access is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessKey {
    /// PPPoE login.
    Login(Box<[u8]>),
    /// MAC address.
    Mac(Mac),
    /// Remote-id and circuit-id of a line; an absent one is not compared.
    Line {
        /// Agent remote-id.
        remote_id: Option<Box<[u8]>>,
        /// Agent circuit-id.
        circuit_id: Option<Box<[u8]>>,
    },
}

/// A compiled access.
pub struct Access {
    /// Its id.
    pub id: Uid,
    /// Operator.
    pub tenant: TenantId,
    /// The service it recognises.
    pub service: Uid,
    /// What it is recognised by.
    pub key: AccessKey,
    /// Password, for logins that have one.
    pub password: Option<Box<Secret>>,
    /// Only on this network; nil for any.
    pub network: Uid,
    /// Scope: relay or NAS group, `None` for any.
    pub group: Option<Box<str>>,
    /// Only from this MAC address; zero for any.
    pub bind_mac: Mac,
    /// Only on this VLAN; 0 for any.
    pub bind_vlan: u16,
    /// Whether it may be used.
    pub enabled: bool,
    /// The seq at which it last changed.
    pub seq: u64,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Parts of a service that most services do not have.
#[derive(Debug, Default)]
pub struct ServiceExtras {
    /// WAN prefix assigned by name.
    pub wan: Option<Prefix>,
    /// Delegated prefix assigned by name.
    pub delegated: Option<Prefix>,
    /// Whether WAN prefixes are switched off.
    pub no_wan: bool,
    /// Whether delegated prefixes are switched off.
    pub no_delegated: bool,
    /// Subnets routed to the service.
    pub routed: Vec<Prefix>,
    /// Reply-Message of its own.
    pub reply_message: Option<Box<str>>,
    /// VRF of its own.
    pub vrf: Option<Box<str>>,
    /// Address space of its own VRF, shared by the services in it; `None` when `vrf` is.
    pub space: Option<Arc<Space>>,
}

/// Where the IPv4 address of a service comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceIpv4 {
    /// From the plan's pool class.
    Pool,
    /// None.
    None,
    /// This one.
    Fixed(Ipv4Addr),
}

/// A compiled service.
#[derive(Debug)]
pub struct Service {
    /// Its id.
    pub id: Uid,
    /// Operator.
    pub tenant: TenantId,
    /// Its plan.
    pub plan: Uid,
    /// Whether it may use the network.
    pub state: ServiceState,
    /// Simultaneous sessions of its own; 0 when the plan's count.
    pub max_sessions: u8,
    /// IPv4 address.
    pub ipv4: ServiceIpv4,
    /// What most services do not have.
    pub extras: Option<Box<ServiceExtras>>,
    /// Digest of its own part of the policy.
    pub digest: u64,
    /// The seq at which it last changed.
    pub seq: u64,
}

/// A compiled plan.
#[derive(Debug)]
pub struct Plan {
    /// Its id.
    pub id: Uid,
    /// Address space of services that name no VRF of their own.
    pub space: Arc<Space>,
    /// External id, for texts.
    pub name: Box<str>,
    /// What the CRM or operator wrote.
    pub spec: crate::model::plan::PlanSpec,
    /// Digest of its part of the policy.
    pub digest: u64,
    /// The seq at which it last changed.
    pub seq: u64,
}

/// A compiled network.
#[derive(Debug)]
pub struct Network {
    /// Its id.
    pub id: Uid,
    /// External id, for texts.
    pub name: Box<str>,
    /// Address space.
    pub space: Space,
    /// What the CRM or operator wrote.
    pub spec: crate::model::network::NetworkSpec,
    /// Name servers, split by family for encoding.
    pub dns_v4: Vec<Ipv4Addr>,
    /// DHCPv4 options from `spec.options`, decoded.
    pub options: Vec<(u8, Box<[u8]>)>,
    /// Digest of its part of the policy.
    pub digest: u64,
    /// The seq at which it last changed.
    pub seq: u64,
}

impl Network {
    /// The prefix of the network that holds `address`.
    pub fn prefix_of(&self, address: IpAddr) -> Option<Prefix> {
        let host = Prefix::host(address);
        self.spec.prefixes.iter().copied().find(|prefix| prefix.contains(host))
    }

    /// What its addresses are.
    pub const fn role(&self) -> Role {
        self.spec.role
    }

    /// Its classless routes.
    pub fn routes(&self) -> &[Route] {
        &self.spec.routes
    }
}

/// A compiled pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its id.
    pub id: Uid,
    /// External id, for texts and metric labels.
    pub name: Box<str>,
    /// Address space, from its network.
    pub space: Space,
    /// Its network.
    pub network: Uid,
    /// Class, as plans name it.
    pub class: Box<str>,
    /// NAS or relay group it serves; `None` for any.
    pub group: Option<Box<str>>,
    /// Its ranges.
    pub ranges: Vec<Range>,
    /// Length of each grant in 128-bit terms.
    pub wide_len: u8,
    /// Order among the pools of a class.
    pub order: u16,
    /// Seconds an address rests after its holder left.
    pub quarantine: u32,
    /// What a newcomer gets when it is full.
    pub exhausted_action: ExhaustedAction,
    /// Whether it grants nothing new.
    pub draining: bool,
    /// The seq at which it last changed.
    pub seq: u64,
}

/// A compiled NAS.
#[derive(Debug)]
pub struct Nas {
    /// Its id.
    pub id: Uid,
    /// Operator.
    pub tenant: TenantId,
    /// External id, for texts and metric labels.
    pub name: Box<str>,
    /// Where it sends from.
    pub addresses: Vec<Prefix>,
    /// NAS-Identifier that tells apart clients behind one address.
    pub identifier: Option<Box<[u8]>>,
    /// Shared secrets, for the node-local image.
    pub secrets: Vec<Secret>,
    /// Keys made of them: the current one first, then the previous one during a rotation.
    pub keys: Vec<SharedKey>,
    /// Vendor of the box.
    pub vendor: Box<str>,
    /// NAS group.
    pub group: Option<Box<str>>,
    /// Whether Access-Requests must carry Message-Authenticator.
    pub require_message_authenticator: Requirement,
    /// What follows from `auto` there.
    pub enforce_message_authenticator: Enforce,
    /// Whether those with Proxy-State must.
    pub limit_proxy_state: Requirement,
    /// When replies carry it.
    pub sign_replies: SignReplies,
    /// What its accounting proves.
    pub accounting: Accounting,
    /// Fixed password of passwordless IPoE authorisation, if enabled.
    pub ipoe_password: Option<Secret>,
    /// Whether logins are lowered.
    pub lower_logins: bool,
    /// Whether `@realm` is removed.
    pub strip_realm: bool,
    /// Longest reject delay in milliseconds.
    pub reject_delay_max: u32,
    /// Smallest interim interval it accepts, in seconds.
    pub interim_min: u32,
    /// Whether it is a proxy.
    pub proxy: bool,
    /// Digest of its part of the policy.
    pub digest: u64,
    /// The seq at which it last changed.
    pub seq: u64,
}

/// A compiled relay.
#[derive(Debug)]
pub struct Relay {
    /// Its id.
    pub id: Uid,
    /// Operator.
    pub tenant: TenantId,
    /// External id, for texts.
    pub name: Box<str>,
    /// Where it relays from.
    pub addresses: Vec<Prefix>,
    /// Scope of line identities.
    pub group: Option<Box<str>>,
    /// Network of requests whose giaddr lies in none; nil when there is none.
    pub network: Uid,
    /// Whether its option 82 identifies lines.
    pub trust_option82: bool,
    /// The seq at which it last changed.
    pub seq: u64,
}
