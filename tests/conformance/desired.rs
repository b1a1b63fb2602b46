//! Committing and reading desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lastmile::ids::{TenantId, Uid};
use lastmile::model::Kind;
use lastmile::storage::{EventRow, Filter, Lookup, Storage, StorageError, StoredObject, Write};
use lastmile::time::Stamp;

use super::values::{NOON, OTHER, TENANT, change, create, delete, object, update};

fn named(kind: Kind, id: u128, source: Option<&str>, external_id: &str) -> Write {
    let mut object = object(kind, id);
    object.envelope.source = source.map(str::to_owned);
    object.envelope.external_id = Some(external_id.to_owned());
    create(object)
}

async fn by_id(storage: &dyn Storage, tenant: TenantId, kind: Kind, id: u128) -> Vec<StoredObject> {
    storage.find(tenant, kind, Lookup::Id(Uid(id))).await.unwrap()
}

pub(crate) async fn an_object_reads_back_as_written_by_every_lookup(storage: Arc<dyn Storage>) {
    let mut write = named(Kind::Access, u128::MAX - 1, Some("crm"), "C-17 \"żółć\" \\ {}");
    let object = &mut write.object;
    object.envelope.generation = 1;
    object.envelope.source_version = Some(i64::MIN);
    object.envelope.labels = BTreeMap::from([("city".to_owned(), "Łódź".to_owned())]);
    object.envelope.annotations = BTreeMap::from([("note".to_owned(), "a\u{1}\n\"b".to_owned())]);
    object.spec_json = String::from(r#"{ "login": "jan", "n": [1,2 ] , "u": "\u0000" }"#);
    object.sealed = Some((0..=255).collect());
    let mut bare = named(Kind::Access, 1, None, "C-18");
    bare.object.sealed = Some(Vec::new());
    let seq = storage.commit(change([write.clone(), bare.clone()])).await.unwrap();
    assert_eq!(seq, 1);
    assert_eq!(storage.seq().await.unwrap(), 1);
    for written in [&mut write, &mut bare] {
        written.object.envelope.seq = seq;
        let envelope = &written.object.envelope;
        let id = envelope.external_id.clone().unwrap();
        let lookups = [
            Lookup::Id(envelope.id),
            Lookup::External { source: envelope.source.clone(), id: id.clone() },
            Lookup::AnySource { id },
        ];
        for lookup in lookups {
            let found = storage.find(TENANT, Kind::Access, lookup.clone()).await.unwrap();
            assert_eq!(found, std::slice::from_ref(&written.object), "{lookup:?}");
            assert_eq!(storage.find(OTHER, Kind::Access, lookup.clone()).await.unwrap(), []);
            assert_eq!(storage.find(TENANT, Kind::Plan, lookup).await.unwrap(), []);
        }
    }
    let wrong = Lookup::External { source: None, id: "C-17".to_owned() };
    assert_eq!(storage.find(TENANT, Kind::Access, wrong).await.unwrap(), []);
}

pub(crate) async fn an_external_id_is_unique_per_tenant_source_and_kind_among_the_living(
    storage: Arc<dyn Storage>,
) {
    let first = named(Kind::Plan, 1, None, "a");
    let mut elsewhere = named(Kind::Plan, 2, None, "a");
    elsewhere.object.envelope.tenant = OTHER;
    let writes =
        [first.clone(), named(Kind::Plan, 3, Some("crm"), "a"), named(Kind::Nas, 4, None, "a"), elsewhere];
    storage.commit(change(writes)).await.unwrap();
    let any = Lookup::AnySource { id: "a".to_owned() };
    let found = storage.find(TENANT, Kind::Plan, any).await.unwrap();
    let ids: Vec<Uid> = found.iter().map(|object| object.envelope.id).collect();
    assert_eq!(ids, [Uid(1), Uid(3)]);
    let taken = storage.commit(change([named(Kind::Plan, 5, None, "a")])).await.unwrap_err();
    let StorageError::ExternalIdTaken { external_id, holder } = taken else { panic!("{taken:?}") };
    assert_eq!((external_id.as_str(), holder), ("a", Kind::Plan.format_id(Uid(1))));
    let twins = [named(Kind::Plan, 6, None, "b"), named(Kind::Plan, 7, None, "b")];
    let twins = storage.commit(change(twins)).await.unwrap_err();
    assert!(matches!(twins, StorageError::ExternalIdTaken { .. }), "{twins:?}");
    let replaced = [delete(&first), named(Kind::Plan, 5, None, "a")];
    storage.commit(change(replaced)).await.unwrap();
    assert_eq!(by_id(&*storage, TENANT, Kind::Plan, 1).await, []);
    assert_eq!(by_id(&*storage, TENANT, Kind::Plan, 5).await.len(), 1);
}

pub(crate) async fn a_writer_that_saw_another_generation_gets_a_conflict(storage: Arc<dyn Storage>) {
    let first = create(object(Kind::Plan, 1));
    storage.commit(change([first.clone()])).await.unwrap();
    let conflict = async |write: Write| match storage.commit(change([write])).await {
        Err(StorageError::Conflict { id, expected, actual }) => {
            assert!(id.starts_with("pln_"));
            (expected, actual)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(conflict(first.clone()).await, (0, 1));
    let second = update(&first);
    storage.commit(change([second.clone()])).await.unwrap();
    assert_eq!(conflict(update(&first)).await, (1, 2));
    assert_eq!(conflict(update(&create(object(Kind::Plan, 9)))).await, (1, 0));
    let mut foreign = update(&second);
    foreign.object.envelope.tenant = OTHER;
    assert_eq!(conflict(foreign).await, (2, 0));
    let twice = change([update(&second), update(&second)]);
    assert!(matches!(storage.commit(twice).await, Err(StorageError::Conflict { .. })));
    assert_eq!(by_id(&*storage, TENANT, Kind::Plan, 1).await[0].envelope.generation, 2);
}

pub(crate) async fn a_unique_key_has_one_living_holder_and_can_change_hands_within_a_change(
    storage: Arc<dyn Storage>,
) {
    let keyed = |id, key: &str| {
        let mut write = create(object(Kind::Access, id));
        write.unique_keys = vec![key.to_owned(), key.to_owned()];
        write
    };
    let (a, b) = (keyed(1, "login jan"), keyed(2, "login ewa"));
    storage.commit(change([a.clone(), b.clone()])).await.unwrap();
    let taken = storage.commit(change([keyed(3, "login jan")])).await.unwrap_err();
    let StorageError::KeyTaken { key, holder } = taken else { panic!("{taken:?}") };
    assert_eq!((key.as_str(), holder), ("login jan", Kind::Access.format_id(Uid(1))));
    let twins = storage.commit(change([keyed(4, "x"), keyed(5, "x")])).await;
    assert!(matches!(twins, Err(StorageError::KeyTaken { .. })), "{twins:?}");
    let mut elsewhere = keyed(3, "login jan");
    elsewhere.object.envelope.tenant = OTHER;
    storage.commit(change([elsewhere])).await.unwrap();
    let (mut a, mut b) = (update(&a), update(&b));
    std::mem::swap(&mut a.unique_keys, &mut b.unique_keys);
    storage.commit(change([a.clone(), b.clone()])).await.unwrap();
    storage.commit(change([delete(&b), keyed(6, "login jan")])).await.unwrap();
    let still = storage.commit(change([keyed(7, "login ewa")])).await;
    assert!(matches!(still, Err(StorageError::KeyTaken { .. })), "{still:?}");
}

pub(crate) async fn a_reference_needs_a_living_object_and_holds_off_its_deletion(storage: Arc<dyn Storage>) {
    let plan = create(object(Kind::Plan, 1));
    let service = |id| {
        let mut write = create(object(Kind::Service, id));
        write.refs = vec![(Kind::Plan, Uid(1))];
        write
    };
    let dangling = storage.commit(change([service(100)])).await.unwrap_err();
    let StorageError::DanglingReference { from, to } = dangling else { panic!("{dangling:?}") };
    assert_eq!((from, to), (Kind::Service.format_id(Uid(100)), Kind::Plan.format_id(Uid(1))));
    let mut writes: Vec<Write> = (100..112).map(service).collect();
    writes.push(plan.clone());
    storage.commit(change(writes.clone())).await.unwrap();
    let mut foreign = service(200);
    foreign.object.envelope.tenant = OTHER;
    let foreign = storage.commit(change([foreign])).await;
    assert!(matches!(foreign, Err(StorageError::DanglingReference { .. })), "{foreign:?}");
    let used = storage.commit(change([delete(&plan)])).await.unwrap_err();
    let StorageError::InUse { id, referrers } = used else { panic!("{used:?}") };
    assert_eq!(id, Kind::Plan.format_id(Uid(1)));
    let expected: Vec<String> = (100..110).map(|id| Kind::Service.format_id(Uid(id))).collect();
    assert_eq!(referrers, expected);
    // A reference that is given up, and referrers that go in the same change, hold nothing off.
    let mut freed = update(&writes[0]);
    freed.refs.clear();
    let mut last: Vec<Write> = writes[1..12].iter().map(delete).collect();
    last.extend([delete(&plan), freed]);
    storage.commit(change(last)).await.unwrap();
    let late = storage.commit(change([service(300)])).await;
    assert!(matches!(late, Err(StorageError::DanglingReference { .. })), "{late:?}");
}

pub(crate) async fn a_refused_change_leaves_nothing_behind(storage: Arc<dyn Storage>) {
    let mut dangling = create(object(Kind::Service, 2));
    dangling.refs = vec![(Kind::Plan, Uid(9))];
    storage.commit(change([create(object(Kind::Plan, 1)), dangling])).await.unwrap_err();
    assert_eq!(storage.seq().await.unwrap(), 0);
    assert_eq!(by_id(&*storage, TENANT, Kind::Plan, 1).await, []);
    assert_eq!(storage.changes_since(0, 10).await.unwrap(), (Vec::new(), 0));
    assert_eq!(storage.events(TENANT, 0, 10).await.unwrap(), []);
    assert_eq!(storage.commit(change([])).await.unwrap(), 0);
    assert_eq!(storage.commit(change([create(object(Kind::Plan, 1))])).await.unwrap(), 1);
}

pub(crate) async fn catching_up_never_splits_a_commit(storage: Arc<dyn Storage>) {
    let writes: Vec<Write> = (0..6).map(|id| create(object(Kind::Plan, id))).collect();
    storage.commit(change(&writes[..3])).await.unwrap();
    storage.commit(change(&writes[3..5])).await.unwrap();
    storage.commit(change(&writes[5..])).await.unwrap();
    let seen = async |seq, limit| {
        let (objects, through) = storage.changes_since(seq, limit).await.unwrap();
        let ids: Vec<u128> = objects.iter().map(|object| object.envelope.id.0).collect();
        (ids, through)
    };
    assert_eq!(seen(0, 1).await, (vec![0, 1, 2], 1));
    assert_eq!(seen(0, 4).await, (vec![0, 1, 2], 1));
    assert_eq!(seen(0, 5).await, (vec![0, 1, 2, 3, 4], 2));
    assert_eq!(seen(0, 6).await, (vec![0, 1, 2, 3, 4, 5], 3));
    assert_eq!(seen(1, 2).await, (vec![3, 4], 2));
    assert_eq!(seen(3, 2).await, (vec![], 3));
    storage.commit(change([delete(&writes[1])])).await.unwrap();
    // An after-image stands at the newest commit that touched it.
    assert_eq!(seen(0, 2).await, (vec![0, 2], 1));
    assert_eq!(seen(3, 2).await, (vec![1], 4));
    let (objects, _) = storage.changes_since(3, 2).await.unwrap();
    assert_eq!(objects[0].envelope.deleted_at, Some(Stamp(NOON + 1)));
    let events = storage.events(TENANT, 0, 4).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 1, 1]);
    let last = storage.events(TENANT, 3, 10).await.unwrap();
    let expected = EventRow {
        seq: 4,
        at: Stamp(NOON),
        tenant: TENANT,
        kind: Kind::Plan,
        object: Uid(1),
        action: "deleted".to_owned(),
        actor: "test".to_owned(),
        request: "req_1".to_owned(),
    };
    assert_eq!(last, [expected]);
    assert_eq!(storage.events(OTHER, 0, 10).await.unwrap(), []);
}

pub(crate) async fn a_reader_catching_up_beside_many_writers_misses_nothing(storage: Arc<dyn Storage>) {
    const WRITERS: u128 = 6;
    const COMMITS: u128 = 20;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let storage = Arc::clone(&storage);
        writers.spawn(async move {
            let mut seqs = BTreeMap::new();
            for commit in 0..COMMITS {
                let id = (writer * COMMITS + commit) * 2 + 1;
                // Changes of unlike size take unlike time between their first and last statement.
                let pair = [create(object(Kind::Plan, id)), create(object(Kind::Plan, id + 1))];
                let more = (0..writer * 10).map(|extra| create(object(Kind::Nas, id * 1000 + extra)));
                let writes: Vec<Write> = pair.into_iter().chain(more).collect();
                seqs.insert(storage.commit(change(writes)).await.unwrap(), id);
            }
            seqs
        });
    }
    let mut position = 0;
    let mut seen: BTreeMap<u64, BTreeSet<u128>> = BTreeMap::new();
    let mut committed = BTreeMap::new();
    loop {
        // Asked before reading: what these writers committed must then be there.
        let finished = writers.is_empty();
        let (objects, through) = storage.changes_since(position, 40).await.unwrap();
        for object in objects.iter().filter(|object| object.envelope.kind == Kind::Plan) {
            assert!(object.envelope.seq > position && object.envelope.seq <= through);
            seen.entry(object.envelope.seq).or_default().insert(object.envelope.id.0);
        }
        if through == position {
            if finished {
                break;
            }
            storage.changed(Duration::from_secs(1)).await.unwrap();
        }
        position = through;
        while let Some(seqs) = writers.try_join_next() {
            let pairs = seqs.unwrap().into_iter();
            committed.extend(pairs.map(|(seq, id)| (seq, BTreeSet::from([id, id + 1]))));
        }
    }
    assert_eq!(committed.len() as u128, WRITERS * COMMITS, "every commit has a seq of its own");
    assert_eq!(seen, committed);
}

