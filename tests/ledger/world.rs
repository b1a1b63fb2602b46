//! A ledger with its journal, its clients and its pools, and what must hold after every step.

use std::sync::Arc;

use lastmile::ids::{SessionId, Uid};
use lastmile::journal::record::{Holder, Owner, Record, SessionEvent};
use lastmile::ledger::Ledger;
use lastmile::model::Prefix;
use lastmile::snapshot::types::{Pool, Space};
use lastmile::time::Stamp;

use crate::journal::{Journal, Submission, skewed};
use crate::rig::{Random, T0, check_counts, device, holder, line, nas, pool, prefix, space};
use crate::trace::{brief, clock};
use crate::truth::{Fold, Leased, Online, counts_of, durable_of, live_of, remembered_of, unheld_of};

pub const LONGEST_SECS: u64 = 7_200;
/// What a client is told when its records are durable.
#[derive(Clone, Debug)]
pub enum Then {
    Nothing,
    Login { client: usize, attempt: u64, online: Online },
    Lease { client: usize, attempt: u64, leased: Leased },
}

#[derive(Clone, Debug)]
pub struct Client {
    pub holder: Holder,
    pub owner: Owner,
    pub space: Arc<Space>,
    pub pools: Vec<usize>,
    pub delegated: bool,
    pub fixed: Option<Prefix>,
    pub routed: Vec<Prefix>,
    pub limit: u8,
    pub online: Option<Online>,
    pub leased: Option<Leased>,
    pub attempt: u64,
    /// The last login request, its NAS and when it was sent, while the NAS may send it again.
    pub asked: Option<(SessionId, u64, Stamp)>,
    /// The last login attempt.
    pub dialled: Option<(SessionId, Stamp)>,
}

/// An accounting event that may arrive again.
#[derive(Clone, Debug)]
pub struct Event {
    pub client: usize,
    pub kind: SessionEvent,
    pub session: SessionId,
    pub with_class: bool,
    pub nas: u64,
    pub addresses: Vec<Prefix>,
    pub session_time: u32,
    pub at: Stamp,
}

pub struct World {
    pub random: Random,
    pub ledger: Ledger,
    pub journal: Journal<Then>,
    pub fold: Fold,
    pub folded: usize,
    pub pools: Vec<Arc<Pool>>,
    pub fixed: Vec<(u64, Prefix, Uid)>,
    pub clients: Vec<Client>,
    pub events: Vec<Event>,
    pub checkpoints: Vec<Vec<u8>>,
    pub now: Stamp,
    pub sessions: u64,
    pub pools_edited: bool,
    /// Whether NASes send login requests again.
    pub resends: bool,
    /// Whether pools are edited all the time, under services with several lines.
    pub edits: bool,
    /// The pools before the last edit.
    pub pools_before: Vec<Arc<Pool>>,
    pub traced: bool,
    pub trace: Vec<String>,
    pub stats: Stats,
}

/// What a run met, so that the suite can tell that it exercises what it claims to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub told: u64,
    /// Requests decided again that were answered with the same session.
    pub again: u64,
    pub denied: u64,
    pub crashes: u64,
    pub forgotten: u64,
    pub conflicts_reported: u64,
    pub releases: u64,
    pub skewed: u64,
    pub replays: u64,
}

pub fn pools_for(random: &mut Random) -> Vec<Pool> {
    let last = 3 + random.below(10);
    let range = format!("10.0.0.1-10.0.0.{last}");
    let overflow = format!("10.0.1.1-10.0.1.{}", 2 + random.below(4));
    vec![
        pool(0, "", &[&range], 128),
        pool(1, "", &[&overflow], 128),
        pool(2, "biz", &[&range], 128),
        pool(3, "", &["2001:db8::/53"], 56),
    ]
}

