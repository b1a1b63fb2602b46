//! Many threads at once: workers that decide, one that commits, and one that edits, counts, sweeps and checkpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use lastmile::ids::{NetworkId, TenantId};
use lastmile::journal::record::{LeaseFacts, Record, ReleaseReason, Role, SessionEvent};
use lastmile::ledger::{Accounted, AccountingFacts, AdmitRequest, Ledger, Want, WantSource};
use lastmile::snapshot::types::Pool;
use lastmile::time::Stamp;

use crate::rig::{Random, T0, check_counts, holder, line, nas, pool, prefix, session};
use crate::truth::{Fold, live_of};

const WORKERS: u64 = 4;
const ROUNDS: u64 = 4_000;

struct Shared {
    ledger: Ledger,
    pools: Vec<Arc<Pool>>,
    /// Time moves with the work done.
    clock: AtomicU64,
    done: AtomicBool,
}

fn work(shared: &Shared, worker: u64, journal: &mpsc::Sender<Vec<Record>>) {
    let mut random = Random(worker);
    let space = shared.ledger.space(TenantId::DEFAULT, b"");
    let lease = LeaseFacts::default();
    for round in 0..ROUNDS {
        // The same holders on all threads: two decisions about one of them may be submitted in either order.
        let number = random.below(12) as u64;
        let now = Stamp(shared.clock.fetch_add(random.below(400) as u64, Ordering::Relaxed));
        let id = session(worker * ROUNDS + round);
        let routed = Want { role: Role::Routed, source: WantSource::Fixed(prefix("10.0.0.4/31")) };
        let wants = [Want { role: Role::V4, source: WantSource::Pools(&shared.pools) }, routed];
        let leased = random.chance(40);
        let request = AdmitRequest {
            now,
            holder: holder(number),
            space: &space,
            owner: line(number),
            line: b"",
            max_slots: 1,
            wants: if number == 3 && !leased { &wants } else { &wants[..1] },
            nas: nas(1),
            network: NetworkId::default(),
            session: id,
            pending_until: now.plus_secs(20),
            ends_at: now.plus_secs(60),
            lease: leased.then_some(&lease),
            requested: None,
            digest: 0,
            fixed_holder: &|_, _| None,
        };
        let records = match random.below(4) {
            0 | 1 => shared.ledger.admit(&request).map_or_else(
                |_| Vec::new(),
                |mut admission| {
                    admission.write.append(&mut admission.wait_for);
                    admission.write
                },
            ),
            2 => {
                let held = shared.ledger.live_grant(holder(number), Role::V4, line(number));
                let ended = held.and_then(|held| {
                    shared.ledger.release(holder(number), &space, held, ReleaseReason::Released, now)
                });
                ended.into_iter().collect()
            }
            _ => report(shared, &request, random.chance(50)),
        };
        if random.chance(10) {
            shared.ledger.abort(&records);
        } else if journal.send(records).is_err() {
            return;
        }
    }
}

fn report(shared: &Shared, request: &AdmitRequest<'_>, stop: bool) -> Vec<Record> {
    let state = shared.ledger.holder(request.holder).unwrap_or_default();
    let pending = state.slots.first().and_then(|slot| slot.pending.as_ref().map(|pending| pending.session));
    let current = state.slots.first().and_then(|slot| slot.session.as_ref().map(|known| known.id));
    let accounted = shared.ledger.account(&AccountingFacts {
        now: request.now,
        event_at: request.now,
        event: if stop { SessionEvent::Stop } else { SessionEvent::Start },
        class: pending.or(current),
        fresh: request.session,
        nas: request.nas,
        acct_session_id: b"1",
        login: b"",
        owner: request.owner,
        line: b"",
        session_time: 0,
        octets_in: 0,
        octets_out: 0,
        packets_in: 0,
        packets_out: 0,
        cause: 0,
        addresses: &[],
        holder: request.holder,
        space: Arc::clone(request.space),
    });
    match accounted {
        Accounted::Record { records, .. } => records,
        Accounted::Duplicate | Accounted::InFlight => Vec::new(),
    }
}

fn keep_house(shared: &Shared, journal: &mpsc::Sender<Vec<Record>>) {
    let mut round = 0;
    while !shared.done.load(Ordering::Acquire) {
        round += 1;
        let now = Stamp(shared.clock.load(Ordering::Relaxed));
        shared.ledger.set_pools(shared.pools.iter().map(AsRef::as_ref), &|_, _| true);
        for shard in 0..shared.ledger.shard_count() {
            if journal.send(shared.ledger.sweep(shard, now, 100)).is_err() {
                return;
            }
        }
        shared.ledger.reconsider(&|_, _| false);
        if round % 8 == 0 {
            let loaded = Ledger::new();
            loaded.set_pools(shared.pools.iter().map(AsRef::as_ref), &|_, _| true);
            loaded.load_checkpoint(&shared.ledger.checkpoint(0).bytes).expect("whole");
        }
    }
}

#[test]
fn workers_that_race_about_the_same_few_addresses_never_give_one_twice_and_never_block_each_other() {
    let pools: Vec<_> = [pool(0, "", &["10.0.0.1-10.0.0.6"], 128), pool(1, "", &["10.0.0.5-10.0.0.9"], 128)]
        .into_iter()
        .map(Arc::new)
        .collect();
    let shared =
        Shared { ledger: Ledger::new(), pools, clock: AtomicU64::new(T0.0), done: AtomicBool::new(false) };
    shared.ledger.set_pools(shared.pools.iter().map(AsRef::as_ref), &|_, _| true);
    let (sender, receiver) = mpsc::channel::<Vec<Record>>();
    let mut fold = Fold::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (shared, sender) = (&shared, sender.clone());
                scope.spawn(move || work(shared, worker, &sender))
            })
            .collect();
        let (shared, house) = (&shared, sender.clone());
        scope.spawn(move || keep_house(shared, &house));
        drop(sender);
        let fold = &mut fold;
        scope.spawn(move || {
            for (sequence, record) in (1..).zip(receiver.into_iter().flatten()) {
                fold.take(&record);
                shared.ledger.apply(sequence, &record);
            }
        });
        for worker in workers {
            worker.join().expect("a worker that ends");
        }
        shared.done.store(true, Ordering::Release);
    });
    let known: Vec<_> =
        fold.live.iter().map(|(key, (since, _))| (key.0.clone(), key.1, key.2, key.3, *since)).collect();
    assert_eq!(live_of(&shared.ledger), known);
    assert!(!known.is_empty());
    for pool in &shared.pools {
        check_counts(&shared.ledger, pool, Stamp(shared.clock.load(Ordering::Relaxed)));
    }
    assert_eq!(shared.ledger.counters().conflicts.load(Ordering::Relaxed), 0);
}
