//! Pools, spaces and requests for tests of the ledger.

use std::sync::Arc;

use lastmile::ids::{NasId, NetworkId, PoolId, SeededEntropy, SessionId, TenantId, Uid};
use lastmile::journal::record::{Holder, LeaseFacts, Owner, Record, Role, SessionEvent};
use lastmile::ledger::{
    Accounted, AccountingFacts, Admission, AdmitRequest, Denied, Ledger, Offered, Want, WantSource,
};
use lastmile::model::pool::ExhaustedAction;
use lastmile::model::{Mac, Prefix};
use lastmile::snapshot::types::{Pool, Space};
use lastmile::time::Stamp;

use crate::journal::Journal;

pub const T0: Stamp = Stamp(1_795_132_800_000);

/// Small deterministic random numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn wide(&mut self) -> u128 {
        (u128::from(self.next()) << 64) | u128::from(self.next())
    }
}

/// An id that is spread like a minted one.
pub fn uid(number: u64) -> Uid {
    Uid((Random(number).wide() & !(0xf << 76)) | (7 << 76))
}

pub fn holder(number: u64) -> Holder {
    Holder(uid(number).0)
}

pub fn nas(number: u64) -> NasId {
    NasId(uid(0xa000 + number))
}

pub fn session(number: u64) -> SessionId {
    // Minted long before every Accept, as far as its time tells.
    SessionId(Uid((uid(0x5_0000_0000 + number).0 << 48 >> 48) | (u128::from(number) << 80)))
}