impl World {
    pub fn new(seed: u64, traced: bool, edits: bool) -> Self {
        let mut random = Random(seed);
        let pools = pools_for(&mut random).into_iter().map(Arc::new).collect();
        let mut world = Self {
            random,
            ledger: Ledger::new(),
            journal: Journal::default(),
            fold: Fold::default(),
            folded: 0,
            pools,
            fixed: Vec::new(),
            clients: Vec::new(),
            events: Vec::new(),
            checkpoints: Vec::new(),
            now: T0,
            sessions: 0,
            pools_edited: false,
            resends: false,
            edits,
            pools_before: Vec::new(),
            traced,
            trace: Vec::new(),
            stats: Stats::default(),
        };
        world.install();
        world.populate();
        world
    }

    pub fn install(&mut self) {
        self.ledger.set_pools(self.pools.iter().map(AsRef::as_ref), &|_, _| true);
    }

    pub fn populate(&mut self) {
        for number in 0..3 + self.random.below(12) as u64 {
            let most = if self.edits { 3 } else { 2 };
            let lines = 1 + self.random.below(most);
            let limit = 1 + self.random.below(most) as u8;
            let business = self.random.chance(20);
            let space = space(if business { "biz" } else { "" });
            let fixed = (!business && self.random.chance(20)).then(|| {
                let choices = ["10.0.0.2", "10.0.0.3", "192.0.2.1", "192.0.2.2"];
                prefix(choices[self.random.below(choices.len())])
            });
            let mut routed = Vec::new();
            if !business && self.random.chance(20) {
                let choices = [
                    "198.51.100.0/29",
                    "198.51.100.8/29",
                    "10.0.0.4/31",
                    "192.0.2.0/30",
                    "2001:db8:0:200::/55",
                ];
                routed.push(prefix(choices[self.random.below(choices.len())]));
                routed.push(prefix(&format!("203.0.113.{number}/32")));
            }
            for (prefix, key) in fixed.iter().chain(&routed).map(|prefix| (*prefix, space.key())) {
                self.fixed.push((key, prefix, Uid(holder(number).0)));
            }
            for place in 0..lines as u64 {
                let unknown = self.random.chance(10) && place == 0;
                let owner = if self.random.chance(30) {
                    device((number * most as u64 + place) as u8 + 1)
                } else {
                    line(number * most as u64 + place)
                };
                self.clients.push(Client {
                    holder: holder(number),
                    owner: if unknown { Owner::default() } else { owner },
                    space: Arc::clone(&space),
                    pools: if business { vec![2] } else { vec![0, 1] },
                    delegated: !business && self.random.chance(40),
                    fixed,
                    routed: routed.clone(),
                    limit,
                    online: None,
                    leased: None,
                    attempt: 0,
                    asked: None,
                    dialled: None,
                });
            }
        }
    }

