//! Pools that are edited, drained, removed, or hold addresses assigned by name.

use lastmile::ids::{PoolId, Uid};
use lastmile::journal::record::{ReleaseReason, Role};
use lastmile::ledger::{Denied, Want, WantSource};

use crate::rig::{Asker, Rig, holder, line, pool, prefix};

#[test]
fn a_fixed_address_inside_a_pool_is_never_given_to_others_and_comes_back_when_it_is_withdrawn() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.4"], 128)]);
    let fixed = prefix("10.0.0.2");
    rig.fixed.push((rig.space.key(), fixed, Uid(holder(1).0)));
    let mut given: Vec<_> = (10..13).map(|number| rig.login(Asker::new(number)).unwrap().1).collect();
    assert!(!given.contains(&fixed));
    assert!(matches!(rig.login(Asker::new(13)), Err(Denied::Exhausted { .. })));
    rig.check_conservation();
    let id = rig.login_fixed(Asker::new(1), Role::V4, fixed).unwrap();
    rig.stop(Asker::new(1), id);
    assert!(matches!(rig.login(Asker::new(13)), Err(Denied::Exhausted { .. })));
    rig.fixed.clear();
    rig.ledger.reconsider(&|_, _| false);
    given.push(rig.login(Asker::new(13)).unwrap().1);
    assert!(given.contains(&fixed));
    rig.check_conservation();
}

#[test]
fn a_fixed_address_that_another_holder_uses_waits_until_it_is_left() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.4"], 128)]);
    let (id, address) = rig.login(Asker::new(2)).unwrap();
    rig.fixed.push((rig.space.key(), address, Uid(holder(1).0)));
    let denied = rig.login_fixed(Asker::new(1), Role::V4, address).unwrap_err();
    assert_eq!(denied, Denied::AddressInUse { prefix: address });
    rig.stop(Asker::new(2), id);
    rig.login_fixed(Asker::new(1), Role::V4, address).unwrap();
    assert_ne!(rig.login(Asker::new(2)).unwrap().1, address);
    rig.check_conservation();
}

#[test]
fn the_record_of_a_fixed_address_that_was_lost_is_written_again_after_five_seconds() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.4"], 128)]);
    let wants = [Want { role: Role::V4, source: WantSource::Fixed(prefix("10.0.0.2")) }];
    let first = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((first.wait_for.len(), first.write.len()), (0, 1));
    rig.pass(5);
    let again = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((again.wait_for.len(), again.write.len()), (0, 1));
}

#[test]
fn a_draining_pool_renews_what_it_granted_and_grants_nothing_new() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.4"], 128)]);
    let stays = rig.lease(Asker::new(1), None).unwrap();
    let (left, _) = rig.login(Asker::new(2)).unwrap();
    rig.stop(Asker::new(2), left);
    rig.install(vec![lastmile::snapshot::types::Pool {
        draining: true,
        ..pool(0, "", &["10.0.0.1-10.0.0.4"], 128)
    }]);
    rig.pass(900);
    assert_eq!(rig.lease(Asker::new(1), Some(stays)), Ok(stays));
    assert!(
        matches!(rig.login(Asker::new(2)), Err(Denied::Exhausted { .. })),
        "what was left is not had back"
    );
    assert!(matches!(rig.login(Asker::new(3)), Err(Denied::Exhausted { .. })));
    rig.check_conservation();
}

#[test]
fn a_pool_edited_while_addresses_are_in_use_still_adds_up_and_gives_none_of_them_away() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.8"], 128)]);
    let mut sessions: Vec<_> =
        (0..8).map(|number| (number, rig.login(Asker::new(number)).unwrap())).collect();
    rig.install(vec![pool(0, "", &["10.0.0.5-10.0.0.6", "10.0.0.20-10.0.0.21"], 128)]);
    rig.check_conservation();
    // The same range in another pool, whose addresses are mostly still in use.
    rig.install(vec![pool(0, "", &["10.0.0.20-10.0.0.21"], 128), pool(1, "", &["10.0.0.1-10.0.0.9"], 128)]);
    rig.check_conservation();
    let mut newcomers = Vec::new();
    while let Ok((_, address)) = rig.login(Asker::new(100 + newcomers.len() as u64)) {
        newcomers.push(address);
    }
    newcomers.sort();
    assert_eq!(newcomers, [prefix("10.0.0.9"), prefix("10.0.0.20"), prefix("10.0.0.21")]);
    let (number, (id, left)) = sessions.remove(2);
    rig.stop(Asker::new(number), id);
    assert_eq!(
        rig.login(Asker::new(200)).unwrap().1,
        left,
        "an address left comes back to the pool that has it now"
    );
    rig.check_conservation();
}

