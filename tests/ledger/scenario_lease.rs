//! DHCP: offers, leases, and a lease and a session on one grant.

use lastmile::ids::PoolId;
use lastmile::journal::record::{Holder, Record, ReleaseReason, Role, SessionEvent};
use lastmile::ledger::pool::EntryState;
use lastmile::ledger::{Accounted, Denied, Want, WantSource};

use crate::rig::{Asker, Rig, device, holder, line, pool, prefix};

fn rig() -> Rig {
    Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.20"], 128)])
}

#[test]
fn a_service_gets_the_same_address_by_pppoe_and_by_dhcp() {
    let mut rig = rig();
    let (_, by_login) = rig.login(Asker::new(1)).unwrap();
    assert_eq!(rig.offer(Asker::new(1)).unwrap().prefix, by_login);
    assert_eq!(rig.lease(Asker::new(1), None), Ok(by_login));
    let other = rig.lease(Asker::new(2), None).unwrap();
    assert_eq!(rig.login(Asker::new(2)).unwrap().1, other);
}

#[test]
fn a_stop_does_not_end_a_grant_on_which_a_lease_stands() {
    let mut rig = rig();
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    rig.lease(Asker::new(1), None).unwrap();
    rig.stop(Asker::new(1), id);
    assert_eq!(rig.live(holder(1)), [address]);
    // From then on only the lease counts.
    rig.pass(3_601);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_release_does_not_end_a_grant_on_which_a_session_or_an_accept_stands() {
    let mut rig = rig();
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.lease(Asker::new(1), None).unwrap();
    let space = rig.space.clone();
    let release =
        |rig: &Rig| rig.ledger.release(holder(1), &space, address, ReleaseReason::Released, rig.now);
    assert_eq!(release(&rig), None, "accepted, not heard of yet");
    rig.start(Asker::new(1), id, address);
    assert_eq!(release(&rig), None, "in session");
    rig.pass(7_200);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), [address], "the lease ran out, the session did not");
    rig.stop(Asker::new(1), id);
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_login_without_time_limit_does_not_make_a_lease_endless() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    let (id, _) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    rig.stop(Asker::new(1), id);
    rig.pass(3_601);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_lease_on_its_way_keeps_a_stop_from_ending_the_grant() {
    let mut rig = rig();
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    let request = rig.ask_lease(Asker::new(1), None).unwrap();
    assert!(!request.wait_for.is_empty(), "the first lease of a grant is waited for");
    assert!(matches!(rig.stop(Asker::new(1), id), Accounted::InFlight));
    rig.commit(&request);
    rig.stop(Asker::new(1), id);
    assert_eq!(rig.live(holder(1)), [address]);
}

#[test]
fn a_renewal_that_was_answered_counts_although_its_record_never_became_durable() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    rig.pass(1_800);
    let renewal = rig.ask_lease(Asker::new(1), Some(address)).unwrap();
    assert!(renewal.wait_for.is_empty());
    rig.pass(1_801);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), [address]);
    rig.pass(1_800);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_renewal_while_the_expiry_is_on_its_way_gets_a_record_of_its_own() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    rig.pass(3_600);
    let expiry: Vec<Record> = (0..rig.ledger.shard_count())
        .flat_map(|shard| rig.ledger.sweep(shard, rig.now, usize::MAX))
        .collect();
    assert_eq!(expiry.len(), 1);
    let renewal = rig.ask_lease(Asker::new(1), Some(address)).unwrap();
    assert!(!renewal.wait_for.is_empty());
    rig.commit_records(&expiry);
    rig.commit(&renewal);
    assert_eq!(rig.live(holder(1)), [address]);
    rig.check_conservation();
}

#[test]
fn a_new_device_gets_the_slot_of_one_that_left_by_offer_and_request() {
    let mut rig = rig();
    let old = Asker::new(1).with_owner(device(1));
    let new = Asker::new(1).with_owner(device(2));
    let address = rig.lease(old, None).unwrap();
    assert_eq!(rig.offer(new), Err(Denied::SlotsTaken { limit: 1 }));
    rig.pass(3_601);
    rig.sweep();
    assert_eq!(rig.offer(new).unwrap().prefix, address);
    assert_eq!(rig.lease(new, Some(address)), Ok(address));
}

#[test]
fn an_offer_nobody_takes_is_free_again_when_it_ends_or_is_withdrawn() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128)]);
    let offered = rig.offer(Asker::new(1)).unwrap();
    assert!(matches!(rig.offer(Asker::new(2)), Err(Denied::Exhausted { .. })));
    rig.ledger.withdraw_offer(holder(1), offered.prefix);
    assert_eq!(rig.offer(Asker::new(2)), Ok(offered));
    rig.pass(31);
    rig.sweep();
    assert_eq!(rig.offer(Asker::new(3)), Ok(offered));
    rig.check_conservation();
}

#[test]
fn a_declined_address_stays_out_for_an_hour_and_is_not_given_to_its_holder_again() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.2"], 128)]);
    let address = rig.lease(Asker::new(1), None).unwrap();
    let space = rig.space.clone();
    let record = rig.ledger.release(holder(1), &space, address, ReleaseReason::Declined, rig.now);
    rig.commit_records(&[record.unwrap()]);
    let other = rig.lease(Asker::new(1), None).unwrap();
    assert_ne!(other, address);
    rig.pass(3_599);
    assert!(matches!(rig.lease(Asker::new(2), None), Err(Denied::Exhausted { .. })));
    assert_eq!(rig.ledger.pool(PoolId(rig.pools[0].id)).unwrap().counts(rig.now).declined, 1);
    rig.pass(1);
    assert_eq!(rig.lease(Asker::new(2), None), Ok(address));
    rig.check_conservation();
}

