//! What is going on now: sessions, leases and pools, read from this node's ledger.
//!
//! The ledger is read shard by shard with short locks; a list keeps only the page it will show. Closed sessions are
//! history and come from storage, see [`super::history`].

use std::collections::BTreeMap;

use super::live_views::{LeaseView, SessionView, UtilizationView, tenant_of_session};
use super::{Action, Actor, App, Refusal, Resource};
use crate::ids::{PoolId, ServiceId, SessionId, Uid};
use crate::journal::record::Holder;
use crate::ledger::PoolCounts;
use crate::model::{Kind, Mac, Prefix, Ref};
use crate::snapshot::types::Space;
use crate::storage::Page;

/// Which live sessions or leases are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveFilter {
    /// Only of this service.
    pub service: Option<ServiceId>,
    /// Only with this MAC address.
    pub mac: Option<Mac>,
    /// Only through this NAS.
    pub nas: Option<Uid>,
    /// Only with this login, in any letter case.
    pub login: Option<String>,
    /// Only inside this prefix.
    pub prefix: Option<Prefix>,
    /// Only in this VRF; empty for the default one.
    pub vrf: Option<String>,
}

/// The first `limit` entries after a key, in key order, out of many that come in any order.
struct Smallest<K, V> {
    after: Option<K>,
    limit: usize,
    kept: BTreeMap<K, V>,
    more: bool,
}

impl<K: Ord, V> Smallest<K, V> {
    const fn new(after: Option<K>, limit: usize) -> Self {
        Self { after, limit, kept: BTreeMap::new(), more: false }
    }

    fn offer(&mut self, key: K, value: impl FnOnce() -> V) {
        if self.after.as_ref().is_some_and(|after| key <= *after) {
            return;
        }
        if self.kept.len() >= self.limit {
            self.more = true;
            if self.kept.last_key_value().is_none_or(|(last, _)| key >= *last) {
                return;
            }
            self.kept.pop_last();
        }
        self.kept.insert(key, value());
    }

    fn page(self, as_of_seq: u64, key_text: impl Fn(&K) -> String) -> Page<V> {
        let next = self.kept.last_key_value().filter(|_| self.more).map(|(key, _)| key_text(key));
        Page { items: self.kept.into_values().collect(), next, as_of_seq }
    }
}

