//! Crashes, checkpoints, and records that the journal lost.

use lastmile::ids::{PoolId, TenantId, Uid};
use lastmile::journal::record::{HoldRecord, Record, ReleaseReason, Role, SessionEvent};
use lastmile::ledger::pool::EntryState;
use lastmile::ledger::{Accounted, Denied, Holds, Ledger, Want, WantSource};
use lastmile::limits::CONFIRM_WINDOW_SECS;
use lastmile::time::Stamp;

use crate::journal::as_version_1;
use crate::rig::{Asker, Rig, holder, nas, pool, prefix};
use crate::truth::live_of;

fn rig() -> Rig {
    Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.2"], 128)])
}

#[test]
fn after_an_unclean_stop_no_lease_ends_before_hold_until() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    rig.pass(3_000);
    // Answered, and lost with the process.
    rig.ask_lease(Asker::new(1), Some(address)).unwrap();
    rig.restart(None);
    rig.pass(3_500);
    assert_eq!(rig.sweep(), 0, "ended by the journal, not by what was promised");
    assert_eq!(
        rig.lease(Asker::new(1).with_owner(crate::rig::device(9)), None),
        Err(Denied::SlotsTaken { limit: 1 })
    );
    rig.pass(200);
    assert_eq!(rig.sweep(), 1);
}

#[test]
fn what_a_leaping_clock_seems_to_have_ended_is_kept_until_somebody_says_that_the_clock_is_right() {
    let mut rig = rig();
    rig.session_timeout = Some(7_200);
    let leased = rig.lease(Asker::new(1), None).unwrap();
    let (_, online) = rig.login(Asker::new(2)).unwrap();
    rig.pass(400 * 86_400);
    rig.restart(None);
    let accepts = rig.now.plus_secs(86_400);
    let leases = rig.ledger.hold_until();
    rig.commit_records(&[Record::Hold(HoldRecord { at: rig.now, leases, accepts })]);
    // Another start finds the same, from the journal or from a checkpoint.
    let checkpoint = rig.ledger.checkpoint(rig.journal.last());
    for checkpoint in [None, Some(checkpoint.bytes.as_slice())] {
        rig.ledger = rig.journal.rebuilt(&rig.pools, checkpoint);
        assert_eq!(rig.ledger.holds(), Holds { leases, accepts });
        assert_eq!(rig.sweep(), 0);
    }
    rig.pass(rig.lease_secs);
    assert_eq!((rig.sweep(), rig.live(holder(1))), (1, vec![]), "{leased} had its whole lease time");
    assert_eq!(rig.live(holder(2)), [online]);
    let confirmed = HoldRecord { at: rig.now, leases: Stamp::ZERO, accepts: Stamp::ZERO };
    rig.commit_records(&[Record::Hold(confirmed)]);
    rig.ledger = rig.journal.rebuilt(&rig.pools, Some(&checkpoint.bytes));
    assert_eq!((rig.sweep(), rig.live(holder(2))), (1, vec![]));
}

#[test]
fn after_an_unclean_stop_released_addresses_wait_for_who_may_use_them_without_a_record() {
    let mut rig = rig();
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    let (second, _) = rig.login(Asker::new(2)).unwrap();
    rig.stop(Asker::new(2), second);
    rig.pass(86_400);
    // Answered, and lost with the process.
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let lost = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((lost.wait_for.len(), lost.addresses[0].prefix), (0, address));
    rig.restart(None);
    rig.ledger.settle(rig.now);
    let settling = Denied::Settling { pool: PoolId(pools[0].id) };
    assert_eq!(rig.login(Asker::new(3)), Err(settling));
    assert_eq!(rig.lease(Asker::new(4), Some(address)), Err(settling));
    rig.start(Asker::new(1), lost.session, address);
    assert_eq!(rig.live(holder(1)), [address]);
    rig.pass(CONFIRM_WINDOW_SECS);
    assert_ne!(rig.login(Asker::new(3)).unwrap().1, address);
    assert!(matches!(rig.login(Asker::new(4)), Err(Denied::Exhausted { .. })));
}

