//! Tokens, keys, pool blocks, epochs and waking up.

use std::sync::Arc;
use std::time::Duration;

use lastmile::ids::{TokenId, Uid};
use lastmile::model::Kind;
use lastmile::storage::{Act, ActedOn, BlockRow, Storage, TokenRow};
use lastmile::time::Stamp;

use super::values::{OTHER, TENANT, change, create, object};

fn act(on: ActedOn) -> Act {
    Act {
        at: Stamp(1),
        actor: "test".to_owned(),
        request: "req_1".to_owned(),
        tenant: TENANT,
        on,
        before_json: String::new(),
        after_json: "{}".to_owned(),
    }
}

pub(crate) async fn tokens_are_stored_and_revoked_once(storage: Arc<dyn Storage>) {
    let token = TokenRow {
        id: TokenId(Uid(5)),
        tenant: TENANT,
        name: "crm".to_owned(),
        source: Some("crm".to_owned()),
        hash: [0xa5; 32],
        scopes: vec!["service.write".to_owned(), "*".to_owned()],
        created_at: Stamp(1),
        expires_at: Some(Stamp::MAX),
        revoked_at: None,
    };
    let other =
        TokenRow { id: TokenId(Uid(4)), tenant: OTHER, source: None, expires_at: None, ..token.clone() };
    for token in [&token, &other] {
        storage.put_token(token.clone(), act(ActedOn::Token(token.id))).await.unwrap();
    }
    assert_eq!(storage.tokens().await.unwrap(), [other.clone(), token.clone()]);
    let revoke = |id, at| storage.revoke_token(id, at, act(ActedOn::Token(id)));
    assert!(!revoke(TokenId(Uid(6)), Stamp(2)).await.unwrap());
    assert!(revoke(token.id, Stamp(2)).await.unwrap());
    assert!(revoke(token.id, Stamp(3)).await.unwrap());
    let revoked = TokenRow { revoked_at: Some(Stamp(2)), ..token };
    assert_eq!(storage.tokens().await.unwrap(), [other, revoked]);
}

pub(crate) async fn what_changes_no_object_takes_a_seq_and_readers_pass_over_it(storage: Arc<dyn Storage>) {
    storage.commit(change([create(object(Kind::Plan, 1))])).await.unwrap();
    for _ in 0..2 {
        storage.note(act(ActedOn::Clock(7))).await.unwrap();
    }
    assert_eq!(storage.commit(change([create(object(Kind::Plan, 2))])).await.unwrap(), 4);
    storage.note(act(ActedOn::Token(TokenId(Uid(1))))).await.unwrap();
    let (changed, through) = storage.changes_since(1, 10).await.unwrap();
    assert_eq!((changed.len(), through), (1, 5));
    assert_eq!(storage.changes_since(4, 10).await.unwrap(), (Vec::new(), 5));
    let events = storage.events(TENANT, 0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 4]);
}

pub(crate) async fn every_node_gets_the_same_key(storage: Arc<dyn Storage>) {
    let mut nodes = tokio::task::JoinSet::new();
    for node in 0..6_u8 {
        let storage = Arc::clone(&storage);
        nodes.spawn(async move { storage.key(TENANT, "data".to_owned(), vec![node; 40]).await.unwrap() });
    }
    let keys = nodes.join_all().await;
    assert_eq!(keys.first().unwrap().len(), 40);
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
    assert_eq!(storage.key(OTHER, "data".to_owned(), vec![1]).await.unwrap(), [1]);
    assert!(storage.key(TENANT, "class".to_owned(), Vec::new()).await.unwrap().is_empty());
}

pub(crate) async fn a_pool_block_has_one_owner_and_an_epoch_only_rises(storage: Arc<dyn Storage>) {
    let row = |block, node| BlockRow { pool: Uid(1), block, node, epoch: 1 };
    let first = storage.claim_blocks(Uid(1), vec![3, 0], 1).await.unwrap();
    assert_eq!(first, [row(0, 1), row(3, 1)]);
    let second = storage.claim_blocks(Uid(1), vec![0, 1, 2, 3], 2).await.unwrap();
    assert_eq!(second, [row(0, 1), row(1, 2), row(2, 2), row(3, 1)]);
    assert_eq!(storage.claim_blocks(Uid(1), Vec::new(), 9).await.unwrap(), second);
    assert_eq!(storage.claim_blocks(Uid(2), Vec::new(), 9).await.unwrap(), []);
    assert_eq!(storage.raise_epoch(1).await.unwrap(), 1);
    assert_eq!(storage.raise_epoch(1).await.unwrap(), 2);
    assert_eq!(storage.raise_epoch(2).await.unwrap(), 1);
}

pub(crate) async fn a_commit_wakes_those_who_wait_for_changes(storage: Arc<dyn Storage>) {
    storage.ping().await.unwrap();
    let (found, known) = storage.schema_version().await.unwrap();
    assert_eq!(found, known);
    let waiting = {
        let storage = Arc::clone(&storage);
        // Nothing but a commit ends this wait within the test's time.
        tokio::spawn(async move { storage.changed(Duration::from_hours(1)).await })
    };
    storage.commit(change([create(object(Kind::Plan, 1))])).await.unwrap();
    waiting.await.unwrap().unwrap();
    storage.changed(Duration::ZERO).await.unwrap();
}
