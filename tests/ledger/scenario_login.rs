//! Slots, redials and the order in which addresses are given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lastmile::ids::{NetworkId, PoolId};
use lastmile::journal::record::{Owner, Record, Role, SessionEvent};
use lastmile::ledger::pool::EntryState;
use lastmile::ledger::{Accounted, AdmitRequest, Denied, Want, WantSource};
use lastmile::model::{Mac, Prefix};

use crate::rig::{Asker, Random, Rig, T0, device, holder, line, nas, pool, prefix, session};

#[test]
fn of_256_parallel_logins_from_distinct_lines_with_a_limit_of_one_one_is_accepted() {
    let rig = Rig::new(vec![pool(0, "", &["10.0.0.0/23"], 128)]);
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&rig.pools) }];
    let (accepted, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..256 {
            let (rig, wants, accepted, taken) = (&rig.ledger, &wants, &accepted, &taken);
            let space = &rig.space(lastmile::ids::TenantId::DEFAULT, b"");
            let space = Arc::clone(space);
            scope.spawn(move || {
                let answer = rig.admit(&AdmitRequest {
                    now: T0,
                    holder: holder(1),
                    space: &space,
                    owner: line(number),
                    line: b"",
                    max_slots: 1,
                    wants,
                    nas: nas(1),
                    network: NetworkId::default(),
                    session: session(number),
                    pending_until: T0.plus_secs(120),
                    ends_at: T0.plus_secs(3_600),
                    lease: None,
                    requested: None,
                    digest: 0,
                    fixed_holder: &|_, _| None,
                });
                match answer {
                    Ok(_) => accepted.fetch_add(1, Ordering::Relaxed),
                    Err(Denied::SlotsTaken { limit: 1 }) => taken.fetch_add(1, Ordering::Relaxed),
                    Err(other) => panic!("{other:?}"),
                };
            });
        }
    });
    assert_eq!((accepted.into_inner(), taken.into_inner()), (1, 255));
}

#[test]
fn a_line_that_redials_twenty_times_in_a_minute_is_accepted_each_time_with_the_same_address() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let (mut last, address) = rig.login(Asker::new(1)).unwrap();
    for redial in 0..20 {
        // Every other session is heard of before the line redials, and the Stop of the one before comes late.
        if redial % 2 == 0 {
            rig.start(Asker::new(1), last, address);
        }
        rig.pass(3);
        let (next, again) = rig.login(Asker::new(1)).unwrap();
        assert_eq!(again, address);
        rig.stop(Asker::new(1), last);
        last = next;
    }
    assert_eq!(rig.live(holder(1)), [address]);
    rig.check_conservation();
}

#[test]
fn a_redial_is_answered_at_once_while_the_record_of_a_returning_address_is_on_its_way() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let returning = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert!(returning.wait_for.is_empty());
    let again = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!(again.addresses[0].prefix, address);
    assert!(again.wait_for.is_empty());
}

#[test]
fn a_login_right_behind_its_own_stop_keeps_the_address_although_the_release_commits_later() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128)]);
    rig.pools = rig.pools.clone();
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), first, address);
    let stop = rig.report(Asker::new(1), SessionEvent::Stop, Some(first), &format!("{first}"), &[], 9);
    let Accounted::Record { records: stop, .. } = stop else { panic!("{stop:?}") };
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let redial = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!(redial.addresses[0].prefix, address);
    rig.commit_records(&stop);
    assert!(matches!(rig.login(Asker::new(2)), Err(Denied::Exhausted { .. })));
    rig.commit(&redial);
    assert_eq!(rig.live(holder(1)), [address]);
    // The other order of the two records, as two threads may submit them, ends the same.
    rig.stop(Asker::new(1), redial.session);
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_release_decided_before_a_grant_but_committed_after_it_does_not_end_it() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), first, address);
    let stop = rig.report(Asker::new(1), SessionEvent::Stop, Some(first), &format!("{first}"), &[], 9);
    let Accounted::Record { records: stop, .. } = stop else { panic!("{stop:?}") };
    let redial = rig.login(Asker::new(1)).unwrap();
    rig.commit_records(&stop);
    assert_eq!(rig.live(holder(1)), [redial.1]);
    assert_eq!(redial.1, address);
}