#[test]
fn after_an_unclean_stop_newcomers_do_not_wait_where_nobody_can_have_come_back_without_a_record() {
    let mut rig = rig();
    let space = rig.space.clone();
    for number in [1, 2] {
        let leased = rig.lease(Asker::new(number), None).unwrap();
        let released =
            rig.ledger.release(holder(number), &space, leased, ReleaseReason::Released, rig.now).unwrap();
        rig.commit_records(&[released]);
    }
    rig.restart(None);
    rig.ledger.settle(rig.now);
    rig.login(Asker::new(3)).unwrap();
    // Who had its address by a lease and now logs in gets it by a record that it waits for.
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let back = rig.ask(Asker::new(2), &wants, None, None).unwrap();
    assert_eq!((back.wait_for.len(), back.write.len()), (1, 0));
}

#[test]
fn a_crash_does_not_forget_until_when_an_accept_on_a_live_grant_allows_its_use() {
    let mut rig = rig();
    rig.session_timeout = Some(40_000);
    let (_, address) = rig.login(Asker::new(1)).unwrap();
    rig.pass(39_000);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let again = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((again.wait_for.len(), again.write.len()), (0, 1), "{again:?}");
    rig.commit(&again);
    // The journal knows of a little more than was said, so redials do not write each time.
    rig.pass(9_000);
    assert!(rig.ask(Asker::new(1), &wants, None, None).unwrap().write.is_empty());
    rig.restart(None);
    rig.pass(40_000);
    assert_eq!((rig.sweep(), rig.live(holder(1))), (0, vec![address]));
    rig.pass(2_000);
    assert_eq!((rig.sweep(), rig.live(holder(1))), (1, vec![]));
}

#[test]
fn a_later_end_that_is_overtaken_by_the_stop_does_not_bring_the_grant_back() {
    let mut rig = rig();
    rig.session_timeout = Some(40_000);
    let (_, _) = rig.login(Asker::new(1)).unwrap();
    rig.pass(1_000);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let again = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.stop(Asker::new(1), again.session);
    rig.commit(&again);
    assert_eq!(rig.live(holder(1)), []);
    rig.check_conservation();
}

#[test]
fn a_grant_whose_record_vanished_stays_the_holders_and_is_written_again_after_five_seconds() {
    let mut rig = rig();
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    rig.pass(900);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let lost = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((lost.wait_for.len(), lost.write.len()), (0, 1));
    // Others do not get it however long that takes.
    rig.pass(86_400);
    rig.sweep();
    rig.login(Asker::new(2)).unwrap();
    assert!(matches!(rig.login(Asker::new(3)), Err(Denied::Exhausted { .. })));
    let again = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!(again.addresses[0].prefix, address);
    assert_eq!(again.write.len(), 1);
    // Giving the second record up does not take back what the first answer promised.
    rig.ledger.abort(&again.write);
    assert!(matches!(rig.login(Asker::new(3)), Err(Denied::Exhausted { .. })));
    rig.check_conservation();
}

#[test]
fn accounting_makes_a_grant_durable_whose_record_vanished() {
    let mut rig = rig();
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let lost = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.pass(6);
    rig.start(Asker::new(1), lost.session, address);
    rig.restart(None);
    assert_eq!(rig.live(holder(1)), [address]);
}

#[test]
fn a_stop_frees_an_address_whose_grant_never_became_durable() {
    let mut rig = rig();
    let (first, _) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let lost = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.pass(6);
    rig.account(Asker::new(1), SessionEvent::Stop, Some(lost.session), &[], 6);
    let counts = rig.ledger.pool(PoolId(pools[0].id)).unwrap().counts(rig.now);
    assert_eq!((counts.reserved, counts.granted), (0, 0));
}

#[test]
fn what_the_journal_refused_to_write_is_held_all_the_same() {
    let mut rig = rig();
    rig.session_timeout = Some(600);
    let (first, _) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    rig.pass(900);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let refused = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.ledger.hold(&refused.write, rig.now.plus_secs(86_400));
    rig.pass(80_000);
    rig.sweep();
    rig.login(Asker::new(2)).unwrap();
    assert!(matches!(rig.login(Asker::new(3)), Err(Denied::Exhausted { .. })));
    rig.pass(6_400 + 61);
    rig.sweep();
    rig.login(Asker::new(3)).unwrap();
}