#[test]
fn addresses_in_use_of_a_removed_pool_are_nobody_elses_until_they_are_left() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128)]);
    let (id, address) = rig.login(Asker::new(1)).unwrap();
    rig.install(vec![]);
    rig.install(vec![pool(7, "", &["10.0.0.0/31"], 128)]);
    assert_eq!(rig.login(Asker::new(2)).unwrap().1, prefix("10.0.0.0"));
    assert!(matches!(rig.login(Asker::new(3)), Err(Denied::Exhausted { .. })));
    rig.stop(Asker::new(1), id);
    assert_eq!(rig.login(Asker::new(3)).unwrap().1, address);
    rig.check_conservation();
}

#[test]
fn a_pool_whose_prefix_length_changes_gives_nothing_away_that_overlaps_what_is_in_use() {
    let mut rig = Rig::new(vec![pool(0, "", &["2001:db8::/54"], 56)]);
    let (_, used) = rig.login(Asker::new(1)).unwrap();
    rig.install(vec![pool(0, "", &["2001:db8::/54"], 60)]);
    let given: Vec<_> = (10..58).map(|number| rig.login(Asker::new(number)).unwrap().1).collect();
    assert!(given.iter().all(|given| !given.overlaps(used)));
    assert!(rig.login(Asker::new(99)).is_err());
    rig.check_conservation();
}

#[test]
fn pools_that_overlap_never_give_one_address_twice() {
    let mut rig =
        Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.6"], 128), pool(1, "", &["10.0.0.4-10.0.0.9"], 128)]);
    let mut given: Vec<_> = (0..9).map(|number| rig.login(Asker::new(number)).unwrap().1).collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 9);
    assert!(matches!(rig.login(Asker::new(20)), Err(Denied::Exhausted { .. })));
    rig.check_conservation();
}

#[test]
fn the_same_addresses_in_two_vrfs_are_two_sets_of_addresses() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128)]);
    let first = rig.login(Asker::new(1)).unwrap().1;
    rig.install(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128), pool(2, "biz", &["10.0.0.1-10.0.0.1"], 128)]);
    rig.space = crate::rig::space("biz");
    rig.pools.remove(0);
    assert_eq!(rig.login(Asker::new(2)).unwrap().1, first);
}

#[test]
fn blocks_of_another_node_are_not_chosen_from_and_what_was_left_in_them_is_not_had_back() {
    let mut rig = Rig::new(vec![]);
    rig.pools = vec![std::sync::Arc::new(pool(0, "", &["10.0.0.0/23"], 128))];
    rig.ledger.set_pools(rig.pools.iter().map(AsRef::as_ref), &|_, block| block == 1);
    let address = rig.login(Asker::new(1)).unwrap().1;
    assert!(prefix("10.0.1.0/24").contains(address));
    // A session of the other node's block is learned of, ends, and is not for newcomers here.
    let far = prefix("10.0.0.9");
    rig.account(Asker::new(2), lastmile::journal::record::SessionEvent::Interim, None, &[far], 60);
    assert_eq!(rig.live(holder(2)), [far]);
    rig.account(Asker::new(2), lastmile::journal::record::SessionEvent::Stop, None, &[far], 70);
    rig.pass(900);
    for number in 10..265 {
        assert!(prefix("10.0.1.0/24").contains(rig.login(Asker::new(number)).unwrap().1));
    }
    // Nor is it for its last holder: the block's owner may have given it to somebody else since.
    assert!(rig.login(Asker::new(2)).is_err());
    assert!(rig.login(Asker::new(500)).is_err());
    let counts = rig.ledger.pool(PoolId(rig.pools[0].id)).unwrap().counts(rig.now);
    assert_eq!((counts.size, counts.granted), (256, 256), "what others may give again is not counted here");
}

