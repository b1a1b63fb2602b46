//! What clients and NASes do: log in, lease, release, report.

use std::sync::Arc;

use lastmile::ids::{NetworkId, SessionId};
use lastmile::journal::record::{LeaseFacts, Record, ReleaseReason, Role, SessionEvent};
use lastmile::ledger::{Accounted, AccountingFacts, AdmitRequest, Want, WantSource};
use lastmile::model::Prefix;
use lastmile::time::Stamp;

use crate::rig::{minted_again, nas, prefix, session, uid};
use crate::trace::{brief, clock, name, spoken};
use crate::truth::{Leased, Online};
use crate::world::{Client, Event, Then, World};

impl World {
    pub fn login(&mut self, client: usize) {
        let known = self.clients[client].clone();
        let asked = known
            .asked
            .filter(|(_, _, at)| self.resends && self.now.since(*at) < 30_000 && self.random.chance(30));
        let (id, nas_number) = if let Some((first, nas_number, at)) = asked {
            (minted_again(first, self.now.since(at), self.random.next()), nas_number)
        } else {
            self.dial(client)
        };
        let unlimited = self.random.chance(50);
        let until =
            if unlimited { Stamp::MAX } else { self.now.plus_secs(300 + self.random.below(6_900) as u64) };
        let v4: Vec<_> = known
            .pools
            .iter()
            .filter_map(|index| {
                self.pools.iter().find(|pool| pool.id == uid(0xb000 + *index as u64)).cloned()
            })
            .collect();
        let delegated: Vec<_> = self.pools.iter().filter(|pool| pool.id == uid(0xb003)).cloned().collect();
        let mut wants = vec![Want {
            role: Role::V4,
            source: known.fixed.map_or(WantSource::Pools(&v4), WantSource::Fixed),
        }];
        if known.delegated {
            wants.push(Want { role: Role::Delegated, source: WantSource::Pools(&delegated) });
        }
        wants.extend(
            known.routed.iter().map(|prefix| Want { role: Role::Routed, source: WantSource::Fixed(*prefix) }),
        );
        let answer = self.admit(&known, &wants, id, nas_number, until, None, None);
        let Ok(admission) = answer else {
            self.say(|| format!("login {client} {answer:?}"));
            self.stats.denied += 1;
            return;
        };
        self.say(|| format!("login {client} {} until {}: {}", name(id), clock(until), spoken(&admission)));
        self.stats.again += u64::from(asked.is_some_and(|(first, _, _)| first == admission.session));
        let online = Online {
            session: admission.session,
            nas: nas_number,
            slot: admission.slot,
            prefixes: admission.addresses.iter().map(|granted| granted.prefix).collect(),
            unsure: Vec::new(),
            until,
            since: self.now,
        };
        let then = Then::Login { client, attempt: self.clients[client].attempt, online };
        self.answer(admission.wait_for, admission.write, then);
    }

    /// A new request: the line's old session is over.
    fn dial(&mut self, client: usize) -> (SessionId, u64) {
        self.sessions += 1;
        let id = session(self.sessions);
        let nas_number = 1 + self.random.below(2) as u64;
        let client = &mut self.clients[client];
        client.online = None;
        client.attempt += 1;
        client.dialled = Some((id, self.now));
        client.asked = Some((id, nas_number, self.now));
        (id, nas_number)
    }