#[test]
fn addresses_are_given_in_the_order_own_last_then_never_used_then_oldest_released() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.4"], 128)]);
    let mut sessions = Vec::new();
    for number in 1..=3 {
        sessions.push(rig.login(Asker::new(number)).unwrap());
    }
    for (number, (id, _)) in sessions.iter().enumerate() {
        rig.pass(10);
        rig.stop(Asker::new(number as u64 + 1), *id);
    }
    rig.pass(600);
    assert_eq!(rig.login(Asker::new(2)).unwrap().1, prefix("10.0.0.2"), "own last");
    assert_eq!(rig.login(Asker::new(8)).unwrap().1, prefix("10.0.0.4"), "never used");
    assert_eq!(rig.login(Asker::new(9)).unwrap().1, prefix("10.0.0.1"), "oldest released");
    assert_eq!(rig.login(Asker::new(10)).unwrap().1, prefix("10.0.0.3"), "next oldest");
    assert!(matches!(rig.login(Asker::new(11)), Err(Denied::Exhausted { .. })));
    rig.check_conservation();
}

#[test]
fn quarantine_gives_way_oldest_first_when_nothing_else_is_left_and_that_is_counted() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.2"], 128)]);
    let first = rig.login(Asker::new(1)).unwrap();
    let second = rig.login(Asker::new(2)).unwrap();
    rig.stop(Asker::new(2), second.0);
    rig.pass(10);
    rig.stop(Asker::new(1), first.0);
    assert_eq!(rig.login(Asker::new(3)).unwrap().1, second.1);
    let pool = rig.ledger.pool(PoolId(rig.pools[0].id)).unwrap();
    assert_eq!(pool.quarantine_cuts(), 1);
    assert_eq!(pool.entry(first.1).unwrap().2, EntryState::Released(rig.now));
}

#[test]
fn a_thousand_addresses_serve_1400_services_950_online_through_days_of_churn_without_a_refusal() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0-10.0.3.231"], 128)]);
    let mut random = Random(19);
    let mut online: Vec<(u64, lastmile::ids::SessionId, Prefix)> = Vec::new();
    let mut offline: Vec<u64> = (0..1_400).collect();
    for _ in 0..30_000 {
        rig.pass(random.below(20) as u64);
        if online.len() < 950 {
            let number = offline.swap_remove(random.below(offline.len()));
            let (id, address) = rig.login(Asker::new(number)).expect("no refusal");
            rig.start(Asker::new(number), id, address);
            online.push((number, id, address));
        } else {
            let (number, id, _) = online.swap_remove(random.below(online.len()));
            rig.stop(Asker::new(number), id);
            offline.push(number);
        }
    }
    let mut used: Vec<_> = online.iter().map(|known| known.2).collect();
    used.sort();
    used.dedup();
    assert_eq!(used.len(), online.len());
    assert!(rig.now.since(T0) > 3 * 86_400_000);
    rig.check_conservation();
}

#[test]
fn a_second_line_does_not_take_the_address_of_one_that_was_accepted_and_never_heard_of() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let (_, first) = rig.login(Asker::new(1)).unwrap();
    let second_line = Asker::new(1).with_owner(line(99));
    assert_eq!(rig.login(second_line), Err(Denied::SlotsTaken { limit: 1 }));
    rig.pass(121);
    let (_, second) = rig.login(second_line).unwrap();
    assert_ne!(second, first);
    // The limit holds for the first line, too: one session at a time counts.
    assert_eq!(rig.login(Asker::new(1)), Err(Denied::SlotsTaken { limit: 1 }));
}