impl App {
    /// Live sessions in id order.
    pub fn live_sessions(
        &self,
        actor: &Actor,
        filter: &LiveFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<SessionView>, Refusal> {
        actor.require(Action::Read, Resource::Session)?;
        let after =
            after.map(|text| text.parse::<SessionId>().map_err(|_| Refusal::BadCursor)).transpose()?;
        let snapshot = self.parts().publisher.load_full();
        let mut smallest = Smallest::new(after, limit);
        self.visit(filter.service, |holder, state| {
            for slot in &state.slots {
                let Some(session) = &slot.session else { continue };
                let login = |wanted: &String| session.login.eq_ignore_ascii_case(wanted.as_bytes());
                let wanted = filter.mac.is_none_or(|mac| slot.owner.mac == mac)
                    && filter.nas.is_none_or(|nas| session.nas.0 == nas)
                    && filter.login.as_ref().is_none_or(login)
                    && filter.prefix.is_none_or(|prefix| holds(slot, prefix))
                    && tenant_of_session(&snapshot, holder, slot, session) == actor.tenant;
                if wanted {
                    smallest.offer(session.id, || SessionView::live(&snapshot, holder, slot, session));
                }
            }
        });
        Ok(smallest.page(snapshot.seq(), ToString::to_string))
    }

    /// One session: live, else as history has it.
    pub async fn session(&self, actor: &Actor, id: SessionId) -> Result<SessionView, Refusal> {
        actor.require(Action::Read, Resource::Session)?;
        let snapshot = self.parts().publisher.load_full();
        let ledger = &self.parts().ledger;
        let holder = ledger.holder_of_session(id);
        let state = holder.and_then(|holder| Some((holder, ledger.holder(holder)?)));
        if let Some((holder, state)) = state {
            for slot in &state.slots {
                if let Some(session) = slot.session.as_ref().filter(|session| session.id == id)
                    && tenant_of_session(&snapshot, holder, slot, session) == actor.tenant
                {
                    return Ok(SessionView::live(&snapshot, holder, slot, session));
                }
            }
        }
        let stored = self.storage().session(actor.tenant, id).await?;
        stored
            .map(|row| SessionView::stored(&snapshot, row))
            .ok_or_else(|| Refusal::NotFound { what: format!("session {id}") })
    }

    /// DHCP leases in prefix order.
    pub fn live_leases(
        &self,
        actor: &Actor,
        filter: &LiveFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<LeaseView>, Refusal> {
        actor.require(Action::Read, Resource::Lease)?;
        let after = after.map(|text| lease_key(text).ok_or(Refusal::BadCursor)).transpose()?;
        let snapshot = self.parts().publisher.load_full();
        let mut smallest = Smallest::new(after, limit);
        self.visit(filter.service, |holder, state| {
            for slot in &state.slots {
                let leases = slot.grants.iter().filter(|grant| grant.live && grant.lease.is_some());
                for grant in leases {
                    let wanted = grant.space.tenant == actor.tenant
                        && filter.mac.is_none_or(|mac| slot.owner.mac == mac)
                        && filter.prefix.is_none_or(|prefix| prefix.contains(grant.prefix))
                        && filter.vrf.as_deref().is_none_or(|vrf| *grant.space.vrf == *vrf);
                    if wanted {
                        let key = (grant.space.vrf.to_string(), grant.prefix);
                        smallest.offer(key, || LeaseView::of(&snapshot, holder, slot, grant));
                    }
                }
            }
        });
        Ok(smallest.page(snapshot.seq(), |(vrf, prefix)| format!("{vrf}|{prefix}")))
    }

    /// Who has an address now, or had it last.
    pub fn lease(&self, actor: &Actor, vrf: &str, prefix: Prefix) -> Result<LeaseView, Refusal> {
        actor.require(Action::Read, Resource::Lease)?;
        self.holding(actor, vrf, prefix)
            .ok_or_else(|| Refusal::NotFound { what: format!("holder of {prefix}") })
    }

    pub(super) fn holding(&self, actor: &Actor, vrf: &str, prefix: Prefix) -> Option<LeaseView> {
        let space = Space { tenant: actor.tenant, vrf: vrf.into() };
        let snapshot = self.parts().publisher.load_full();
        let ledger = &self.parts().ledger;
        let held = ledger.holder_of(&space, prefix).and_then(|(holder, number)| {
            let state = ledger.holder(holder)?;
            let slot = state.slots.iter().find(|slot| slot.number == number)?;
            let grant = slot.grants.iter().find(|grant| grant.prefix == prefix && *grant.space == space)?;
            Some(LeaseView::of(&snapshot, holder, slot, grant))
        });
        held.or_else(|| {
            let overlapping = snapshot.fixed_overlapping(space.key(), prefix);
            let (assigned, service) = overlapping.first()?;
            Some(LeaseView::assigned(*assigned, vrf, *service))
        })
    }

    /// How full a pool is, as this node sees it.
    pub async fn utilization(&self, actor: &Actor, reference: &Ref) -> Result<UtilizationView, Refusal> {
        let shown = self.object(actor, Kind::Pool, reference).await?;
        let envelope = shown.envelope;
        let ledger = self.parts().ledger.pool(PoolId(envelope.id));
        let counts = ledger.map_or_else(PoolCounts::default, |pool| pool.counts(self.now()));
        let text = |name: &str| shown.spec.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let used = counts.size.saturating_sub(counts.free + counts.held);
        Ok(UtilizationView {
            pool: envelope.kind.format_id(envelope.id),
            name: envelope.external_id.clone().unwrap_or_default(),
            class: text("class").to_owned(),
            draining: shown.spec.get("draining").is_some_and(|value| *value == true),
            used_percent: percent(used, counts.size),
            counts,
        })
    }

    /// Calls `visit` with one holder, or with all.
    fn visit(&self, service: Option<ServiceId>, mut visit: impl FnMut(Holder, &crate::ledger::HolderState)) {
        let ledger = &self.parts().ledger;
        match service {
            Some(service) => {
                let holder = Holder(service.0.0);
                if let Some(state) = ledger.holder(holder) {
                    visit(holder, &state);
                }
            }
            None => ledger.for_each(visit),
        }
    }
}

fn holds(slot: &crate::ledger::Slot, prefix: Prefix) -> bool {
    slot.grants.iter().any(|grant| grant.live && prefix.contains(grant.prefix))
}

fn percent(used: u32, size: u32) -> f64 {
    if size == 0 { 0.0 } else { (f64::from(used) * 1000.0 / f64::from(size)).round() / 10.0 }
}

fn lease_key(text: &str) -> Option<(String, Prefix)> {
    let (vrf, prefix) = text.rsplit_once('|')?;
    Some((vrf.to_owned(), prefix.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_the_smallest_keys_whatever_the_order_they_come_in() {
        let page = |after| {
            let mut smallest = Smallest::new(after, 3);
            for key in [9, 2, 7, 4, 1, 8] {
                smallest.offer(key, || key);
            }
            smallest.page(1, ToString::to_string)
        };
        let first = page(None);
        assert_eq!((first.items, first.next.as_deref()), (vec![1, 2, 4], Some("4")));
        let second = page(Some(4));
        assert_eq!((second.items, second.next), (vec![7, 8, 9], None));
    }

    #[test]
    fn percentages_are_rounded_to_tenths() {
        assert!((percent(1, 3) - 33.3).abs() < f64::EPSILON);
        assert!(percent(0, 0).abs() < f64::EPSILON);
    }
}