/// The id that is minted when the request of a session is decided again, some milliseconds later.
pub fn minted_again(first: SessionId, later: u64, random: u64) -> SessionId {
    SessionId(Uid((first.0.0 + (u128::from(later) << 80)) ^ (u128::from(random & 0xfff) << 64)))
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn line(number: u64) -> Owner {
    Owner { line: 0x1000 + number, mac: Mac::default() }
}

pub fn device(number: u8) -> Owner {
    Owner { line: 0, mac: Mac([2, 0, 0, 0, 0, number]) }
}

pub fn space(vrf: &str) -> Arc<Space> {
    Arc::new(Space { tenant: TenantId::DEFAULT, vrf: vrf.into() })
}

/// A pool with a quarantine of 300 s.
pub fn pool(number: u64, vrf: &str, ranges: &[&str], wide_len: u8) -> Pool {
    Pool {
        id: uid(0xb000 + number),
        name: format!("pool-{number}").into(),
        space: Space { tenant: TenantId::DEFAULT, vrf: vrf.into() },
        network: Uid::NIL,
        class: "home".into(),
        group: None,
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        wide_len,
        order: 0,
        quarantine: 300,
        exhausted_action: ExhaustedAction::default(),
        draining: false,
        seq: 0,
    }
}

/// A ledger with its journal, its pools and a clock.
pub struct Rig {
    pub ledger: Ledger,
    pub journal: Journal,
    pub pools: Vec<Arc<Pool>>,
    pub now: Stamp,
    pub space: Arc<Space>,
    pub fixed: Vec<(u64, Prefix, Uid)>,
    /// End of what an Accept allows, in seconds; `None` without Session-Timeout.
    pub session_timeout: Option<u64>,
    /// How long an Accept keeps others from its slot, in seconds.
    pub confirm_secs: u64,
    pub lease_secs: u64,
    pub max_slots: u8,
    /// Which blocks of pools this node may choose from.
    pub owns: fn(PoolId, u32) -> bool,
    /// Whether session ids tell when they were minted, as those of a server do.
    pub minted: bool,
    next_session: u64,
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Asker {
    pub holder: Holder,
    pub owner: Owner,
    pub nas: u64,
}

impl Asker {
    pub fn new(number: u64) -> Self {
        Self { holder: holder(number), owner: line(number), nas: 1 }
    }

    pub fn with_owner(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    pub fn at_nas(self, nas: u64) -> Self {
        Self { nas, ..self }
    }
}

impl Rig {
    pub fn new(pools: Vec<Pool>) -> Self {
        let mut rig = Self {
            ledger: Ledger::new(),
            journal: Journal::default(),
            pools: Vec::new(),
            now: T0,
            space: space(""),
            fixed: Vec::new(),
            session_timeout: None,
            confirm_secs: 120,
            lease_secs: 3_600,
            max_slots: 1,
            owns: |_, _| true,
            minted: false,
            next_session: 0,
        };
        rig.install(pools);
        rig
    }

    pub fn install(&mut self, pools: Vec<Pool>) {
        self.pools = pools.into_iter().map(Arc::new).collect();
        self.ledger.set_pools(self.pools.iter().map(AsRef::as_ref), &self.owns);
    }

    pub fn pass(&mut self, secs: u64) {
        self.now = self.now.plus_secs(secs);
    }

    /// Asks for what `wants` says, as a server would; nothing is submitted yet.
    pub fn ask(
        &mut self,
        asker: Asker,
        wants: &[Want<'_>],
        lease: Option<&LeaseFacts>,
        requested: Option<Prefix>,
    ) -> Result<Admission, Denied> {
        let session = if lease.is_none() { self.fresh() } else { SessionId::default() };
        self.request(asker, wants, lease, requested, session, Ledger::admit)
    }

    pub fn fresh(&mut self) -> SessionId {
        self.next_session += 1;
        if self.minted {
            return SessionId::mint(self.now, &SeededEntropy::new(self.next_session));
        }
        session(self.next_session)
    }

    fn request<T>(
        &self,
        asker: Asker,
        wants: &[Want<'_>],
        lease: Option<&LeaseFacts>,
        requested: Option<Prefix>,
        session: SessionId,
        call: impl FnOnce(&Ledger, &AdmitRequest<'_>) -> T,
    ) -> T {
        let fixed = |space: u64, prefix: Prefix| {
            self.fixed.iter().find(|known| (known.0, known.1) == (space, prefix)).map(|known| known.2)
        };
        let ends_at = match lease {
            Some(_) => self.now.plus_secs(self.lease_secs),
            None => self.session_timeout.map_or(Stamp::MAX, |secs| self.now.plus_secs(secs)),
        };
        let request = AdmitRequest {
            now: self.now,
            holder: asker.holder,
            space: &self.space,
            owner: asker.owner,
            line: b"ge-0/0/1:100",
            max_slots: self.max_slots,
            wants,
            nas: if lease.is_some() { NasId::default() } else { nas(asker.nas) },
            network: NetworkId::default(),
            session,
            pending_until: self.now.plus_secs(self.confirm_secs),
            ends_at,
            lease,
            requested,
            digest: 7,
            fixed_holder: &fixed,
        };
        call(&self.ledger, &request)
    }

    /// Submits what an admission asks for and commits it.
    pub fn commit(&mut self, admission: &Admission) {
        self.commit_records(&admission.wait_for);
        self.commit_records(&admission.write);
    }

    pub fn commit_records(&mut self, records: &[Record]) {
        for record in records {
            self.journal.commit(&self.ledger, record);
        }
    }

    /// An Accept with one IPv4 address from the pools, durable. Returns its session and address.
    pub fn login(&mut self, asker: Asker) -> Result<(SessionId, Prefix), Denied> {
        let pools = self.pools.clone();
        let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
        let admission = self.ask(asker, &wants, None, None)?;
        self.commit(&admission);
        Ok((admission.session, admission.addresses[0].prefix))
    }

    /// The request of a login decided again, some milliseconds later; nothing is submitted yet.
    pub fn ask_again(&mut self, asker: Asker, first: SessionId, later: u64) -> Result<Admission, Denied> {
        let pools = self.pools.clone();
        let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
        self.request(asker, &wants, None, None, minted_again(first, later, 1), Ledger::admit)
    }

    /// An Accept with a prefix assigned by name, durable.
    pub fn login_fixed(&mut self, asker: Asker, role: Role, fixed: Prefix) -> Result<SessionId, Denied> {
        let wants = [Want { role, source: WantSource::Fixed(fixed) }];
        let admission = self.ask(asker, &wants, None, None)?;
        self.commit(&admission);
        Ok(admission.session)
    }

    pub fn offer(&mut self, asker: Asker) -> Result<Offered, Denied> {
        let pools = self.pools.clone();
        let want = Want { role: Role::V4, source: WantSource::Pools(&pools) };
        let until = self.now.plus_secs(30);
        let lease = LeaseFacts::default();
        self.request(asker, &[], Some(&lease), None, SessionId::default(), |ledger, request| {
            ledger.offer(request, &want, until)
        })
    }

    /// A DHCPREQUEST, durable. Returns the address.
    pub fn lease(&mut self, asker: Asker, requested: Option<Prefix>) -> Result<Prefix, Denied> {
        let admission = self.ask_lease(asker, requested)?;
        self.commit(&admission);
        Ok(admission.addresses[0].prefix)
    }

    pub fn ask_lease(&mut self, asker: Asker, requested: Option<Prefix>) -> Result<Admission, Denied> {
        let pools = self.pools.clone();
        let wants = [Want { role: Role::V4, source: WantSource::Pools(&pools) }];
        self.ask(asker, &wants, Some(&LeaseFacts::default()), requested)
    }

    /// What an accounting event of a session does, nothing submitted yet.
    pub fn report(
        &mut self,
        asker: Asker,
        event: SessionEvent,
        class: Option<SessionId>,
        acct_session_id: &str,
        addresses: &[Prefix],
        session_time: u32,
    ) -> Accounted {
        let fresh = self.fresh();
        let addresses: Vec<_> = addresses.iter().map(|prefix| (Role::V4, *prefix)).collect();
        self.ledger.account(&AccountingFacts {
            now: self.now,
            event_at: self.now,
            event,
            class,
            fresh,
            nas: nas(asker.nas),
            acct_session_id: acct_session_id.as_bytes(),
            login: b"user",
            owner: asker.owner,
            line: b"ge-0/0/1:100",
            session_time,
            octets_in: u64::from(session_time) * 1_000,
            octets_out: u64::from(session_time) * 9_000,
            packets_in: 0,
            packets_out: 0,
            cause: 0,
            addresses: &addresses,
            holder: asker.holder,
            space: Arc::clone(&self.space),
        })
    }

    /// An accounting event, durable. Returns what it was taken for.
    pub fn account(
        &mut self,
        asker: Asker,
        event: SessionEvent,
        class: Option<SessionId>,
        addresses: &[Prefix],
        session_time: u32,
    ) -> Accounted {
        let id = class.map_or_else(|| "1".to_owned(), |class| format!("{class}"));
        let accounted = self.report(asker, event, class, &id, addresses, session_time);
        if let Accounted::Record { records, .. } = &accounted {
            self.commit_records(records);
        }
        accounted
    }

    pub fn start(&mut self, asker: Asker, class: SessionId, address: Prefix) -> Accounted {
        self.account(asker, SessionEvent::Start, Some(class), &[address], 0)
    }

    pub fn stop(&mut self, asker: Asker, class: SessionId) -> Accounted {
        self.account(asker, SessionEvent::Stop, Some(class), &[], 60)
    }

    /// Sweeps everything once; durable. Returns how many records that took.
    pub fn sweep(&mut self) -> usize {
        let mut swept = 0;
        for shard in 0..self.ledger.shard_count() {
            let records = self.ledger.sweep(shard, self.now, usize::MAX);
            swept += records.len();
            self.commit_records(&records);
        }
        swept
    }

    /// The live prefixes of a holder.
    pub fn live(&self, holder: Holder) -> Vec<Prefix> {
        let state = self.ledger.holder(holder).unwrap_or_default();
        let slots = state.slots.iter();
        slots
            .flat_map(|slot| slot.grants.iter().filter(|grant| grant.live))
            .map(|grant| grant.prefix)
            .collect()
    }

    /// Another process takes over with what the journal has.
    pub fn restart(&mut self, checkpoint: Option<&[u8]>) {
        let hold_until = self.now.plus_secs(self.lease_secs);
        let owns = self.owns;
        self.ledger = self.journal.rebuilt_with(&self.pools, checkpoint, &owns);
        self.journal.start(&self.ledger, self.now, hold_until);
    }

    pub fn check_conservation(&self) {
        for pool in &self.pools {
            check_counts(&self.ledger, pool, self.now);
        }
        assert_eq!(self.ledger.counters().conflicts.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

/// Grants of a pool whose ranges do not overlap.
pub fn size_of(pool: &Pool) -> u32 {
    let step = 128 - u32::from(pool.wide_len);
    pool.ranges.iter().map(|range| (((range.last.first() - range.first.first()) >> step) + 1) as u32).sum()
}

pub fn check_counts(ledger: &Ledger, pool: &Pool, now: Stamp) {
    let counts = ledger.pool(PoolId(pool.id)).unwrap().counts(now);
    let parts =
        [counts.free, counts.reserved, counts.held, counts.granted, counts.quarantined, counts.declined];
    let sum = parts.iter().sum::<u32>() + counts.assigned;
    assert_eq!(counts.size, size_of(pool), "{}: {counts:?}", pool.name);
    assert_eq!(sum, counts.size, "{}: {counts:?}", pool.name);
}
