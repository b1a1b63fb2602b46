//! What is true whatever the ledger believes: what clients use, and what the committed records say, read naively.

use std::collections::BTreeMap;
use std::sync::Arc;

use lastmile::ids::{NasId, PoolId, SessionId};
use lastmile::journal::record::{Holder, Record, ReleaseReason, SessionEvent};
use lastmile::ledger::pool::EntryState;
use lastmile::ledger::{HolderState, Ledger, PoolCounts, PoolLedger};
use lastmile::model::Prefix;
use lastmile::snapshot::types::Space;
use lastmile::time::Stamp;

/// A PPPoE or IPoE session as the subscriber's side sees it.
#[derive(Clone, Debug)]
pub struct Online {
    pub session: SessionId,
    pub nas: u64,
    pub slot: u8,
    pub prefixes: Vec<Prefix>,
    /// Of these a crash took the record: others may have them from the stamp on, unless the session is heard of before.
    pub unsure: Vec<(Prefix, Stamp)>,
    pub until: Stamp,
    pub since: Stamp,
}

impl Online {
    /// Everything that the subscriber uses.
    pub fn all(&self) -> Vec<Prefix> {
        self.prefixes.iter().copied().chain(self.unsure.iter().map(|(prefix, _)| *prefix)).collect()
    }
}

/// A lease as the client sees it.
#[derive(Clone, Debug)]
pub struct Leased {
    pub prefix: Prefix,
    pub slot: u8,
    pub until: Stamp,
}

type GrantKey = (String, Prefix, Holder, u8);

/// The committed records, read without regard for how the ledger does it.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// Live grants: when they were opened, and for which session.
    pub live: BTreeMap<GrantKey, (Stamp, SessionId)>,
    /// The pools of live grants: a range may have gone to another one.
    pools: BTreeMap<GrantKey, PoolId>,
    /// Until when Accepts allow the use of live grants, and through which NAS the last one did.
    pub accepted: BTreeMap<GrantKey, (Stamp, NasId)>,
    /// Grants of pools, and when they were left: their holders may have these back.
    left: BTreeMap<GrantKey, Stamp>,
    /// The session of each slot.
    pub sessions: BTreeMap<(Holder, u8), SessionId>,
}

impl Fold {
    /// Whether a pool gave the prefix to the slot before, so that the slot may have it back.
    pub fn was_given(&self, space: &Space, prefix: Prefix, holder: Holder, slot: u8) -> bool {
        self.left.contains_key(&(space.vrf.to_string(), prefix, holder, slot))
    }

    /// Takes one record in; two live grants of different holders must never overlap.
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Grant(grant) => {
                let vrf = String::from_utf8_lossy(&grant.vrf).into_owned();
                for (known, holder) in self.live.keys().map(|key| ((&key.0, key.1), key.2)) {
                    let overlaps = *known.0 == vrf && known.1.overlaps(grant.prefix);
                    assert!(
                        !overlaps || holder == grant.holder,
                        "{} is granted to {:?} while {:?} has {}",
                        grant.prefix,
                        grant.holder,
                        holder,
                        known.1
                    );
                }
                let key = (vrf, grant.prefix, grant.holder, grant.slot);
                let is_left = || self.left.get(&key).is_some_and(|left| grant.at <= *left);
                if grant.renewal && !self.live.contains_key(&key) && is_left() {
                    return;
                }
                if grant.pool == PoolId::default() {
                    self.left.remove(&key);
                } else {
                    self.left.insert(key.clone(), Stamp::ZERO);
                }
                if grant.lease.is_none() {
                    let known = self.accepted.entry(key.clone()).or_default();
                    *known = (grant.ends_at.max(known.0), grant.nas);
                }
                let opened = (grant.at, grant.session);
                let moved = self.pools.insert(key.clone(), grant.pool).is_some_and(|pool| pool != grant.pool);
                let known = self.live.entry(key).or_insert(opened);
                if !grant.renewal || moved {
                    *known = opened;
                }
            }
            Record::Release(release) => {
                let vrf = String::from_utf8_lossy(&release.vrf).into_owned();
                let key = (vrf, release.prefix, release.holder, release.slot);
                if self.live.get(&key).is_some_and(|(since, _)| *since <= release.at) {
                    self.live.remove(&key);
                    self.accepted.remove(&key);
                    self.pools.remove(&key);
                    if release.reason == ReleaseReason::Declined {
                        self.left.remove(&key);
                    }
                    self.left.entry(key).and_modify(|left| *left = release.at);
                }
            }
            Record::Session(session) => {
                let key = (session.holder, session.slot);
                if matches!(session.event, SessionEvent::Start | SessionEvent::Interim) {
                    self.sessions.entry(key).or_insert(session.session);
                } else if self.sessions.get(&key) == Some(&session.session) {
                    self.sessions.remove(&key);
                    // From then on only a lease stands on what is leased.
                    self.accepted.retain(|grant, _| (grant.2, grant.3) != key);
                }
            }
            // What it gave before is over, as far as records tell.
            Record::Nas(restart) => self.accepted.retain(|_, known| known.1 != restart.nas),
            Record::Start(_) | Record::Hold(_) | Record::Learned(_) => {}
        }
    }
}