#[test]
fn a_checkpoint_keeps_declined_addresses_restarts_and_the_hold() {
    let mut rig = rig();
    let declined = rig.lease(Asker::new(1), None).unwrap();
    let space = rig.space.clone();
    let record = rig.ledger.release(holder(1), &space, declined, ReleaseReason::Declined, rig.now).unwrap();
    rig.commit_records(&[record]);
    let (id, address) = rig.login(Asker::new(2)).unwrap();
    rig.start(Asker::new(2), id, address);
    rig.pass(1);
    rig.commit_records(&[Ledger::nas_event(nas(1), TenantId::DEFAULT, true, rig.now)]);
    let checkpoint = rig.ledger.checkpoint(rig.journal.last());
    rig.restart(Some(&checkpoint.bytes));
    let pool = rig.ledger.pool(PoolId(rig.pools[0].id)).unwrap();
    assert!(matches!(pool.entry(declined).unwrap().2, EntryState::Declined(_)));
    rig.pass(3_700);
    rig.sweep();
    assert_eq!(rig.live(holder(2)), [], "the restart of the NAS was not forgotten");
}

#[test]
fn a_checkpoint_knows_how_late_it_was_and_one_of_the_version_before_is_read() {
    let mut rig = rig();
    rig.login(Asker::new(1)).unwrap();
    rig.pass(5_000);
    rig.commit_records(&[Ledger::nas_event(nas(1), TenantId::DEFAULT, true, rig.now)]);
    let bytes = rig.ledger.checkpoint(rig.journal.last()).bytes;
    let loaded = Ledger::new();
    loaded.load_checkpoint(&bytes).unwrap();
    assert_eq!(loaded.newest(), rig.now);
    let older = Ledger::new();
    older.load_checkpoint(&as_version_1(&bytes, rig.now)).unwrap();
    assert_eq!(older.newest(), Stamp::ZERO);
    assert_eq!(live_of(&older), live_of(&loaded));
}

#[test]
fn every_byte_that_is_cut_off_or_changed_in_a_checkpoint_is_noticed() {
    let mut rig = rig();
    rig.login(Asker::new(1)).unwrap();
    let bytes = rig.ledger.checkpoint(rig.journal.last()).bytes;
    for cut in [0, 7, 9, 12, bytes.len() / 2, bytes.len() - 1] {
        assert!(Ledger::new().load_checkpoint(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in (10..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        assert!(Ledger::new().load_checkpoint(&changed).is_err(), "changed at {at}");
    }
}

#[test]
fn sessions_and_addresses_are_the_same_after_a_restart_and_go_on() {
    let mut rig = rig();
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    rig.restart(None);
    assert!(matches!(rig.start(Asker::new(1), id, address), Accounted::Duplicate));
    let interim = rig.account(Asker::new(1), SessionEvent::Interim, Some(id), &[address], 900);
    assert!(matches!(interim, Accounted::Record { known: lastmile::ledger::Known::ByClass, .. }));
    assert_eq!(rig.login(Asker::new(1)).unwrap().1, address);
    assert_eq!(rig.login(Asker::new(2)).unwrap().1, prefix("10.0.0.2"));
}

#[test]
fn a_crash_does_not_forget_an_accept_that_stands_on_a_lease() {
    let mut rig = rig();
    let address = rig.lease(Asker::new(1), None).unwrap();
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let accept = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((accept.wait_for.len(), accept.write.len()), (0, 1));
    rig.commit(&accept);
    assert!(rig.ask(Asker::new(1), &wants, None, None).unwrap().write.is_empty(), "the journal knows");
    rig.restart(None);
    rig.pass(3 * rig.lease_secs);
    assert_eq!((rig.sweep(), rig.live(holder(1))), (0, vec![address]));
    rig.account(Asker::new(1), SessionEvent::Stop, Some(accept.session), &[address], 60);
    assert_eq!((rig.sweep(), rig.live(holder(1))), (0, vec![]));
}

#[test]
fn an_accept_that_a_crash_forgot_loses_its_address_when_its_start_comes_after_the_settling_and_the_start_says_so()
 {
    let mut rig = rig();
    let (first, address) = rig.login(Asker::new(1)).unwrap();
    rig.stop(Asker::new(1), first);
    let (_, other) = rig.login(Asker::new(2)).unwrap();
    rig.pass(86_400);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let lost = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((lost.wait_for.len(), lost.addresses[0].prefix), (0, address));
    rig.restart(None);
    rig.ledger.settle(rig.now);
    rig.pass(CONFIRM_WINDOW_SECS);
    // The limit of what recovery promises: the pool has nothing else left.
    assert_eq!(rig.login(Asker::new(3)).unwrap().1, address);
    let started = rig.start(Asker::new(1), lost.session, address);
    assert!(matches!(started, Accounted::Record { conflict: Some(found), .. } if found == address));
    assert_eq!([1, 2, 3].map(|number| rig.live(holder(number))), [vec![], vec![other], vec![address]]);
}

#[test]
fn what_an_answer_allowed_is_nobody_elses_before_the_journal_has_written_or_passed_over_its_record() {
    for is_written in [true, false] {
        let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128)]);
        rig.session_timeout = Some(600);
        let (first, address) = rig.login(Asker::new(1)).unwrap();
        rig.stop(Asker::new(1), first);
        let pools = rig.pools.clone();
        let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
        let stalled = rig.ask(Asker::new(1), &wants, None, None).unwrap();
        assert_eq!((stalled.wait_for.len(), stalled.write.len()), (0, 1));
        rig.pass(7_200);
        rig.sweep();
        assert!(matches!(rig.login(Asker::new(2)), Err(Denied::Exhausted { .. })));
        if is_written {
            rig.commit(&stalled);
        }
        let restart = Ledger::nas_event(nas(9), TenantId::DEFAULT, true, rig.now);
        rig.commit_records(&[restart]);
        rig.sweep();
        assert_eq!(rig.login(Asker::new(2)).unwrap().1, address);
        rig.check_conservation();
    }
}

