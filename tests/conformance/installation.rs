//! Tokens, keys, pool blocks, epochs and waking up.

use std::sync::Arc;
use std::time::Duration;

use lastmile::ids::{TokenId, Uid};
use lastmile::model::Kind;
use lastmile::storage::{BlockRow, Storage, TokenRow};
use lastmile::time::Stamp;

use super::values::{OTHER, TENANT, change, create, object};

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
        storage.put_token(token.clone()).await.unwrap();
    }
    assert_eq!(storage.tokens().await.unwrap(), [other.clone(), token.clone()]);
    assert!(!storage.revoke_token(TokenId(Uid(6)), Stamp(2)).await.unwrap());
    assert!(storage.revoke_token(token.id, Stamp(2)).await.unwrap());
    assert!(storage.revoke_token(token.id, Stamp(3)).await.unwrap());
    let revoked = TokenRow { revoked_at: Some(Stamp(2)), ..token };
    assert_eq!(storage.tokens().await.unwrap(), [other, revoked]);
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
