//! Two nodes, a feed that is late, clients that move between the nodes as they like: whoever uses an address uses it alone,
//! as long as the feed is never later than the quarantine.

use std::collections::BTreeMap;

use lastmile::ids::SessionId;
use lastmile::ledger::Denied;
use lastmile::model::Prefix;
use lastmile::time::Stamp;

use crate::nodes::Nodes;
use crate::rig::{Asker, Random, T0};

const CLIENTS: usize = 24;
/// The feed is read to its end at least this often, in seconds; addresses rest for 300.
const FEED_LATE_SECS: u64 = 60;

/// What a client uses, as it knows itself.
#[derive(Clone, Debug)]
enum Use {
    Session { session: SessionId, accepted: Stamp, address: Prefix },
    Lease { address: Prefix, until: Stamp },
}

impl Use {
    const fn address(&self) -> Prefix {
        match self {
            Self::Session { address, .. } | Self::Lease { address, .. } => *address,
        }
    }
}

struct World {
    nodes: Nodes,
    random: Random,
    uses: BTreeMap<usize, Use>,
    settled: Stamp,
    answered: usize,
    moved: usize,
    same: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        // Few addresses: those that are left are wanted again.
        let mut nodes = Nodes::with_small_pools();
        // Clocks that differ a little.
        nodes.rigs[1].now = Stamp(T0.0 + random.next() % 1_500);
        let settled = nodes.now();
        Self { nodes, random, uses: BTreeMap::new(), settled, answered: 0, moved: 0, same: 0 }
    }

    fn step(&mut self) {
        let (client, node) = (self.random.below(CLIENTS), self.random.below(2));
        match self.random.below(100) {
            0..25 => self.connect(client, node),
            25..40 => self.leave(client, node),
            40..48 => self.start(client, node),
            48..52 => drop(self.uses.remove(&client).filter(|used| matches!(used, Use::Lease { .. }))),
            52..62 => self.nodes.publish(node),
            62..72 => drop(self.nodes.learn(node)),
            72..78 => drop(self.nodes.rigs[node].sweep()),
            78..79 => self.restart(node),
            _ => {
                let secs = 1 + self.random.below(40) as u64;
                self.pass(secs);
            }
        }
        self.check();
    }

    fn pass(&mut self, secs: u64) {
        self.nodes.pass(secs);
        let now = self.nodes.now();
        // Clients keep to the time that they were given.
        self.uses.retain(|_, used| !matches!(used, Use::Lease { until, .. } if *until <= now));
        if now.since(self.settled) > FEED_LATE_SECS * 1_000 {
            self.nodes.settle();
            self.settled = now;
        }
    }

    fn asker(client: usize) -> Asker {
        Asker::new(client as u64)
    }

    fn connect(&mut self, client: usize, node: usize) {
        let known = self.uses.get(&client).cloned();
        let rig = &mut self.nodes.rigs[node];
        // Half of the clients are PPPoE, half DHCP.
        let answer = if client.is_multiple_of(2) {
            rig.login(Self::asker(client)).map(|(session, address)| Use::Session {
                session,
                accepted: rig.now,
                address,
            })
        } else {
            let requested = known.as_ref().map(Use::address);
            rig.lease(Self::asker(client), requested)
                .map(|address| Use::Lease { address, until: rig.now.plus_secs(3_600) })
        };
        match answer {
            Ok(used) => {
                self.answered += 1;
                if let Some(known) = known {
                    self.moved += 1;
                    self.same += usize::from(known.address() == used.address());
                }
                self.uses.insert(client, used);
            }
            Err(Denied::Exhausted { .. } | Denied::InFlight) => {}
            Err(denied) => panic!("{denied:?}"),
        }
    }

    fn start(&mut self, client: usize, node: usize) {
        if let Some(Use::Session { session, address, .. }) = self.uses.get(&client) {
            self.nodes.rigs[node].start(Self::asker(client), *session, *address);
        }
    }

    fn leave(&mut self, client: usize, node: usize) {
        let asker = Self::asker(client);
        let rig = &mut self.nodes.rigs[node];
        match self.uses.remove(&client) {
            Some(Use::Session { session, accepted, address }) => {
                let secs = (rig.now.since(accepted) / 1_000) as u32;
                let event = lastmile::journal::record::SessionEvent::Stop;
                rig.account(asker, event, Some(session), &[address], secs);
            }
            Some(Use::Lease { address, .. }) => {
                let space = rig.space.clone();
                let reason = lastmile::journal::record::ReleaseReason::Released;
                if let Some(record) = rig.ledger.release(asker.holder, &space, address, reason, rig.now) {
                    rig.commit_records(&[record]);
                }
            }
            None => {}
        }
    }

    fn restart(&mut self, node: usize) {
        let rig = &self.nodes.rigs[node];
        let checkpoint = self.random.chance(50).then(|| rig.ledger.checkpoint(rig.journal.last()).bytes);
        self.nodes.restart(node, checkpoint.as_deref());
    }

    fn check(&self) {
        let mut users: BTreeMap<Prefix, usize> = BTreeMap::new();
        for (client, used) in &self.uses {
            if let Some(other) = users.insert(used.address(), *client) {
                panic!("clients {client} and {other} both use {}", used.address());
            }
        }
        self.nodes.check();
        for pool in self.nodes.rigs.iter().flat_map(|rig| rig.ledger.pools()) {
            assert_eq!(pool.quarantine_cuts(), 0, "the pools are too small: nothing is promised then");
        }
    }
}

fn run(seed: u64, steps: usize) -> World {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world
}

#[test]
fn clients_that_move_between_two_nodes_never_share_an_address() {
    let (mut moved, mut same) = (0, 0);
    for seed in 0..30 {
        let world = std::panic::catch_unwind(|| run(seed, 1_500)).unwrap_or_else(|_| panic!("seed {seed}"));
        (moved, same) = (moved + world.moved, same + world.same);
    }
    // Nearly all keep their address; who comes back before the feed does gets another.
    assert!(same * 10 > moved * 8, "{same} of {moved} kept their address");
}