#[test]
fn a_client_that_declined_is_not_offered_the_address_again_while_the_record_is_on_its_way() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    let space = rig.space.clone();
    let decline = rig.ledger.release(holder(1), &space, address, ReleaseReason::Declined, rig.now).unwrap();
    assert_ne!(rig.offer(Asker::new(1)).unwrap().prefix, address);
    let request = rig.ask_lease(Asker::new(1), None).unwrap();
    assert_ne!(request.addresses[0].prefix, address);
    rig.commit_records(&[decline]);
    rig.commit(&request);
    assert_eq!(rig.live(holder(1)), [request.addresses[0].prefix]);
    rig.check_conservation();
}

#[test]
fn a_session_heard_of_at_an_address_being_declined_keeps_it() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    let space = rig.space.clone();
    let decline = rig.ledger.release(holder(1), &space, address, ReleaseReason::Declined, rig.now).unwrap();
    let start = rig.report(Asker::new(1), SessionEvent::Start, None, "1", &[address], 0);
    let Accounted::Record { records, .. } = start else { panic!("{start:?}") };
    rig.commit_records(&[decline]);
    rig.pass(7_200);
    for number in 2..21 {
        assert_ne!(rig.lease(Asker::new(number), None), Ok(address));
    }
    rig.commit_records(&records);
    assert_eq!(rig.live(holder(1)), [address]);
    rig.check_conservation();
}

#[test]
fn discovers_from_ever_new_macs_leave_nothing_behind() {
    let mut rig = rig();
    for number in 0..5_000 {
        let flood = Asker { holder: Holder::client(holder(number).0), owner: line(number), nas: 1 };
        let _ = rig.offer(flood);
        if number % 1_000 == 999 {
            rig.pass(31);
            rig.sweep();
        }
    }
    let mut holders = 0;
    rig.ledger.for_each(|_, _| holders += 1);
    assert_eq!(holders, 0);
    assert_eq!(rig.ledger.pool(PoolId(rig.pools[0].id)).unwrap().counts(rig.now).free, 20);
}

#[test]
fn clients_whose_address_others_had_since_are_forgotten() {
    let mut rig = rig();
    for number in 0..2_000 {
        let client = Asker { holder: Holder::client(holder(number).0), owner: line(number), nas: 1 };
        rig.lease(client, None).unwrap();
        rig.pass(3_700);
        rig.sweep();
    }
    rig.sweep();
    let mut holders = 0;
    rig.ledger.for_each(|_, _| holders += 1);
    assert!(holders <= 20, "{holders}");
    rig.check_conservation();
}

#[test]
fn a_requested_address_is_given_when_it_is_free_and_never_when_it_is_not() {
    let mut rig = rig();
    assert_eq!(rig.lease(Asker::new(1), Some(prefix("10.0.0.9"))), Ok(prefix("10.0.0.9")));
    assert_ne!(rig.lease(Asker::new(2), Some(prefix("10.0.0.9"))), Ok(prefix("10.0.0.9")));
    let pool = rig.ledger.pool(PoolId(rig.pools[0].id)).unwrap();
    assert_eq!(pool.entry(prefix("10.0.0.9")), Some((holder(1), 0, EntryState::Granted)));
}

#[test]
fn a_lease_that_ran_out_does_not_end_a_grant_whose_session_is_heard_of() {
    let mut rig = rig();
    rig.session_timeout = Some(600);
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    rig.lease(Asker::new(1), None).unwrap();
    rig.pass(7_200);
    rig.account(Asker::new(1), SessionEvent::Interim, Some(id), &[address], 7_200);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), [address]);
    rig.pass(3_600);
    rig.sweep();
    rig.sweep();
    assert_eq!(rig.live(holder(1)), [], "silent for an hour after the end of what was allowed");
}

#[test]
fn a_login_behind_a_release_keeps_the_address_although_a_renewal_commits_in_between() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    let space = rig.space.clone();
    rig.pass(900);
    let renewal = rig.ask_lease(Asker::new(1), Some(address)).unwrap();
    let release = rig.ledger.release(holder(1), &space, address, ReleaseReason::Released, rig.now).unwrap();
    rig.commit(&renewal);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let login = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.commit_records(&[release]);
    rig.commit(&login);
    assert_eq!(rig.live(holder(1)), [address]);
    rig.check_conservation();
}

#[test]
fn a_renewal_of_the_same_moment_is_not_taken_for_the_record_of_a_lease_on_its_way() {
    for durable in [true, false] {
        let mut rig = rig();
        rig.session_timeout = Some(600);
        let asker = Asker::new(1);
        let (_, address) = rig.login(asker).unwrap();
        rig.session_timeout = None;
        let pools = rig.pools.clone();
        let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
        let later = rig.ask(asker, &wants, None, None).unwrap();
        assert!(matches!(&later.write[..], [Record::Grant(grant)] if grant.renewal));
        let lease = rig.ask_lease(asker, None).unwrap();
        if durable {
            rig.commit(&later);
        } else {
            rig.ledger.abort(&later.write);
        }
        assert!(matches!(rig.stop(asker, later.session), Accounted::InFlight));
        rig.commit(&lease);
        rig.stop(asker, later.session);
        assert_eq!(rig.live(holder(1)), [address]);
    }
}