/// One service with two lines on one address: given by name to the second while the pool did not know of the first.
fn two_lines_on_one_address() -> (Rig, [Asker; 2], [lastmile::ids::SessionId; 2]) {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.2"], 128)]);
    rig.max_slots = 2;
    let shared = prefix("10.0.0.1");
    rig.fixed.push((rig.space.key(), shared, Uid(holder(1).0)));
    let lines = [1, 2].map(|number| Asker::new(1).with_owner(line(number)));
    let first = rig.login_fixed(lines[0], Role::V4, shared).unwrap();
    rig.install(vec![]);
    rig.install(vec![pool(0, "", &["10.0.0.1-10.0.0.2"], 128)]);
    let second = rig.login_fixed(lines[1], Role::V4, shared).unwrap();
    for (line, session) in lines.into_iter().zip([first, second]) {
        rig.start(line, session, shared);
    }
    rig.fixed.clear();
    assert_eq!(rig.live(holder(1)), [shared, shared]);
    (rig, lines, [first, second])
}

#[test]
fn a_prefix_that_one_slot_leaves_is_nobody_elses_while_another_slot_of_the_holder_stands_on_it() {
    for leaves in [0, 1] {
        for restarts_after in [false, true] {
            let (mut rig, lines, sessions) = two_lines_on_one_address();
            // Now the pool knows one slot of the two.
            rig.restart(None);
            rig.stop(lines[leaves], sessions[leaves]);
            if restarts_after {
                let checkpoint = rig.ledger.checkpoint(rig.journal.last());
                rig.restart(Some(&checkpoint.bytes));
            }
            assert_eq!(rig.login(Asker::new(2)).unwrap().1, prefix("10.0.0.2"));
            assert!(matches!(rig.login(Asker::new(3)), Err(Denied::Exhausted { .. })));
            rig.stop(lines[1 - leaves], sessions[1 - leaves]);
            assert_eq!(rig.login(Asker::new(3)).unwrap().1, prefix("10.0.0.1"));
            rig.check_conservation();
        }
    }
}

#[test]
fn two_lines_of_a_service_are_never_given_one_address_by_pools_that_overlap() {
    let mut rig =
        Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128), pool(1, "", &["10.0.0.1-10.0.0.2"], 128)]);
    rig.max_slots = 2;
    let lines = [1, 2].map(|number| Asker::new(1).with_owner(line(number)));
    let (first, address) = rig.login(lines[0]).unwrap();
    assert_eq!(address, prefix("10.0.0.1"));
    assert_eq!(rig.offer(lines[1]).unwrap().prefix, prefix("10.0.0.2"));
    assert_eq!(rig.login(lines[1]).unwrap().1, prefix("10.0.0.2"));
    rig.stop(lines[0], first);
    assert_eq!(rig.login(Asker::new(2)).unwrap().1, address);
    rig.check_conservation();
}

#[test]
fn a_release_does_not_end_what_a_login_on_its_way_takes_over_into_another_pool() {
    let mut rig = Rig::new(vec![pool(0, "", &["10.0.0.1-10.0.0.1"], 128)]);
    let address = rig.lease(Asker::new(1), None).unwrap();
    rig.install(vec![pool(1, "", &["10.0.0.1-10.0.0.1"], 128)]);
    let pools = rig.pools.clone();
    let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
    let login = rig.ask(Asker::new(1), &wants, None, None).unwrap();
    assert_eq!((login.wait_for.len(), login.addresses[0].prefix), (1, address));
    let space = rig.space.clone();
    assert_eq!(rig.ledger.release(holder(1), &space, address, ReleaseReason::Released, rig.now), None);
    rig.commit(&login);
    assert_eq!(rig.live(holder(1)), [address]);
}
