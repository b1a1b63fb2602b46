//! Accounting: what proves that a subscriber left, and what does not.

use lastmile::ids::TenantId;
use lastmile::journal::record::SessionEvent;
use lastmile::ledger::{Accounted, Ledger};

use crate::rig::{Asker, Rig, holder, line, nas, pool, prefix};

fn rig() -> Rig {
    Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)])
}

fn restart(rig: &mut Rig, number: u64) {
    let record = Ledger::nas_event(nas(number), TenantId::DEFAULT, true, rig.now);
    rig.commit_records(&[record]);
}

#[test]
fn ten_thousand_accepts_with_accounting_blocked_for_two_hours_share_no_address() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/18"], 128)]);
    rig.session_timeout = Some(86_400);
    let mut given = std::collections::BTreeMap::new();
    for number in 0..10_000 {
        let (_, address) = rig.login(Asker::new(number)).unwrap();
        assert_eq!(given.insert(address, number), None);
        if number % 500 == 0 {
            rig.pass(360);
            assert_eq!(rig.sweep(), 0);
        }
    }
    assert!(rig.now.since(crate::rig::T0) >= 7_200_000);
    for number in 0..6_000 {
        let address = rig.login(Asker::new(20_000 + number)).unwrap().1;
        assert_eq!(given.insert(address, number), None);
    }
    // At the end of what was allowed, and not before, the addresses come back.
    rig.pass(86_400 + 61);
    assert_eq!(rig.sweep(), 16_000);
    rig.check_conservation();
}

#[test]
fn an_accept_that_nothing_is_heard_of_keeps_its_address_after_the_confirmation_window() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128)]);
    let (_, address) = rig.login(Asker::new(1)).unwrap();
    rig.pass(86_400);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), [address]);
    assert!(rig.login(Asker::new(2)).is_err());
}

#[test]
fn a_nas_restart_ends_its_sessions_after_a_minute_of_doubt_and_no_others() {
    let mut rig = rig();
    let mut logins = Vec::new();
    for number in 0..4 {
        let asker = Asker::new(number).at_nas(1 + number % 2);
        let (id, address) = rig.login(asker).unwrap();
        rig.start(asker, id, address);
        logins.push((asker, id, address));
    }
    // Accepted and never heard of, by the same NAS.
    rig.login(Asker::new(9).at_nas(1)).unwrap();
    rig.pass(10);
    restart(&mut rig, 1);
    rig.pass(59);
    assert_eq!(rig.sweep(), 0, "in doubt");
    // An interim of an old session shows that it lives.
    let (asker, id, address) = logins[2];
    rig.account(asker, SessionEvent::Interim, Some(id), &[address], 69);
    rig.pass(1);
    rig.sweep();
    assert_eq!(rig.live(holder(0)), []);
    assert_eq!(rig.live(holder(1)), [logins[1].2]);
    assert_eq!(rig.live(holder(2)), [logins[2].2]);
    assert_eq!(rig.live(holder(9)), []);
}

#[test]
fn a_line_that_logs_in_while_its_nas_is_in_doubt_takes_its_own_address_at_once() {
    let mut rig = rig();
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    rig.pass(10);
    restart(&mut rig, 1);
    rig.pass(5);
    let (next, again) = rig.login(Asker::new(1)).unwrap();
    assert_eq!(again, address);
    rig.pass(60);
    rig.sweep();
    assert_eq!(rig.live(holder(1)), [address]);
    rig.start(Asker::new(1), next, address);
    assert_eq!(rig.live(holder(1)), [address]);
}