#[test]
fn a_line_with_a_new_device_keeps_its_slot_and_address() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let old = Asker::new(1).with_owner(Owner { mac: Mac([2, 0, 0, 0, 0, 1]), ..line(1) });
    let new = Asker::new(1).with_owner(Owner { mac: Mac([2, 0, 0, 0, 0, 2]), ..line(1) });
    let (_, address) = rig.login(old).unwrap();
    assert_eq!(rig.login(new).unwrap().1, address);
    // From now on the device alone is known by its address.
    assert_eq!(rig.login(Asker::new(1).with_owner(device(2))).unwrap().1, address);
}

#[test]
fn a_denied_admission_gives_back_what_it_had_chosen() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/30"], 128), pool(1, "", &["2001:db8::/56"], 56)]);
    let pools = rig.pools.clone();
    let wants = [
        Want { role: Role::V4, source: WantSource::Pools(&pools[..1]) },
        Want { role: Role::Delegated, source: WantSource::Pools(&pools[1..]) },
    ];
    let first = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.commit(&first);
    for number in 2..20 {
        let denied = rig.ask(Asker::new(number), &wants, None, None).unwrap_err();
        assert!(matches!(denied, Denied::Exhausted { role: Role::Delegated, .. }));
        assert_eq!(rig.ledger.holder(holder(number)), None, "nothing is kept of a holder that got nothing");
    }
    rig.check_conservation();
    assert_eq!(rig.ledger.pool(PoolId(pools[0].id)).unwrap().counts(rig.now).free, 3);
}

#[test]
fn two_routed_subnets_of_one_service_are_admitted_together_and_none_overlaps_another_holders_address() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/28"], 128)]);
    let routed = |text: &str| Want { role: Role::Routed, source: WantSource::Fixed(prefix(text)) };
    let both = [routed("10.0.0.4/30"), routed("198.51.100.0/29")];
    let admission = rig.ask(Asker::new(1), &both, None, None).unwrap();
    assert_eq!(admission.addresses.len(), 2);
    // Reserved from the choice on, not only from the commit.
    let inside = [routed("198.51.100.1/32")];
    let denied = rig.ask(Asker::new(2), &inside, None, None).unwrap_err();
    assert_eq!(denied, Denied::AddressInUse { prefix: prefix("198.51.100.1") });
    let mut given = Vec::new();
    for number in 10..22 {
        given.push(rig.login(Asker::new(number)).unwrap().1);
    }
    assert!(given.iter().all(|given| !prefix("10.0.0.4/30").contains(*given)), "{given:?}");
    assert!(matches!(rig.login(Asker::new(30)), Err(Denied::Exhausted { .. })));
    rig.commit(&admission);
    // When the subnet is left, its addresses are to be had again.
    rig.stop(Asker::new(1), admission.session);
    assert!(prefix("10.0.0.4/30").contains(rig.login(Asker::new(31)).unwrap().1));
    rig.check_conservation();
}

#[test]
fn records_of_an_admission_that_waits_for_one_of_them_stand_or_fall_together() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128), pool(1, "", &["2001:db8::/48"], 56)]);
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    let pools = rig.pools.clone();
    let wants = [
        Want { role: Role::V4, source: WantSource::Pools(&pools[..1]) },
        Want { role: Role::Delegated, source: WantSource::Pools(&pools[1..]) },
    ];
    let admission = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert!(admission.write.is_empty());
    assert_eq!(admission.wait_for.iter().filter(|record| matches!(record, Record::Grant(_))).count(), 2);
    rig.ledger.abort(&admission.wait_for);
    let pool = rig.ledger.pool(PoolId(pools[0].id)).unwrap();
    assert!(matches!(pool.entry(address).unwrap().2, EntryState::Released(_)));
    rig.check_conservation();
}