fn prefixes_of(state: &HolderState, holder: Holder) -> Vec<(String, Prefix, Holder, u8, Stamp)> {
    let of_slot = |slot: &lastmile::ledger::Slot| -> Vec<_> {
        let live = slot.grants.iter().filter(|grant| grant.live);
        live.map(|grant| (grant.space.vrf.to_string(), grant.prefix, holder, slot.number, grant.since))
            .collect()
    };
    state.slots.iter().flat_map(of_slot).collect()
}

/// The live grants of a ledger, sorted.
pub fn live_of(ledger: &Ledger) -> Vec<(String, Prefix, Holder, u8, Stamp)> {
    let mut live = Vec::new();
    ledger.for_each(|holder, state| live.extend(prefixes_of(state, holder)));
    live.sort();
    live
}

/// A live grant that neither a pool nor what stands outside of pools knows as its holder's, if there is one.
pub fn unheld_of(ledger: &Ledger) -> Option<String> {
    let pools = ledger.pools();
    let mut unheld = None;
    ledger.for_each(|holder, state| {
        for grant in state.slots.iter().flat_map(|slot| slot.grants.iter()).filter(|grant| grant.live) {
            let apart =
                || ledger.holder_of(&grant.space, grant.prefix).is_some_and(|known| known.0 == holder);
            let granted = |pool: &PoolLedger| {
                let entry = pool.entry(grant.prefix);
                entry.is_some_and(|entry| entry.0 == holder && entry.2 == EntryState::Granted)
            };
            let space = grant.space.key();
            let in_pool = pools.iter().any(|pool| pool.space_key == space && granted(pool));
            if !in_pool && !apart() {
                unheld = Some(format!("{holder:?} {}", grant.prefix));
            }
        }
    });
    unheld
}

/// Everything durable of a ledger as text, sorted: two ledgers made from the same records say the same.
pub fn durable_of(ledger: &Ledger) -> Vec<String> {
    let mut lines = Vec::new();
    ledger.for_each(|holder, state| {
        for slot in &state.slots {
            for grant in slot.grants.iter().filter(|grant| grant.live) {
                lines.push(format!(
                    "grant {holder:?} {} {:?} {:?} {:?} pool {:?} since {} lease {:?} until {} nas {:?} digest {} seq {}",
                    slot.number,
                    grant.prefix,
                    grant.role,
                    grant.space.vrf,
                    grant.pool,
                    grant.since.0,
                    grant.lease,
                    grant.durable_ends_at.0,
                    grant.nas,
                    grant.digest,
                    grant.sequence,
                ));
            }
            if let Some(session) = &slot.session {
                lines.push(format!("session {holder:?} {} {session:?}", slot.number));
            }
        }
    });
    lines.sort();
    lines
}

/// Addresses that slots remember and could have back.
pub fn remembered_of(ledger: &Ledger) -> Vec<(Arc<Space>, Prefix, Holder, u8)> {
    let mut known = Vec::new();
    ledger.for_each(|holder, state| {
        for slot in &state.slots {
            let left = slot.grants.iter().filter(|grant| !grant.live);
            known.extend(left.map(|grant| (Arc::clone(&grant.space), grant.prefix, holder, slot.number)));
        }
    });
    known
}

/// What each pool counts, by id.
pub fn counts_of(ledger: &Ledger) -> Vec<(PoolId, PoolCounts)> {
    let mut counts: Vec<_> = ledger.pools().iter().map(|pool| (pool.id, pool.counts(Stamp::MAX))).collect();
    counts.sort_by_key(|(pool, _)| *pool);
    counts
}