#[test]
fn the_late_stop_of_an_old_session_frees_nothing_and_is_recorded_all_the_same() {
    let mut rig = rig();
    let (old, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), old, address);
    rig.pass(30);
    let (new, _) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), new, address);
    let late = rig.stop(Asker::new(1), old);
    assert!(matches!(late, Accounted::Record { .. }), "its counters are wanted: {late:?}");
    assert_eq!(rig.live(holder(1)), [address]);
    assert!(matches!(rig.stop(Asker::new(1), old), Accounted::Duplicate));
    rig.stop(Asker::new(1), new);
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn what_comes_after_a_stop_does_not_bring_the_session_back() {
    let mut rig = rig();
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    rig.pass(60);
    rig.stop(Asker::new(1), id);
    for event in [SessionEvent::Start, SessionEvent::Interim, SessionEvent::Stop] {
        let late = rig.account(Asker::new(1), event, Some(id), &[address], 59);
        assert!(matches!(late, Accounted::Duplicate), "{event:?}: {late:?}");
    }
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn an_acct_session_id_used_again_is_another_session() {
    let mut rig = rig();
    let (_, address) = rig.login(Asker::new(1)).unwrap();
    let event = |rig: &mut Rig, number: u64, event, time| {
        let accounted = rig.report(Asker::new(number), event, None, "00000001", &[address], time);
        if let Accounted::Record { records, .. } = &accounted {
            rig.commit_records(records);
        }
        accounted
    };
    event(&mut rig, 1, SessionEvent::Start, 0);
    assert!(matches!(event(&mut rig, 1, SessionEvent::Start, 0), Accounted::Duplicate));
    rig.pass(600);
    event(&mut rig, 1, SessionEvent::Stop, 600);
    assert!(matches!(event(&mut rig, 1, SessionEvent::Stop, 600), Accounted::Duplicate));
    rig.pass(10);
    assert!(matches!(event(&mut rig, 1, SessionEvent::Start, 0), Accounted::Record { .. }));
    assert_eq!(rig.live(holder(1)), [address], "the new session claims its address again");
    rig.pass(10);
    assert!(matches!(event(&mut rig, 1, SessionEvent::Stop, 10), Accounted::Record { .. }));
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_late_start_for_an_address_that_another_holder_has_is_reported_and_takes_nothing() {
    let mut rig = rig();
    let (_, address) = rig.login(Asker::new(1)).unwrap();
    let accounted = rig.account(Asker::new(2), SessionEvent::Start, None, &[address], 0);
    let Accounted::Record { conflict, .. } = accounted else { panic!("{accounted:?}") };
    assert_eq!(conflict, Some(address));
    assert_eq!((rig.live(holder(1)), rig.live(holder(2))), (vec![address], vec![]));
    rig.check_conservation();
}

#[test]
fn an_unknown_session_claims_the_address_it_reports() {
    let mut rig = rig();
    let address = prefix("10.0.0.77");
    rig.account(Asker::new(1), SessionEvent::Interim, None, &[address], 900);
    assert_eq!(rig.live(holder(1)), [address]);
    assert_eq!(rig.login(Asker::new(1)).unwrap().1, address);
}

#[test]
fn a_second_line_in_the_same_slot_cannot_close_the_newer_session_with_an_older_one() {
    let mut rig = rig();
    rig.max_slots = 1;
    let (old, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), old, address);
    rig.pass(100);
    let (new, _) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), new, address);
    rig.pass(10);
    rig.account(Asker::new(1), SessionEvent::Interim, Some(old), &[address], 110);
    assert_eq!(rig.ledger.holder(holder(1)).unwrap().slots[0].session.as_ref().unwrap().id, new);
}

#[test]
fn a_closing_that_never_became_durable_does_not_silence_the_session_for_good() {
    let mut rig = rig();
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.start(Asker::new(1), id, address);
    rig.pass(1);
    restart(&mut rig, 1);
    rig.pass(61);
    for shard in 0..rig.ledger.shard_count() {
        // Decided, and lost by the journal.
        rig.ledger.sweep(shard, rig.now, usize::MAX);
    }
    assert!(matches!(rig.stop(Asker::new(1), id), Accounted::InFlight));
    rig.pass(6);
    assert!(matches!(rig.stop(Asker::new(1), id), Accounted::Record { .. }));
    assert_eq!(rig.live(holder(1)), []);
}

#[test]
fn a_stop_from_an_unrelated_line_of_the_service_ends_nothing() {
    let mut rig = rig();
    let (_, address) = rig.login(Asker::new(1)).unwrap();
    rig.account(Asker::new(1).with_owner(line(77)), SessionEvent::Stop, None, &[], 5);
    assert_eq!(rig.live(holder(1)), [address]);
}

#[test]
fn a_session_that_moved_to_another_nas_is_filed_there_only() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.0/24"], 128)]);
    let asker = Asker::new(1);
    let (session, address) = rig.login(asker).unwrap();
    rig.start(asker, session, address);
    let id = format!("{session}");
    let filed = |rig: &Rig, number: u64| rig.ledger.session_of_nas(nas(number), id.as_bytes());
    assert_eq!((filed(&rig, 1), filed(&rig, 2)), (Some(session), None));
    rig.account(asker.at_nas(2), SessionEvent::Interim, Some(session), &[address], 900);
    assert_eq!((filed(&rig, 1), filed(&rig, 2)), (None, Some(session)));
    rig.account(asker, SessionEvent::Stop, Some(session), &[], 901);
    assert_eq!((filed(&rig, 1), filed(&rig, 2)), (Some(session), None));
    assert_eq!(rig.live(asker.holder), []);
}
