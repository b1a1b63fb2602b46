//! Two nodes answer for the same subscribers (FIELD R5).

use lastmile::ids::TenantId;
use lastmile::journal::record::{LeaseFacts, Record, ReleaseReason, Role, SessionEvent};
use lastmile::ledger::{Ledger, Lesson, Want, WantSource};

use crate::nodes::{Nodes, OF_FIRST, OF_SECOND};
use crate::rig::{Asker, device, holder, line, nas, prefix};

const A: Asker = Asker { holder: lastmile::journal::record::Holder(7 << 76 | 1), owner: LINE, nas: 1 };
const LINE: lastmile::journal::record::Owner =
    lastmile::journal::record::Owner { line: 77, mac: lastmile::model::Mac([0; 6]) };

#[test]
fn an_address_that_one_node_gave_is_answered_by_the_other_which_says_so_in_a_record_nobody_waits_for() {
    let mut nodes = Nodes::new();
    let (_, address) = nodes.rigs[0].login(A).unwrap();
    assert!(prefix(OF_FIRST).contains(address));
    nodes.settle();
    assert_eq!(nodes.is_foreign(1, address), Some(true));
    let pools = nodes.rigs[1].pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    nodes.pass(5);
    let admission = nodes.rigs[1].ask(A, &wants, None, None).unwrap();
    assert_eq!(admission.addresses[0].prefix, address);
    assert!(admission.wait_for.is_empty());
    assert!(matches!(&admission.write[..], [Record::Grant(grant)] if grant.renewal), "{admission:?}");
    nodes.rigs[1].commit(&admission);
    assert_eq!(nodes.is_foreign(1, address), Some(false));
    nodes.settle();
    assert_eq!(nodes.is_foreign(0, address), Some(true));
    // Its own now, it writes no more.
    let again = nodes.rigs[1].ask(A, &wants, None, None).unwrap();
    assert!(again.write.is_empty() && again.wait_for.is_empty());
    nodes.check();
}

#[test]
fn a_stop_at_either_node_gives_the_address_back_to_the_owner_of_its_block_and_to_nobody_else() {
    for (login, stop) in [(0, 1), (1, 1), (1, 0), (0, 0)] {
        let mut nodes = Nodes::new();
        let (_, address) = nodes.rigs[0].login(A).unwrap();
        nodes.settle();
        nodes.pass(5);
        let (session, again) = nodes.rigs[login].login(A).unwrap();
        assert_eq!(again, address);
        nodes.rigs[0].start(A, session, address);
        nodes.settle();
        nodes.pass(60);
        nodes.rigs[stop].account(A, SessionEvent::Stop, Some(session), &[address], 60);
        nodes.settle();
        for rig in &nodes.rigs {
            assert_eq!(rig.live(A.holder), [], "login at {login}, stop at {stop}");
            assert!(rig.ledger.holder(A.holder).unwrap().slots.iter().all(|slot| slot.session.is_none()));
        }
        // What was left is not had back from the node that does not own its block.
        let (_, elsewhere) = nodes.rigs[1].login(A).unwrap();
        assert!(prefix(OF_SECOND).contains(elsewhere));
        nodes.check();
    }
}

#[test]
fn a_stop_of_an_earlier_session_does_not_end_what_another_node_accepted_since() {
    let mut nodes = Nodes::new();
    let (old, address) = nodes.rigs[0].login(A).unwrap();
    nodes.settle();
    nodes.pass(100);
    nodes.rigs[1].start(A, old, address);
    // The line redials; the Accept reuses the address and needs no record, so the other node does not hear of it.
    nodes.rigs[0].login(A).unwrap();
    nodes.pass(1);
    nodes.rigs[1].account(A, SessionEvent::Stop, Some(old), &[address], 100);
    nodes.settle();
    assert_eq!(nodes.rigs[0].live(A.holder), [address]);
    assert_eq!(nodes.rigs[1].live(A.holder), [address], "told that it stands");
    assert_eq!(nodes.conflicts, 0);
}

#[test]
fn a_restart_of_a_nas_that_one_node_heard_of_spares_who_came_back_at_the_other() {
    let mut nodes = Nodes::new();
    let (_, gone) = nodes.rigs[0].login(A).unwrap();
    let back = Asker::new(2);
    let (_, stays) = nodes.rigs[0].login(back).unwrap();
    nodes.settle();
    nodes.pass(600);
    let now = nodes.now();
    nodes.rigs[1].commit_records(&[Ledger::nas_event(nas(1), TenantId::DEFAULT, true, now)]);
    nodes.pass(10);
    nodes.rigs[0].login(back).unwrap();
    nodes.pass(60);
    assert_eq!(nodes.rigs[1].sweep(), 2);
    nodes.settle();
    for rig in &nodes.rigs {
        assert_eq!((rig.live(A.holder), rig.live(back.holder)), (vec![], vec![stays]), "{gone} was left");
    }
}

