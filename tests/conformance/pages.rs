//! Lists compared with a plain filter over everything that was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use lastmile::ids::{Entropy, SeededEntropy, ServiceId, SessionId, Uid};
use lastmile::model::observed::{BindingAction, BindingRow, GrantRow, ObservedBatch, SessionRow};
use lastmile::model::{Kind, Mac, Prefix};
use lastmile::storage::{Filter, ObservedFilter, Storage, Write};
use lastmile::time::Stamp;

use super::values::{NOON, OTHER, TENANT, binding, change, create, delete, grant, object, session};

struct Dice(SeededEntropy);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        self.0.u64() % sides
    }

    fn prefix(&self) -> Prefix {
        let texts = [
            "10.0.0.0/8",
            "10.0.0.0/24",
            "10.0.0.0",
            "10.0.0.1",
            "10.0.0.128/25",
            "10.0.1.0/24",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8::/56",
            "2001:db8:0:100::/56",
            "2001:db8::",
            "2001:db8::1",
            "::/0",
        ];
        texts[self.roll(texts.len() as u64) as usize].parse().unwrap()
    }
}

/// Plans 1 to 3 and services that refer to them.
fn services(dice: &Dice) -> Vec<Write> {
    let mut writes: Vec<Write> = (1..=3).map(|id| create(object(Kind::Plan, id))).collect();
    for id in 100..180 {
        let mut write = create(object(Kind::Service, id));
        let envelope = &mut write.object.envelope;
        envelope.source = match dice.roll(3) {
            0 => None,
            1 => Some("crm".to_owned()),
            _ => Some("netdefs".to_owned()),
        };
        envelope.external_id = (dice.roll(4) > 0).then(|| format!("S-{id}"));
        for label in ["a", "b"] {
            envelope.labels.insert(label.to_owned(), dice.roll(2).to_string());
        }
        write.refs = vec![(Kind::Plan, Uid(u128::from(dice.roll(3)) + 1))];
        writes.push(write);
    }
    writes
}

fn list_filter(dice: &Dice) -> Filter {
    let maybe = |value: String| (dice.roll(2) == 0).then_some(value);
    let mut labels = BTreeMap::new();
    for label in ["a", "b"] {
        labels.extend(maybe(dice.roll(2).to_string()).map(|value| (label.to_owned(), value)));
    }
    Filter {
        source: maybe("crm".to_owned()),
        external_id: (dice.roll(6) == 0).then(|| format!("S-{}", 100 + dice.roll(80))),
        refers_to: (dice.roll(2) == 0).then(|| Uid(u128::from(dice.roll(4)) + 1)),
        labels,
    }
}

fn lists(filter: &Filter, write: &Write) -> bool {
    let envelope = &write.object.envelope;
    envelope.kind == Kind::Service
        && filter.source.as_ref().is_none_or(|source| envelope.source.as_ref() == Some(source))
        && filter.external_id.as_ref().is_none_or(|id| envelope.external_id.as_ref() == Some(id))
        && filter.refers_to.is_none_or(|to| write.refs.contains(&(Kind::Plan, to)))
        && filter.labels.iter().all(|(name, value)| envelope.labels.get(name) == Some(value))
}