    pub fn answer(&mut self, mut wait_for: Vec<Record>, write: Vec<Record>, then: Then) {
        let refused = self.random.chance(4);
        if refused && (self.random.chance(50) || !wait_for.is_empty()) {
            self.say(|| "not answered".to_owned());
            self.ledger.abort(&wait_for);
            self.ledger.abort(&write);
        } else if wait_for.is_empty() {
            self.tell(then);
            if refused {
                self.say(|| "answered, journal refused".to_owned());
                self.ledger.hold(&write, self.now.plus_secs(86_400));
            } else {
                self.submit(write, false, Then::Nothing);
            }
        } else {
            let mut records = write;
            records.append(&mut wait_for);
            self.submit(records, true, then);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "everything a request varies in")]
    pub fn admit(
        &mut self,
        client: &Client,
        wants: &[Want<'_>],
        session: SessionId,
        nas_number: u64,
        ends_at: Stamp,
        lease: Option<&LeaseFacts>,
        requested: Option<Prefix>,
    ) -> Result<lastmile::ledger::Admission, lastmile::ledger::Denied> {
        let proven = ends_at == Stamp::MAX;
        let pending_until = if proven { self.now.plus_secs(120) } else { ends_at };
        let request =
            self.request(client, wants, session, nas_number, (pending_until, ends_at), lease, requested);
        let fixed = |space: u64, prefix: Prefix| {
            self.fixed.iter().find(|known| (known.0, known.1) == (space, prefix)).map(|known| known.2)
        };
        self.ledger.admit(&AdmitRequest { fixed_holder: &fixed, ..request })
    }

    #[expect(clippy::too_many_arguments, reason = "everything a request varies in")]
    pub fn request<'a>(
        &self,
        client: &'a Client,
        wants: &'a [Want<'a>],
        session: SessionId,
        nas_number: u64,
        (pending_until, ends_at): (Stamp, Stamp),
        lease: Option<&'a LeaseFacts>,
        requested: Option<Prefix>,
    ) -> AdmitRequest<'a> {
        AdmitRequest {
            now: self.now,
            holder: client.holder,
            space: &client.space,
            owner: client.owner,
            line: b"",
            max_slots: client.limit,
            wants,
            nas: if lease.is_some() { lastmile::ids::NasId::default() } else { nas(nas_number) },
            network: NetworkId::default(),
            session,
            pending_until,
            ends_at,
            lease,
            requested,
            digest: 1 + self.now.0 % 7,
            fixed_holder: &|_, _| None,
        }
    }

    pub fn dhcp(&mut self, client: usize) {
        let known = self.clients[client].clone();
        let v4: Vec<_> = known
            .pools
            .iter()
            .filter_map(|index| {
                self.pools.iter().find(|pool| pool.id == uid(0xb000 + *index as u64)).cloned()
            })
            .collect();
        let want =
            Want { role: Role::V4, source: known.fixed.map_or(WantSource::Pools(&v4), WantSource::Fixed) };
        let lease = LeaseFacts { giaddr: client as u32, ..LeaseFacts::default() };
        if self.random.chance(40) {
            let until = self.now.plus_secs(30);
            let request =
                self.request(&known, &[], SessionId::default(), 0, (self.now, self.now), Some(&lease), None);
            let fixed = |space: u64, prefix: Prefix| {
                self.fixed.iter().find(|known| (known.0, known.1) == (space, prefix)).map(|known| known.2)
            };
            let offered = self.ledger.offer(&AdmitRequest { fixed_holder: &fixed, ..request }, &want, until);
            self.say(|| format!("offer {client} {offered:?}"));
            if let Ok(offered) = offered
                && self.random.chance(30)
            {
                self.ledger.withdraw_offer(known.holder, offered.prefix);
                self.say(|| format!("withdraw {client}"));
            }
            return;
        }
        let requested = match &known.leased {
            Some(leased) => Some(leased.prefix),
            None => self.random.chance(30).then(|| prefix(&format!("10.0.0.{}", 1 + self.random.below(8)))),
        };
        let ends_at = self.now.plus_secs(600 + self.random.below(3_000) as u64);
        let answer = self.admit(&known, &[want], SessionId::default(), 0, ends_at, Some(&lease), requested);
        let Ok(admission) = answer else {
            self.say(|| format!("request {client} {answer:?}"));
            self.stats.denied += 1;
            return;
        };
        self.say(|| format!("request {client} until {}: {}", clock(ends_at), spoken(&admission)));
        self.clients[client].attempt += 1;
        let leased = Leased { prefix: admission.addresses[0].prefix, slot: admission.slot, until: ends_at };
        let then = Then::Lease { client, attempt: self.clients[client].attempt, leased };
        self.answer(admission.wait_for, admission.write, then);
    }

    pub fn give_up(&mut self, client: usize) {
        let known = self.clients[client].clone();
        // A server takes a DHCPRELEASE only from the client that the lease names, and it names one that has ended to none.
        let Some(leased) = known.leased.filter(|leased| leased.until > self.now) else { return };
        let online = self.clients.iter().filter(|other| other.holder == known.holder);
        let coming = self.journal.queue.iter().filter_map(|submission| match &submission.then {
            Then::Login { client, online, .. } if self.clients[*client].holder == known.holder => {
                Some(online)
            }
            _ => None,
        });
        let used = online
            .filter_map(|other| other.online.as_ref())
            .chain(coming)
            .any(|online| online.all().contains(&leased.prefix));
        let reason =
            if self.random.chance(25) && !used { ReleaseReason::Declined } else { ReleaseReason::Released };
        self.clients[client].leased = None;
        let record = self.ledger.release(known.holder, &known.space, leased.prefix, reason, self.now);
        let records: Vec<Record> = record.into_iter().collect();
        self.say(|| format!("release {client} {reason:?} {}", brief(&records)));
        self.submit(records, false, Then::Nothing);
    }

    pub fn account(&mut self, client: usize) {
        let Some(online) = self.clients[client].online.clone() else { return };
        let event = match self.random.below(5) {
            0 | 1 => SessionEvent::Start,
            2 => SessionEvent::Interim,
            _ => SessionEvent::Stop,
        };
        let age = (self.now.since(online.since) / 1_000) as u32;
        if event == SessionEvent::Stop {
            self.clients[client].online = None;
            self.clients[client].asked = None;
        }
        let named = self.random.chance(70);
        let event = Event {
            client,
            kind: event,
            session: online.session,
            with_class: self.random.chance(85),
            nas: online.nas,
            addresses: if named { online.all() } else { Vec::new() },
            session_time: if event == SessionEvent::Start { 0 } else { age },
            at: self.now,
        };
        if self.random.chance(90) {
            self.report(&event);
        }
        self.events.push(event);
    }

    /// Something sent before arrives again, or for the first time.
    pub fn report_again(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let recent = self.events.len().saturating_sub(20);
        let index = recent + self.random.below(self.events.len() - recent);
        let event = self.events[index].clone();
        if self.now.since(event.at) < 3_600_000 {
            self.report(&event);
        }
    }

    pub fn report(&mut self, event: &Event) {
        self.sessions += 1;
        let client = &self.clients[event.client];
        let addresses: Vec<_> = event.addresses.iter().map(|prefix| (Role::V4, *prefix)).collect();
        let id = format!("{:?}", event.session);
        // Without Class, events of two sessions that follow each other within a second cannot be told apart.
        let ambiguous = client
            .dialled
            .is_some_and(|(session, at)| session != event.session && at.since(event.at) <= 1_000);
        let with_class = event.with_class || ambiguous;
        let accounted = self.ledger.account(&AccountingFacts {
            now: self.now,
            event_at: event.at,
            event: event.kind,
            class: with_class.then_some(event.session),
            fresh: session(self.sessions),
            nas: nas(event.nas),
            acct_session_id: id.as_bytes(),
            login: b"user",
            owner: client.owner,
            line: b"",
            session_time: event.session_time,
            octets_in: u64::from(event.session_time) * 10,
            octets_out: u64::from(event.session_time) * 90,
            packets_in: 0,
            packets_out: 0,
            cause: 0,
            addresses: &addresses,
            holder: client.holder,
            space: Arc::clone(&client.space),
        });
        self.say(|| {
            let outcome = match &accounted {
                Accounted::Record { records, known, conflict } => {
                    format!("{known:?} {conflict:?} {}", brief(records))
                }
                other => format!("{other:?}"),
            };
            let Event { client, kind, session, addresses, session_time, at, .. } = event;
            let (session, at) = (name(*session), clock(*at));
            let what =
                format!("{kind:?} {session} class {with_class} {addresses:?} after {session_time} at {at}");
            format!("account {client} {what}: {outcome}")
        });
        if let Accounted::Record { records, conflict, .. } = accounted {
            self.stats.conflicts_reported += u64::from(conflict.is_some());
            if self.random.chance(4) {
                self.say(|| "not answered".to_owned());
                self.ledger.abort(&records);
            } else {
                self.submit(records, true, Then::Nothing);
            }
        }
    }
}