#[test]
fn a_lease_is_renewed_at_either_node_and_ends_at_both() {
    let mut nodes = Nodes::new();
    let address = nodes.rigs[0].lease(A, None).unwrap();
    nodes.settle();
    nodes.pass(1_800);
    assert_eq!(nodes.rigs[1].offer(A).unwrap().prefix, address);
    assert_eq!(nodes.rigs[1].lease(A, Some(address)).unwrap(), address);
    nodes.settle();
    nodes.pass(3_000);
    assert_eq!(nodes.rigs[0].sweep(), 0, "renewed elsewhere");
    nodes.pass(700);
    assert_eq!((nodes.rigs[0].sweep(), nodes.rigs[1].sweep()), (0, 1), "by the node that renewed it");
    nodes.settle();
    assert_eq!((nodes.rigs[0].live(A.holder), nodes.rigs[1].live(A.holder)), (vec![], vec![]));
}

#[test]
fn a_lease_that_ended_at_its_owner_before_it_heard_of_the_renewal_is_its_holders_again() {
    let mut nodes = Nodes::new();
    let address = nodes.rigs[0].lease(A, None).unwrap();
    nodes.settle();
    nodes.pass(3_500);
    nodes.rigs[1].lease(A, Some(address)).unwrap();
    nodes.pass(200);
    assert_eq!(nodes.rigs[0].sweep(), 1);
    nodes.settle();
    for rig in &nodes.rigs {
        assert_eq!(rig.live(A.holder), [address]);
    }
    assert_eq!(nodes.is_foreign(0, address), Some(true));
}

#[test]
fn a_lease_released_at_one_node_is_over_at_both_unless_it_was_taken_again() {
    for again in [false, true] {
        let mut nodes = Nodes::new();
        let address = nodes.rigs[0].lease(A, None).unwrap();
        nodes.settle();
        nodes.pass(10);
        let (rig, space) = (&mut nodes.rigs[1], crate::rig::space(""));
        let record = rig.ledger.release(A.holder, &space, address, ReleaseReason::Released, rig.now).unwrap();
        rig.commit_records(&[record]);
        nodes.pass(1);
        if again {
            assert_eq!(nodes.rigs[0].lease(A, Some(address)).unwrap(), address);
        }
        nodes.settle();
        let expected = if again { vec![address] } else { vec![] };
        for rig in &nodes.rigs {
            assert_eq!(rig.live(A.holder), expected);
        }
    }
}

#[test]
fn a_declined_address_is_out_of_use_at_the_owner_of_its_block() {
    let mut nodes = Nodes::new();
    let address = nodes.rigs[0].lease(A, None).unwrap();
    nodes.settle();
    nodes.pass(10);
    let (rig, space) = (&mut nodes.rigs[1], crate::rig::space(""));
    let record = rig.ledger.release(A.holder, &space, address, ReleaseReason::Declined, rig.now).unwrap();
    rig.commit_records(&[record]);
    nodes.settle();
    let pool = nodes.rigs[0].ledger.pool(lastmile::ids::PoolId(nodes.rigs[0].pools[0].id)).unwrap();
    assert_eq!(pool.counts(nodes.now()).declined, 1);
    assert_ne!(nodes.rigs[0].lease(A, Some(address)).unwrap(), address);
}

#[test]
fn an_address_that_went_to_another_holder_between_two_looks_is_that_holders() {
    let mut nodes = Nodes::with_ranges(&["10.0.0.0-10.0.0.0"]);
    let (session, address) = nodes.rigs[0].login(A).unwrap();
    nodes.settle();
    nodes.rigs[0].stop(A, session);
    nodes.pass(900);
    assert_eq!(nodes.rigs[0].login(Asker::new(2)).unwrap().1, address);
    nodes.settle();
    assert_eq!(nodes.rigs[1].live(A.holder), []);
    assert_eq!(nodes.rigs[1].live(holder(2)), [address]);
    assert_eq!(nodes.conflicts, 0);
    nodes.check();
}

#[test]
fn what_two_holders_use_at_two_nodes_is_noticed_and_changed_at_neither() {
    let mut nodes = Nodes::new();
    let taken = prefix("10.0.0.9");
    nodes.rigs[0].account(A, SessionEvent::Interim, None, &[taken], 60);
    nodes.rigs[1].account(Asker::new(2), SessionEvent::Interim, None, &[taken], 60);
    nodes.settle();
    assert_eq!(nodes.rigs[0].live(A.holder), [taken]);
    assert_eq!(nodes.rigs[1].live(holder(2)), [taken]);
    assert_eq!((nodes.rigs[0].live(holder(2)), nodes.rigs[1].live(A.holder)), (vec![], vec![]));
    assert!(nodes.conflicts > 0);
}

#[test]
fn two_lines_of_a_service_keep_their_slots_although_each_node_numbers_them_as_they_came() {
    let mut nodes = Nodes::new();
    for rig in &mut nodes.rigs {
        rig.max_slots = 2;
    }
    let (one, other) = (A.with_owner(line(1)), A.with_owner(line(2)));
    let first = nodes.rigs[0].login(one).unwrap().1;
    let second = nodes.rigs[1].login(other).unwrap().1;
    nodes.settle();
    nodes.pass(5);
    for rig in &mut nodes.rigs {
        assert_eq!(rig.login(one).unwrap().1, first);
        assert_eq!(rig.login(other).unwrap().1, second);
    }
}

