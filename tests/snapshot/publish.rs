//! Publication: catching up with storage, and who hears of what when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastmile::ids::Uid;
use lastmile::model::decode::SecretField;
use lastmile::model::{Kind, Object};
use lastmile::secret::Secret;
use lastmile::snapshot::Snapshot;
use lastmile::snapshot::gap::Gap;
use lastmile::snapshot::publish::{Publisher, load_from_storage};
use lastmile::storage::Open;
use lastmile::storage::StoredObject;
use serde_json::json;

use crate::delta::describe;
use crate::installation::{TENANT, access, deleted, nas, network, pool, service, uid};
use crate::rows::Rows;

/// Seq that packets saw, seq announced, and the pools announced with whether they still exist.
type Heard = (u64, u64, Vec<(Uid, bool)>);

/// "Seals" secrets as JSON; a sealed form that starts with `!` cannot be opened.
struct Clear;

impl Open for Clear {
    fn secrets(&self, stored: &StoredObject) -> Option<Vec<(String, Secret)>> {
        let secrets: Vec<(String, String)> = serde_json::from_slice(stored.sealed.as_deref()?).ok()?;
        Some(secrets.into_iter().map(|(name, secret)| (name, Secret::new(secret))).collect())
    }
}

fn stored(object: &Object) -> StoredObject {
    let secrets: Vec<(&str, String)> = object
        .spec
        .secrets()
        .into_iter()
        .filter_map(|(name, field)| match field {
            SecretField::Set(secret) => Some((name, String::from_utf8_lossy(secret.expose()).into_owned())),
            SecretField::Absent | SecretField::Keep => None,
        })
        .collect();
    StoredObject {
        envelope: object.envelope.clone(),
        spec_json: serde_json::to_string(&object.spec).unwrap(),
        sealed: (!secrets.is_empty()).then(|| serde_json::to_vec(&secrets).unwrap()),
    }
}

fn at(mut object: Object, seq: u64) -> Object {
    object.envelope.seq = seq;
    object
}

fn jan(number: u32) -> Object {
    access(number, &json!({"type": "pppoe", "login": format!("jan{number}"), "password": "hunter22"}))
}

#[tokio::test]
async fn a_full_load_equals_catching_up_from_nothing() {
    let rows = Rows::default();
    let mut objects = vec![
        network(1, "10.0.0.0/16", None),
        pool(1, 1, "10.0.1.0/24", &json!({})),
        nas(1, &["10.0.0.9"], None),
        deleted(jan(500), 2),
    ];
    objects.extend((0..25).map(|number| service(number, 1, &json!({}))));
    objects.extend((0..25).map(jan));
    for (number, object) in objects.iter().enumerate() {
        rows.commit(&[stored(&at(object.clone(), number as u64 + 1))]);
    }
    let publisher = Publisher::new(Snapshot::empty());
    assert_eq!(publisher.advance(&rows, &Clear).await.unwrap(), 54);
    let loaded = load_from_storage(&rows, &Clear).await.unwrap();
    assert_eq!(describe(&loaded), describe(&publisher.load()));
    let access = loaded.access_by_login(TENANT, None, b"jan7").unwrap();
    assert_eq!(access.password.as_ref().unwrap().expose(), b"hunter22");
    assert_eq!(loaded.nas(uid(Kind::Nas, 1)).unwrap().secrets.len(), 1);
}

#[tokio::test]
async fn what_is_committed_while_the_load_runs_is_in_it() {
    let rows = Rows::default();
    rows.commit(&[stored(&jan(1)), stored(&jan(2))]);
    // Right after the first page of the scan, one access goes and another comes.
    rows.meanwhile(vec![stored(&at(deleted(jan(1), 2), 2)), stored(&at(jan(3), 2))]);
    let loaded = load_from_storage(&rows, &Clear).await.unwrap();
    assert_eq!(loaded.seq(), 2);
    let found = |login: &[u8]| loaded.access_by_login(TENANT, None, login).is_some();
    assert!(!found(b"jan1") && found(b"jan2") && found(b"jan3"));
}

#[tokio::test]
async fn the_write_is_in_the_published_snapshot_when_advance_returns() {
    let rows = Rows::default();
    let publisher = Arc::new(Publisher::new(Snapshot::empty()));
    let waiter = tokio::spawn({
        let publisher = Arc::clone(&publisher);
        async move { publisher.wait_for(1, Duration::from_mins(1)).await }
    });
    let before = publisher.load_full();
    rows.commit(&[stored(&jan(1))]);
    assert_eq!(publisher.advance(&rows, &Clear).await.unwrap(), 1);
    assert!(publisher.load().access_by_login(TENANT, None, b"jan1").is_some());
    assert!(before.access_by_login(TENANT, None, b"jan1").is_none());
    assert!(waiter.await.unwrap());
    assert!(!publisher.wait_for(2, Duration::ZERO).await);
    assert_eq!(publisher.advance(&rows, &Clear).await.unwrap(), 1);
}