    /// Notes a step; what is said is only made up when a run is repeated to be read.
    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if self.traced {
            self.trace.push(what());
        }
    }

    pub fn client(&mut self) -> usize {
        self.random.below(self.clients.len())
    }

    /// Nobody else may use what a client is being told.
    pub fn assert_unused(&self, client: usize, prefix: Prefix) {
        let teller = &self.clients[client];
        // What is assigned by name may lie over a pool, and does not wait for the pool to settle.
        let named = teller.fixed == Some(prefix) || teller.routed.contains(&prefix);
        for (index, other) in self.clients.iter().enumerate() {
            if other.holder == teller.holder || other.space != teller.space {
                continue;
            }
            if let Some(online) = other.online.as_ref().filter(|online| online.until > self.now)
                && let Some(used) = online.prefixes.iter().find(|used| used.overlaps(prefix))
            {
                panic!("client {client} is told {prefix} while {index} is online with {used}: {online:?}");
            }
            if let Some(online) = other.online.as_ref().filter(|online| online.until > self.now)
                && let Some((used, until)) = online.unsure.iter().find(|(used, _)| used.overlaps(prefix))
            {
                let settled = named || *until <= self.now;
                assert!(
                    settled,
                    "client {client} is told {prefix} while {index} may have {used} since before the crash"
                );
            }
            if let Some(leased) = other.leased.as_ref().filter(|leased| leased.until > self.now) {
                assert!(
                    !leased.prefix.overlaps(prefix),
                    "client {client} is told {prefix} while {index} has it leased: {leased:?}"
                );
            }
        }
    }

    pub fn tell(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Login { client, attempt, online } => {
                if self.clients[client].attempt != attempt {
                    return;
                }
                for prefix in &online.prefixes {
                    self.assert_unused(client, *prefix);
                }
                self.stats.told += 1;
                if self.clients[client].online.is_some() {
                    // The request was sent again, and another answer came first.
                    return;
                }
                self.replace_slot(client, online.slot);
                self.clients[client].online = Some(online);
            }
            Then::Lease { client, attempt, leased } => {
                if self.clients[client].attempt != attempt {
                    return;
                }
                self.assert_unused(client, leased.prefix);
                self.stats.told += 1;
                self.replace_slot(client, leased.slot);
                self.clients[client].leased = Some(leased);
            }
        }
    }

    /// A slot has one user: whoever is told of it replaces another line of the same service that nothing was heard of.
    pub fn replace_slot(&mut self, client: usize, slot: u8) {
        let holder = self.clients[client].holder;
        for (index, other) in self.clients.iter_mut().enumerate() {
            if index != client && other.holder == holder {
                other.online.take_if(|online| online.slot == slot);
                other.leased.take_if(|leased| leased.slot == slot);
            }
        }
    }

    pub fn submit(&mut self, records: Vec<Record>, waited: bool, then: Then) {
        let submission = Submission { records, waited, at: self.now, then };
        // Two workers that decide at the same moment may reach the queue in either order.
        let swap = self.random.chance(20)
            && self
                .journal
                .queue
                .back()
                .is_some_and(|last| last.at == self.now && !submission.records.is_empty());
        let last = if swap { self.journal.queue.pop_back() } else { None };
        self.journal.submit(submission);
        self.journal.queue.extend(last);
    }

    pub fn commit(&mut self, submissions: usize) {
        for _ in 0..submissions {
            let Some(submission) = self.journal.queue.pop_front() else { return };
            for record in submission.records {
                self.stats.releases += u64::from(matches!(record, Record::Release(_)));
                self.journal.commit(&self.ledger, &record);
            }
            self.tell(submission.then);
        }
    }

    pub fn fail_all(&mut self) {
        for submission in std::mem::take(&mut self.journal.queue) {
            if submission.waited {
                self.ledger.abort(&submission.records);
            }
        }
    }

    pub fn restart_nas(&mut self) {
        let number = 1 + self.random.below(2) as u64;
        for client in &mut self.clients {
            client.online.take_if(|online| online.nas == number);
            client.asked.take_if(|asked| asked.1 == number);
        }
        self.say(|| format!("nas {number} restarts"));
        let tenant = lastmile::ids::TenantId::DEFAULT;
        // Accepts under way to it are lost, too.
        for submission in &mut self.journal.queue {
            if matches!(&submission.then, Then::Login { online, .. } if online.nas == number) {
                submission.then = Then::Nothing;
            }
        }
        let record = Ledger::nas_event(nas(number), tenant, true, self.now);
        self.submit(vec![record], true, Then::Nothing);
        // What follows on the NAS follows in time.
        self.now = Stamp(self.now.0 + 1);
    }

    pub fn sweep(&mut self) {
        let limit = if self.random.chance(80) { usize::MAX } else { 1 };
        for shard in 0..self.ledger.shard_count() {
            let records = self.ledger.sweep(shard, self.now, limit);
            if !records.is_empty() {
                self.say(|| format!("sweep {}", brief(&records)));
                self.submit(records, false, Then::Nothing);
            }
        }
    }

    pub fn pass(&mut self) {
        let millis = match self.random.below(10) {
            0..=3 => self.random.below(50) as u64,
            4..=6 => self.random.below(8_000) as u64,
            7 => self.random.below(130_000) as u64,
            8 => self.random.below(900_000) as u64,
            _ => self.random.below(8_000_000) as u64,
        };
        self.now = Stamp(self.now.0 + millis);
        let now = clock(self.now);
        self.say(|| format!("now {now}"));
    }

    pub fn checkpoint(&mut self) {
        let bytes = self.ledger.checkpoint(self.journal.last()).bytes;
        self.checkpoints.push(bytes);
    }

    /// A checkpoint to recover from: none, one, or one that took a while to write.
    pub fn recovery_base(&mut self) -> Option<Vec<u8>> {
        if self.checkpoints.is_empty() || self.random.chance(30) {
            return None;
        }
        let late = self.random.below(self.checkpoints.len());
        let early = self.random.below(late + 1);
        let shards = self.random.below(257);
        self.stats.skewed += u64::from(early != late);
        Some(skewed(&self.checkpoints[early], &self.checkpoints[late], shards))
    }

    pub fn compare_rebuilt(&mut self) {
        let base = self.recovery_base();
        let rebuilt = self.journal.rebuilt(&self.pools, base.as_deref());
        assert_eq!(durable_of(&rebuilt), durable_of(&self.ledger), "rebuilt, checkpoint: {}", base.is_some());
        // What cannot come back is forgotten early, and a full slot forgets its oldest; nobody knows more than the records.
        self.fold_committed();
        for ledger in [&self.ledger, &rebuilt] {
            for (space, prefix, holder, slot) in remembered_of(ledger) {
                assert!(self.fold.was_given(&space, prefix, holder, slot), "{holder:?} {slot} {prefix}");
            }
        }
        if !self.pools_edited {
            for pool in &self.pools {
                check_counts(&rebuilt, pool, self.now);
            }
            self.assert_same_pools(&rebuilt);
        }
        assert_eq!(rebuilt.counters().conflicts.load(std::sync::atomic::Ordering::Relaxed), 0);
        self.stats.replays += 1;
    }

    /// What is chosen and not committed is not known to the records: it may have been declined once, long ago.
    fn assert_same_pools(&self, rebuilt: &Ledger) {
        for (known, ours) in counts_of(rebuilt).into_iter().zip(counts_of(&self.ledger)) {
            let chosen = ours.1.reserved + ours.1.assigned;
            assert_eq!((known.0, known.1.granted), (ours.0, ours.1.granted));
            assert!(
                known.1.declined >= ours.1.declined && known.1.declined <= ours.1.declined + chosen,
                "{known:?} {ours:?}"
            );
        }
    }

    pub fn edit_pools(&mut self) {
        self.pools_edited = true;
        // What a range was in one pool is not known to another.
        for online in self.clients.iter_mut().filter_map(|client| client.online.as_mut()) {
            online.unsure.clear();
        }
        if self.edits && self.random.chance(40) && !self.pools_before.is_empty() {
            std::mem::swap(&mut self.pools, &mut self.pools_before);
            self.say(|| "pools back".to_owned());
            self.install();
            return;
        }
        let mut pools: Vec<Pool> = self.pools.iter().map(|pool| copy_of(pool)).collect();
        let index = self.random.below(pools.len());
        match self.random.below(5) {
            0 => pools[index].draining = !pools[index].draining,
            1 if pools.len() > 2 => {
                pools.remove(index);
            }
            2 => pools = pools_for(&mut self.random),
            3 => {
                // A range moves from one pool to another.
                if let [first, second, ..] = &mut pools[..]
                    && first.space == second.space
                    && first.wide_len == second.wide_len
                {
                    std::mem::swap(&mut first.ranges, &mut second.ranges);
                }
            }
            _ => {
                let wider =
                    if pools[index].wide_len == 128 { ["10.0.0.3-10.0.0.9"] } else { ["2001:db8::/54"] };
                pools[index].ranges = wider.iter().map(|range| range.parse().unwrap()).collect();
                if pools[index].wide_len != 128 {
                    pools[index].wide_len = 56 + 2 * self.random.below(2) as u8;
                }
            }
        }
        let edited: Vec<_> =
            pools.iter().map(|pool| format!("{} {:?} {}", pool.name, pool.ranges, pool.wide_len)).collect();
        self.say(|| format!("pools {edited:?}"));
        let edited = pools.into_iter().map(Arc::new).collect();
        self.pools_before = std::mem::replace(&mut self.pools, edited);
        self.install();
    }

    pub fn edit_assignments(&mut self) {
        let client = self.client();
        let (holder, space) = (self.clients[client].holder, Arc::clone(&self.clients[client].space));
        let fixed = self.random.chance(50).then(|| prefix(&format!("10.0.0.{}", 1 + self.random.below(6))));
        for client in self.clients.iter_mut().filter(|client| client.holder == holder) {
            client.fixed = fixed;
        }
        self.fixed.retain(|known| known.2.0 != holder.0);
        self.fixed.extend(fixed.map(|prefix| (space.key(), prefix, Uid(holder.0))));
        for online in self.clients.iter_mut().filter_map(|client| client.online.as_mut()) {
            online.unsure.retain(|(prefix, _)| Some(*prefix) != fixed);
        }
        let fixed = &self.fixed;
        self.ledger
            .reconsider(&|space, prefix| fixed.iter().any(|known| (known.0, known.1) == (space, prefix)));
        let fixed = self.clients[client].fixed;
        self.say(|| format!("assign {client} {fixed:?}"));
    }

    pub fn fold_committed(&mut self) {
        for (_, record) in &self.journal.committed[self.folded..] {
            self.fold.take(record);
        }
        self.folded = self.journal.committed.len();
    }

    pub fn check(&mut self) {
        self.fold_committed();
        self.settle_unsure();
        for pool in &self.pools {
            check_counts(&self.ledger, pool, self.now);
        }
        assert_eq!(self.ledger.counters().conflicts.load(std::sync::atomic::Ordering::Relaxed), 0);
        let known: Vec<_> = self
            .fold
            .live
            .iter()
            .map(|(key, (since, _))| (key.0.clone(), key.1, key.2, key.3, *since))
            .collect();
        assert_eq!(live_of(&self.ledger), known);
        if let Some(free) = unheld_of(&self.ledger) {
            panic!("others can have what a slot stands on: {free}");
        }
    }

    pub fn step(&mut self) {
        if self.edits && self.random.chance(4) {
            return self.edit_pools();
        }
        match self.random.below(100) {
            0..=21 => {
                let client = self.client();
                self.login(client);
            }
            22..=33 => {
                let client = self.client();
                self.dhcp(client);
            }
            34..=38 => {
                let client = self.client();
                self.give_up(client);
            }
            39..=56 => {
                let client = self.client();
                self.account(client);
            }
            57..=61 => self.report_again(),
            62..=73 => {
                let submissions = 1 + self.random.below(4);
                self.commit(submissions);
                self.say(|| format!("commit {submissions}"));
            }
            74..=79 => {
                self.commit(usize::MAX);
                self.say(|| "commit all".to_owned());
            }
            80..=81 => {
                self.fail_all();
                self.say(|| "fail all".to_owned());
            }
            82..=90 => self.pass(),
            91..=94 => self.sweep(),
            95 => self.checkpoint(),
            96 => self.restart_nas(),
            97 => self.compare_rebuilt(),
            98 => self.edit_assignments(),
            _ => match self.random.below(3) {
                0 => self.crash(),
                1 if self.random.chance(40) => self.edit_pools(),
                _ => {}
            },
        }
    }
}

pub fn copy_of(pool: &Pool) -> Pool {
    Pool {
        id: pool.id,
        name: pool.name.clone(),
        space: pool.space.clone(),
        network: pool.network,
        class: pool.class.clone(),
        group: pool.group.clone(),
        ranges: pool.ranges.clone(),
        wide_len: pool.wide_len,
        order: pool.order,
        quarantine: pool.quarantine,
        exhausted_action: pool.exhausted_action,
        draining: pool.draining,
        seq: pool.seq,
    }
}