#[test]
fn what_was_learned_is_known_after_a_restart_from_journal_or_checkpoint() {
    for checkpointed in [false, true] {
        let mut nodes = Nodes::new();
        let (_, address) = nodes.rigs[0].login(A).unwrap();
        let leased = nodes.rigs[0].lease(Asker::new(2), None).unwrap();
        nodes.settle();
        let rig = &nodes.rigs[1];
        let positions = rig.ledger.learned_positions();
        assert_eq!(positions, [(1, rig.journal.last())]);
        let checkpoint = checkpointed.then(|| rig.ledger.checkpoint(rig.journal.last()).bytes);
        nodes.restart(1, checkpoint.as_deref());
        assert_eq!(nodes.rigs[1].ledger.learned_positions(), positions);
        assert_eq!((nodes.is_foreign(1, address), nodes.is_foreign(1, leased)), (Some(true), Some(true)));
        assert_eq!(nodes.rigs[1].login(A).unwrap().1, address);
        assert_eq!(nodes.rigs[1].lease(Asker::new(2), Some(leased)).unwrap(), leased);
    }
}

#[test]
fn what_is_learned_is_nobody_elses_before_its_record_is_durable_and_is_given_back_when_it_is_refused() {
    let mut nodes = Nodes::with_ranges(&["10.0.0.0-10.0.1.0"]);
    // The one address of the second node's block, in use at the first.
    let address = prefix("10.0.1.0");
    nodes.rigs[0].account(A, SessionEvent::Interim, None, &[address], 60);
    let record = nodes.rigs[0].journal.committed[0].1.clone();
    let rig = &mut nodes.rigs[1];
    let Lesson::Write(learned) = rig.ledger.learn(1, 1, &record, rig.now) else {
        panic!("nothing to learn of {record:?}");
    };
    assert!(rig.login(Asker::new(2)).is_err());
    rig.ledger.abort(&[learned]);
    assert_eq!(rig.login(Asker::new(2)).unwrap().1, address);
    assert_eq!(rig.ledger.learn(1, 1, &record, rig.now), Lesson::Conflict);
}

#[test]
fn what_is_learned_is_answered_with_before_its_record_is_durable() {
    let mut nodes = Nodes::with_ranges(&["10.0.0.0-10.0.1.255"]);
    let (_, address) = nodes.rigs[0].login(A).unwrap();
    let record = nodes.rigs[0].journal.committed[0].1.clone();
    let rig = &mut nodes.rigs[1];
    let Lesson::Write(learned) = rig.ledger.learn(1, 1, &record, rig.now) else {
        panic!("nothing to learn of {record:?}");
    };
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let answer = rig.ask(A, &wants, None, None).unwrap();
    assert_eq!(answer.addresses[0].prefix, address);
    assert_eq!(answer.wait_for.len(), 1, "the other node must hear of it");
    rig.commit_records(&[learned]);
    rig.commit(&answer);
    assert_eq!(rig.live(A.holder), [address]);
}

#[test]
fn a_grant_of_a_node_that_is_gone_for_good_ends_a_day_after_its_time_while_the_feed_is_read() {
    let mut nodes = Nodes::new();
    nodes.rigs[0].lease(A, None).unwrap();
    nodes.settle();
    nodes.pass(3_600 + 86_000);
    assert!(nodes.learn(1));
    assert_eq!(nodes.rigs[1].sweep(), 0, "it may have been renewed");
    nodes.pass(500);
    assert_eq!(nodes.rigs[1].sweep(), 0, "the feed was not read since");
    assert!(nodes.learn(1));
    assert_eq!(nodes.rigs[1].sweep(), 1);
    assert_eq!(nodes.rigs[1].live(A.holder), []);
}

#[test]
fn a_clock_that_is_ahead_does_not_keep_the_other_node_from_ending_a_session() {
    for (ahead, other) in [(0, 1), (1, 0)] {
        let mut nodes = Nodes::new();
        nodes.rigs[ahead].pass(3);
        let (session, address) = nodes.rigs[ahead].login(A).unwrap();
        nodes.settle();
        nodes.rigs[other].pass(1);
        nodes.rigs[other].account(A, SessionEvent::Stop, Some(session), &[address], 1);
        nodes.settle();
        assert_eq!((nodes.rigs[0].live(A.holder), nodes.rigs[1].live(A.holder)), (vec![], vec![]));
    }
}

#[test]
fn a_client_without_a_service_is_the_same_at_both_nodes() {
    let mut nodes = Nodes::new();
    let client = Asker { holder: lastmile::journal::record::Holder::client(99), owner: device(9), nas: 1 };
    let address = nodes.rigs[0].lease(client, None).unwrap();
    nodes.settle();
    let space = crate::rig::space("");
    let basis = nodes.rigs[1].ledger.basis_of(&space, address).unwrap();
    assert_eq!((basis.holder, basis.live), (client.holder, true));
    assert_eq!(basis.lease, Some(LeaseFacts::default()));
}
