//! Records of definitions: networks, plans, pools, NASes and relays.
//!
//! Specs of plans and networks travel as the JSON in which storage keeps them.

use serde::{Deserialize, Serialize};

use super::super::compile::{Origin, nas_digest};
use super::super::types::{Nas, Network, Plan, Pool, Relay, Space};
use super::record::Id;
use crate::ids::{TenantId, Uid};
use crate::model::Prefix;
use crate::model::nas::{Accounting, Enforce, Requirement, SignReplies};
use crate::model::pool::{ExhaustedAction, Range};
use crate::radius::wire::integrity::SharedKey;
use crate::secret::Secret;

#[derive(Serialize, Deserialize)]
pub(super) struct DefinitionRecord<'a> {
    id: Id,
    tenant: TenantId,
    name: &'a str,
    pub(super) spec_json: String,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PoolRecord<'a> {
    id: Id,
    tenant: TenantId,
    name: &'a str,
    network: Id,
    class: &'a str,
    group: Option<&'a str>,
    ranges: Vec<Range>,
    wide_len: u8,
    order: u16,
    quarantine: u32,
    exhausted_action: ExhaustedAction,
    draining: bool,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct NasRecord<'a> {
    id: Id,
    tenant: TenantId,
    name: &'a str,
    addresses: Vec<Prefix>,
    identifier: Option<&'a [u8]>,
    #[serde(borrow)]
    secrets: Vec<&'a [u8]>,
    vendor: &'a str,
    group: Option<&'a str>,
    require_message_authenticator: Requirement,
    enforce_message_authenticator: Enforce,
    limit_proxy_state: Requirement,
    sign_replies: SignReplies,
    accounting: Accounting,
    ipoe_password: Option<&'a [u8]>,
    lower_logins: bool,
    strip_realm: bool,
    reject_delay_max: u32,
    interim_min: u32,
    proxy: bool,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RelayRecord<'a> {
    id: Id,
    tenant: TenantId,
    name: &'a str,
    addresses: Vec<Prefix>,
    group: Option<&'a str>,
    network: Id,
    trust_option82: bool,
    seq: u64,
}

pub(super) fn of_network(network: &Network) -> DefinitionRecord<'_> {
    DefinitionRecord {
        id: network.id.bytes(),
        tenant: network.space.tenant,
        name: &network.name,
        spec_json: serde_json::to_string(&network.spec).unwrap_or_default(),
        seq: network.seq,
    }
}

pub(super) fn of_plan(plan: &Plan) -> DefinitionRecord<'_> {
    DefinitionRecord {
        id: plan.id.bytes(),
        tenant: plan.space.tenant,
        name: &plan.name,
        spec_json: serde_json::to_string(&plan.spec).unwrap_or_default(),
        seq: plan.seq,
    }
}

impl DefinitionRecord<'_> {
    pub(super) fn origin(&self) -> Origin {
        Origin { id: Uid::from_bytes(self.id), tenant: self.tenant, name: self.name.into(), seq: self.seq }
    }
}

pub(super) fn of_pool(pool: &Pool) -> PoolRecord<'_> {
    PoolRecord {
        id: pool.id.bytes(),
        tenant: pool.space.tenant,
        name: &pool.name,
        network: pool.network.bytes(),
        class: &pool.class,
        group: pool.group.as_deref(),
        ranges: pool.ranges.clone(),
        wide_len: pool.wide_len,
        order: pool.order,
        quarantine: pool.quarantine,
        exhausted_action: pool.exhausted_action,
        draining: pool.draining,
        seq: pool.seq,
    }
}

impl PoolRecord<'_> {
    pub(super) fn pool(self) -> Pool {
        Pool {
            id: Uid::from_bytes(self.id),
            name: self.name.into(),
            space: Space { tenant: self.tenant, vrf: Box::default() },
            network: Uid::from_bytes(self.network),
            class: self.class.into(),
            group: self.group.map(Box::from),
            ranges: self.ranges,
            wide_len: self.wide_len,
            order: self.order,
            quarantine: self.quarantine,
            exhausted_action: self.exhausted_action,
            draining: self.draining,
            seq: self.seq,
        }
    }
}

pub(super) fn of_nas(nas: &Nas) -> NasRecord<'_> {
    NasRecord {
        id: nas.id.bytes(),
        tenant: nas.tenant,
        name: &nas.name,
        addresses: nas.addresses.clone(),
        identifier: nas.identifier.as_deref(),
        secrets: nas.secrets.iter().map(Secret::expose).collect(),
        vendor: &nas.vendor,
        group: nas.group.as_deref(),
        require_message_authenticator: nas.require_message_authenticator,
        enforce_message_authenticator: nas.enforce_message_authenticator,
        limit_proxy_state: nas.limit_proxy_state,
        sign_replies: nas.sign_replies,
        accounting: nas.accounting,
        ipoe_password: nas.ipoe_password.as_ref().map(Secret::expose),
        lower_logins: nas.lower_logins,
        strip_realm: nas.strip_realm,
        reject_delay_max: nas.reject_delay_max,
        interim_min: nas.interim_min,
        proxy: nas.proxy,
        seq: nas.seq,
    }
}

impl NasRecord<'_> {
    pub(super) fn nas(self) -> Nas {
        let secrets: Vec<Secret> = self.secrets.into_iter().map(Secret::new).collect();
        Nas {
            keys: secrets.iter().cloned().map(SharedKey::new).collect(),
            id: Uid::from_bytes(self.id),
            tenant: self.tenant,
            name: self.name.into(),
            addresses: self.addresses,
            identifier: self.identifier.map(Box::from),
            secrets,
            vendor: self.vendor.into(),
            group: self.group.map(Box::from),
            require_message_authenticator: self.require_message_authenticator,
            enforce_message_authenticator: self.enforce_message_authenticator,
            limit_proxy_state: self.limit_proxy_state,
            sign_replies: self.sign_replies,
            accounting: self.accounting,
            ipoe_password: self.ipoe_password.map(Secret::new),
            lower_logins: self.lower_logins,
            strip_realm: self.strip_realm,
            reject_delay_max: self.reject_delay_max,
            interim_min: self.interim_min,
            proxy: self.proxy,
            digest: nas_digest(self.vendor, self.group, self.accounting, self.interim_min),
            seq: self.seq,
        }
    }
}

pub(super) fn of_relay(relay: &Relay) -> RelayRecord<'_> {
    RelayRecord {
        id: relay.id.bytes(),
        tenant: relay.tenant,
        name: &relay.name,
        addresses: relay.addresses.clone(),
        group: relay.group.as_deref(),
        network: relay.network.bytes(),
        trust_option82: relay.trust_option82,
        seq: relay.seq,
    }
}

impl RelayRecord<'_> {
    pub(super) fn relay(self) -> Relay {
        Relay {
            id: Uid::from_bytes(self.id),
            tenant: self.tenant,
            name: self.name.into(),
            addresses: self.addresses,
            group: self.group.map(Box::from),
            network: Uid::from_bytes(self.network),
            trust_option82: self.trust_option82,
            seq: self.seq,
        }
    }
}