#[tokio::test]
async fn listeners_hear_of_changed_pools_before_any_packet_can_see_them() {
    let rows = Rows::default();
    let publisher = Arc::new(Publisher::new(Snapshot::empty()));
    let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
    publisher.subscribe({
        let (heard, publisher) = (Arc::clone(&heard), Arc::downgrade(&publisher));
        move |publication| {
            let visible = publisher.upgrade().map_or(0, |publisher| publisher.load().seq());
            let pools = publication.pools.iter().map(|change| (change.id, change.pool.is_some()));
            heard.lock().unwrap().push((visible, publication.snapshot.seq(), pools.collect()));
        }
    });
    let pools = |number| pool(number, 1, "10.0.1.0/24", &json!({}));
    let commits = [
        vec![network(1, "10.0.0.0/16", None), pools(1), pools(2)],
        vec![jan(1)],
        vec![network(1, "10.0.0.0/16", Some("blue"))],
        vec![deleted(pools(2), 4)],
    ];
    for (number, commit) in commits.into_iter().enumerate() {
        let seq = number as u64 + 1;
        let commit: Vec<StoredObject> = commit.into_iter().map(|object| stored(&at(object, seq))).collect();
        rows.commit(&commit);
        publisher.advance(&rows, &Clear).await.unwrap();
    }
    let (one, two) = (uid(Kind::Pool, 1), uid(Kind::Pool, 2));
    assert_eq!(
        *heard.lock().unwrap(),
        [
            (0, 1, vec![(one, true), (two, true)]),
            (1, 2, vec![]),
            (2, 3, vec![(one, true), (two, true)]),
            (3, 4, vec![(two, false)]),
        ]
    );
}

#[tokio::test]
async fn one_object_that_cannot_be_opened_stops_nobody_else() {
    let rows = Rows::default();
    let mut broken = stored(&at(jan(1), 1));
    broken.sealed = Some(b"!".to_vec());
    let mut unsealed = stored(&at(jan(2), 1));
    unsealed.sealed = None;
    let mut garbled = stored(&at(service(3, 1, &json!({})), 1));
    garbled.spec_json = "{".to_owned();
    rows.commit(&[broken, unsealed, garbled, stored(&at(jan(4), 1))]);
    let publisher = Publisher::new(Snapshot::empty());
    publisher.advance(&rows, &Clear).await.unwrap();
    let snapshot = publisher.load_full();
    assert!(snapshot.access_by_login(TENANT, None, b"jan4").is_some());
    assert!(snapshot.access_by_login(TENANT, None, b"jan1").is_none());
    assert!(snapshot.access_by_login(TENANT, None, b"jan2").is_none());
    let unreadable = |gap: &&Gap| matches!(gap, Gap::Unreadable { .. });
    assert_eq!(snapshot.gaps().iter().filter(unreadable).count(), 3);
    let loaded = load_from_storage(&rows, &Clear).await.unwrap();
    assert_eq!(describe(&loaded), describe(&snapshot));
    rows.commit(&[stored(&at(jan(1), 2))]);
    publisher.advance(&rows, &Clear).await.unwrap();
    assert!(publisher.load().access_by_login(TENANT, None, b"jan1").is_some());
}

#[tokio::test]
async fn advances_at_the_same_time_never_take_the_snapshot_back() {
    let rows = Arc::new(Rows::default());
    let publisher = Arc::new(Publisher::new(Snapshot::empty()));
    let tasks: Vec<_> = (0..20_u32)
        .map(|number| {
            let (rows, publisher) = (Arc::clone(&rows), Arc::clone(&publisher));
            tokio::spawn(async move {
                let seq = rows.commit(&[stored(&jan(number))]);
                let reached = publisher.advance(&*rows, &Clear).await.unwrap();
                assert!(reached >= seq);
                let login = format!("jan{number}");
                assert!(publisher.load().access_by_login(TENANT, None, login.as_bytes()).is_some());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((publisher.seq(), publisher.load().accesses_len()), (20, 20));
    assert_eq!(publisher.reload(&*rows, &Clear).await.unwrap(), 20);
}

#[tokio::test]
async fn a_dead_database_leaves_the_published_snapshot_as_it_is() {
    let rows = Rows::default();
    rows.commit(&[stored(&jan(1))]);
    let publisher = Publisher::new(Snapshot::empty());
    publisher.advance(&rows, &Clear).await.unwrap();
    rows.fail();
    assert!(publisher.advance(&rows, &Clear).await.is_err());
    assert!(publisher.reload(&rows, &Clear).await.is_err());
    assert!(publisher.load().access_by_login(TENANT, None, b"jan1").is_some());
}