#[test]
fn a_request_that_is_decided_again_gets_the_same_session_so_that_its_stop_frees_the_address() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let asker = Asker::new(1);
    let (first, address) = rig.login(asker).unwrap();
    // While the Accept waits for its Start, and when the session is known.
    let again = rig.ask_again(asker, first, 7_000).unwrap();
    assert_eq!((again.session, again.addresses[0].prefix, again.takeover), (first, address, false));
    rig.start(asker, first, address);
    let again = rig.ask_again(asker, first, 8_000).unwrap();
    assert_eq!((again.session, again.takeover), (first, false));
    rig.stop(asker, first);
    assert_eq!(rig.live(holder(1)), []);
    // What comes later than any retransmission, or over another NAS, is another request.
    let (second, _) = rig.login(asker).unwrap();
    assert_ne!(rig.ask_again(asker, second, 60_001).unwrap().session, second);
    let (third, _) = rig.login(asker).unwrap();
    assert_ne!(rig.ask_again(asker.at_nas(2), third, 100).unwrap().session, third);
}

#[test]
fn an_old_request_that_is_decided_again_does_not_come_before_the_accept_that_followed_it() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let asker = Asker::new(1);
    let (first, address) = rig.login(asker).unwrap();
    let (second, _) = rig.login(asker).unwrap();
    assert_eq!(rig.ask_again(asker, first, 2_000).unwrap().session, first);
    rig.stop(asker, first);
    assert_eq!(rig.live(holder(1)), [address]);
    rig.stop(asker, second);
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_request_that_is_decided_again_while_its_record_waits_gets_no_second_record() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let asker = Asker::new(1);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let waiting = rig.ask(asker, &wants, None, None).unwrap();
    // However long the journal takes: whoever waits is told in the end.
    rig.pass(30);
    assert!(matches!(rig.ask_again(asker, waiting.session, 30_000), Err(Denied::InFlight)));
    rig.ledger.abort(&waiting.wait_for);
    assert_eq!(
        rig.ledger.holder(holder(1)).unwrap_or_default().slots.iter().find_map(|slot| slot.pending.clone()),
        None
    );
    let anew = rig.ask_again(asker, waiting.session, 30_000).unwrap();
    assert_eq!(anew.wait_for.len(), 1);
    rig.check_conservation();
}

#[test]
fn what_a_request_was_answered_with_stays_the_lines_own_when_it_is_decided_again_otherwise() {
    let [first, second] =
        [pool(0, "", &["10.0.0.1-10.0.0.1"], 128), pool(1, "", &["10.0.1.1-10.0.1.1"], 128)];
    let mut rig = Rig::new(vec![first, second]);
    let all = rig.pools.clone();
    let asker = Asker::new(1);
    let (session, address) = rig.login(asker).unwrap();
    // The policy changes before the NAS sends the request again, which keeps either answer.
    rig.pools = all[1..].to_vec();
    let again = rig.ask_again(asker, session, 7_000).unwrap();
    rig.commit(&again);
    assert_eq!(rig.live(holder(1)), [address, again.addresses[0].prefix]);
    rig.pools = all;
    assert!(matches!(rig.login(Asker::new(2)), Err(Denied::Exhausted { .. })));
    rig.stop(asker, session);
    assert_eq!(rig.live(holder(1)), []);
    rig.check_conservation();
}

#[test]
fn an_accept_on_a_grant_that_was_leaving_stands_although_the_records_of_both_are_lost() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    rig.session_timeout = Some(600);
    let asker = Asker::new(1);
    let (old, address) = rig.login(asker).unwrap();
    let stop = rig.report(asker, SessionEvent::Stop, Some(old), "1", &[], 60);
    let Accounted::Record { records, .. } = stop else { panic!("{stop:?}") };
    rig.session_timeout = None;
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let back = rig.ask(asker, &wants, None, None).unwrap();
    assert_eq!((back.wait_for.len(), back.write.len(), back.addresses[0].prefix), (0, 1, address));
    rig.ledger.abort(&records);
    rig.pass(10);
    rig.account(asker, SessionEvent::Interim, Some(back.session), &[], 10);
    rig.pass(86_400);
    assert_eq!((rig.sweep(), rig.live(holder(1))), (0, vec![address]));
}