pub(crate) async fn ten_thousand_objects_commit_as_one_change(storage: Arc<dyn Storage>) {
    let mut writes = vec![create(object(Kind::Plan, 1))];
    writes.extend((0..10_000).map(|n| {
        let mut write = named(Kind::Service, 100 + n, Some("crm"), &format!("S-{n}"));
        write.object.envelope.labels = BTreeMap::from([("batch".to_owned(), (n % 2).to_string())]);
        write.unique_keys = vec![format!("key {n}")];
        write.refs = vec![(Kind::Plan, Uid(1))];
        write
    }));
    assert_eq!(storage.commit(change(writes.clone())).await.unwrap(), 1);
    assert_eq!(storage.changes_since(0, 10).await.unwrap().0.len(), 10_001);
    assert_eq!(storage.scan(Kind::Service, Uid::NIL, 20_000).await.unwrap().len(), 10_000);
    let filter =
        Filter { labels: BTreeMap::from([("batch".to_owned(), "1".to_owned())]), ..Filter::default() };
    let page = storage.list(TENANT, Kind::Service, filter, None, 10_000).await.unwrap();
    assert_eq!(page.items.len(), 5_000);
    let mut last = named(Kind::Service, 50, Some("crm"), "S-9999");
    last.refs.clear();
    let again: Vec<Write> = writes[1..].iter().map(update).collect();
    assert_eq!(storage.commit(change(again)).await.unwrap(), 2);
    let taken = storage.commit(change([last])).await;
    assert!(matches!(taken, Err(StorageError::ExternalIdTaken { .. })), "{taken:?}");
}

pub(crate) async fn hostile_text_is_stored_rather_than_refused(storage: Arc<dyn Storage>) {
    let mut write = named(Kind::Plan, 1, Some("a\0b"), "x\0'; DROP TABLE object; --");
    write.object.envelope.labels = BTreeMap::from([("l\0".to_owned(), "v\0".to_owned())]);
    write.object.envelope.updated_by = String::from("\0");
    write.unique_keys = vec!["k\0".to_owned()];
    let filter = Filter { labels: write.object.envelope.labels.clone(), ..Filter::default() };
    storage.commit(change([write.clone()])).await.unwrap();
    let lookup = Lookup::External {
        source: write.object.envelope.source.clone(),
        id: write.object.envelope.external_id.clone().unwrap(),
    };
    let found = storage.find(TENANT, Kind::Plan, lookup).await.unwrap();
    assert_eq!(found[0].envelope.updated_by, "\u{fffd}");
    let page = storage.list(TENANT, Kind::Plan, filter, None, 10).await.unwrap();
    assert_eq!(page.items, found);
}