pub(crate) async fn lists_page_through_exactly_what_the_filter_admits(storage: Arc<dyn Storage>) {
    let dice = Dice(SeededEntropy::new(1));
    let writes = services(&dice);
    storage.commit(change(writes.clone())).await.unwrap();
    let gone: Vec<Write> = writes[3..].iter().step_by(9).map(delete).collect();
    let seq = storage.commit(change(gone.clone())).await.unwrap();
    let gone: Vec<Uid> = gone.iter().map(|write| write.object.envelope.id).collect();
    for _ in 0..60 {
        let filter = list_filter(&dice);
        let expected: Vec<Uid> = writes
            .iter()
            .filter(|write| lists(&filter, write))
            .map(|write| write.object.envelope.id)
            .filter(|id| !gone.contains(id))
            .collect();
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = storage.list(TENANT, Kind::Service, filter.clone(), after, 7).await.unwrap();
            assert!(page.items.len() <= 7 && page.as_of_seq == seq);
            found.extend(page.items.iter().map(|object| object.envelope.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    }
    let wrong = storage.list(TENANT, Kind::Service, Filter::default(), Some("?".to_owned()), 7).await;
    assert!(wrong.unwrap_err().to_string().contains("page key"));
}

pub(crate) async fn the_bulk_read_yields_every_living_object_of_all_tenants_once(storage: Arc<dyn Storage>) {
    let writes: Vec<Write> = (1..=2_500)
        .map(|id| {
            let mut write = create(object(Kind::Service, id));
            write.object.envelope.tenant = if id % 2 == 0 { TENANT } else { OTHER };
            write
        })
        .collect();
    storage.commit(change(writes.clone())).await.unwrap();
    storage.commit(change([delete(&writes[9]), create(object(Kind::Plan, 7))])).await.unwrap();
    let expected: Vec<u128> = (1..=2_500).filter(|id| *id != 10).collect();
    for limit in [1_000, 1_024, 5_000] {
        let mut found: Vec<u128> = Vec::new();
        loop {
            let after = Uid(found.last().copied().unwrap_or_default());
            let slice = storage.scan(Kind::Service, after, limit).await.unwrap();
            found.extend(slice.iter().map(|object| object.envelope.id.0));
            if slice.len() < limit {
                break;
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
}

/// Random rows around few values, so that filters meet.
struct World {
    sessions: Vec<SessionRow>,
    grants: Vec<GrantRow>,
    bindings: Vec<BindingRow>,
}

fn world(dice: &Dice) -> World {
    let mac = || (dice.roll(2) == 0).then(|| Mac([2, 0, 0, 0, 0, dice.roll(3) as u8]));
    let service = || ServiceId(Uid(u128::from(dice.roll(3))));
    let sessions = (1..=120).map(|n| SessionRow {
        tenant: if n % 10 == 0 { OTHER } else { TENANT },
        service: service(),
        mac: mac(),
        addresses: (0..dice.roll(3)).map(|_| dice.prefix()).collect(),
        state: ["live", "closing", "closed"][dice.roll(3) as usize].to_owned(),
        started_at: Stamp(NOON + dice.roll(20)),
        updated_at: Stamp(NOON + dice.roll(20)),
        ..session(u128::from(n), n)
    });
    let sessions = sessions.collect();
    let mut grants = BTreeMap::new();
    for n in 1..=60 {
        let row = GrantRow {
            prefix: dice.prefix(),
            vrf: ["", "a.b", "Ż"][dice.roll(3) as usize].to_owned(),
            service: service(),
            mac: mac(),
            state: ["granted", "held"][dice.roll(2) as usize].to_owned(),
            since: Stamp(NOON + dice.roll(20)),
            ..grant("10.0.0.1", n)
        };
        grants.insert((row.prefix, row.vrf.clone()), row);
    }
    let bindings = (1..=150).map(|n| BindingRow {
        tenant: if n % 10 == 0 { OTHER } else { TENANT },
        at: Stamp(NOON + dice.roll(20)),
        node: 1 + dice.roll(2) as u16,
        prefix: dice.prefix(),
        service: service(),
        mac: mac(),
        action: [BindingAction::Open, BindingAction::Change, BindingAction::Close][dice.roll(3) as usize],
        ..binding("10.0.0.1", n)
    });
    World { sessions, grants: grants.into_values().collect(), bindings: bindings.collect() }
}

fn filter(dice: &Dice, states: [&str; 3]) -> ObservedFilter {
    ObservedFilter {
        service: (dice.roll(3) == 0).then(|| ServiceId(Uid(u128::from(dice.roll(3))))),
        mac: (dice.roll(3) == 0).then(|| Mac([2, 0, 0, 0, 0, dice.roll(3) as u8])),
        prefix: (dice.roll(2) == 0).then(|| dice.prefix()),
        state: (dice.roll(3) == 0).then(|| states[dice.roll(3) as usize].to_owned()),
        from: (dice.roll(3) == 0).then(|| Stamp(NOON + dice.roll(20))),
        to: (dice.roll(3) == 0).then(|| Stamp(NOON + dice.roll(20))),
    }
}

fn admits(
    filter: &ObservedFilter,
    service: ServiceId,
    mac: Option<Mac>,
    prefixes: &[Prefix],
    state: &str,
    time: Stamp,
) -> bool {
    filter.service.is_none_or(|wanted| wanted == service)
        && filter.mac.is_none_or(|wanted| Some(wanted) == mac)
        && filter.prefix.is_none_or(|wanted| prefixes.iter().any(|prefix| wanted.overlaps(*prefix)))
        && filter.state.as_ref().is_none_or(|wanted| wanted == state)
        && filter.from.is_none_or(|from| time >= from)
        && filter.to.is_none_or(|to| time < to)
}

/// Reads page after page with `$verb` and evaluates to all rows.
macro_rules! all_pages {
    ($storage:expr, $verb:ident, $filter:expr) => {{
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = $storage.$verb(TENANT, $filter.clone(), after, 7).await.unwrap();
            assert!(page.items.len() <= 7);
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break found;
            }
        }
    }};
}

pub(crate) async fn observed_pages_show_exactly_what_the_filter_admits(storage: Arc<dyn Storage>) {
    let dice = Dice(SeededEntropy::new(2));
    let mut world = world(&dice);
    let batch = ObservedBatch {
        node: 1,
        after: 0,
        through: 1_000,
        bindings: world.bindings.clone(),
        sessions: world.sessions.clone(),
        grants: world.grants.clone(),
    };
    storage.apply_observed(batch).await.unwrap();
    world.sessions.sort_by_key(|row| std::cmp::Reverse((row.started_at, row.id)));
    world.grants.sort_by(|a, b| (a.prefix, &a.vrf).cmp(&(b.prefix, &b.vrf)));
    world.bindings.sort_by_key(|row| (row.at, row.node, row.sequence, row.part));
    for _ in 0..80 {
        compare_pages(&*storage, &dice, &world).await;
    }
}

/// Asks for each table with a filter of its own.
async fn compare_pages(storage: &dyn Storage, dice: &Dice, world: &World) {
    let wanted = filter(dice, ["live", "closing", "closed"]);
    let expected: Vec<SessionId> = world
        .sessions
        .iter()
        .filter(|row| row.tenant == TENANT)
        .filter(|row| admits(&wanted, row.service, row.mac, &row.addresses, &row.state, row.updated_at))
        .map(|row| row.id)
        .collect();
    let found = all_pages!(storage, sessions, wanted);
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{wanted:?}");

    let wanted = filter(dice, ["granted", "held", "quarantined"]);
    let mut expected = world.grants.clone();
    expected.retain(|row| admits(&wanted, row.service, row.mac, &[row.prefix], &row.state, row.since));
    assert_eq!(all_pages!(storage, grants, wanted), expected, "{wanted:?}");

    let wanted = filter(dice, ["open", "change", "close"]);
    let mut expected = world.bindings.clone();
    expected.retain(|row| {
        let action = row.action.name();
        row.tenant == TENANT && admits(&wanted, row.service, row.mac, &[row.prefix], action, row.at)
    });
    assert_eq!(all_pages!(storage, bindings, wanted), expected, "{wanted:?}");
}

pub(crate) async fn a_page_key_that_was_never_given_out_is_refused(storage: Arc<dyn Storage>) {
    for wrong in ["", "x", "1.2", "1.2.3.x", "9.9.9.9.9"] {
        let nothing = ObservedFilter::default;
        let after = Some(wrong.to_owned());
        assert!(storage.sessions(TENANT, nothing(), after.clone(), 7).await.is_err(), "{wrong}");
        assert!(storage.grants(TENANT, nothing(), after.clone(), 7).await.is_err(), "{wrong}");
        assert!(storage.bindings(TENANT, nothing(), after, 7).await.is_err(), "{wrong}");
    }
}