#[test]
fn a_crash_does_not_forget_through_which_nas_the_last_accept_was_given() {
    let mut rig = rig();
    let fixed = prefix("192.0.2.1");
    rig.fixed.push((rig.space.key(), fixed, Uid(holder(1).0)));
    let pools = rig.pools.clone();
    let wants = [
        Want { role: Role::V4, source: WantSource::Pools(&pools) },
        Want { role: Role::Routed, source: WantSource::Fixed(fixed) },
    ];
    let first = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.commit(&first);
    rig.pass(60);
    let moved = rig.ask(Asker::new(1).at_nas(2), &wants, None, None).unwrap();
    assert_eq!((moved.wait_for.len(), moved.write.len()), (0, 1));
    rig.commit(&moved);
    assert!(rig.ask(Asker::new(1).at_nas(2), &wants, None, None).unwrap().write.is_empty());
    rig.restart(None);
    for (restarted, kept) in [(1, vec![first.addresses[0].prefix, fixed]), (2, vec![])] {
        let restart = Ledger::nas_event(nas(restarted), TenantId::DEFAULT, true, rig.now);
        rig.commit_records(&[restart]);
        rig.pass(rig.lease_secs);
        rig.sweep();
        assert_eq!(rig.live(holder(1)), kept);
    }
}

#[test]
fn a_crash_that_forgets_until_when_an_address_by_name_is_allowed_does_not_end_the_session_that_has_it() {
    let mut rig = rig();
    let fixed = prefix("192.0.2.1");
    rig.fixed.push((rig.space.key(), fixed, Uid(holder(1).0)));
    let pools = rig.pools.clone();
    let wants = [
        Want { role: Role::V4, source: WantSource::Pools(&pools) },
        Want { role: Role::Routed, source: WantSource::Fixed(fixed) },
    ];
    rig.session_timeout = Some(600);
    let first = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.commit(&first);
    let address = first.addresses[0].prefix;
    rig.session_timeout = None;
    let again = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    rig.commit(&again);
    rig.start(Asker::new(1), again.session, address);
    rig.restart(None);
    rig.pass(3 * rig.lease_secs);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), [address, fixed]);
    assert_eq!(rig.ledger.holder_of_session(again.session), Some(holder(1)));
}

#[test]
fn a_stop_sent_again_after_a_crash_does_not_end_what_the_line_was_answered_with_since() {
    for redials in [false, true] {
        let mut rig = rig();
        rig.minted = true;
        let (old, address) = rig.login(Asker::new(1)).unwrap();
        rig.pass(60);
        if redials {
            // The records of its Stop are lost; the line is back before it is sent again.
            let stop = rig.report(Asker::new(1), SessionEvent::Stop, Some(old), "1", &[address], 60);
            let Accounted::Record { records, .. } = stop else { panic!("{stop:?}") };
            rig.ledger.abort(&records);
            rig.pass(5);
            assert_eq!(rig.login(Asker::new(1)).unwrap().1, address);
        }
        rig.restart(None);
        rig.account(Asker::new(1), SessionEvent::Stop, Some(old), &[address], 60);
        assert_eq!(rig.live(holder(1)), if redials { vec![address] } else { vec![] });
    }
}
