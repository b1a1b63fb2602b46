//! What belongs to the installation: tokens, sealed keys, node epochs and the owners of pool blocks.

use serde::{Deserialize, Serialize};

use super::installation_sql as sql;
use super::rows::{Hex16, HexBytes, Millis, clean, damaged, decode, encode, inner};
use super::statement::Connection;
use super::{Act, BlockRow, StorageError, TokenRow, commit};
use crate::ids::{TenantId, TokenId, Uid};
use crate::time::Stamp;

/// One row of `token`; field order is column order.
#[derive(Serialize, Deserialize)]
struct StoredToken<'a> {
    id: Hex16,
    tenant: Hex16,
    name: String,
    source: Option<String>,
    hash: HexBytes<'a>,
    scopes: String,
    created_at: Millis,
    expires_at: Option<Millis>,
    revoked_at: Option<Millis>,
}

pub(super) async fn put_token(
    connection: &mut Connection<'_>,
    token: &TokenRow,
    act: &Act,
) -> Result<(), StorageError> {
    let row = StoredToken {
        id: token.id.0.into(),
        tenant: token.tenant.0.into(),
        name: clean(&token.name).into_owned(),
        source: token.source.as_deref().map(|source| clean(source).into_owned()),
        hash: HexBytes(token.hash.as_slice().into()),
        scopes: encode(&token.scopes)?,
        created_at: token.created_at.into(),
        expires_at: token.expires_at.map(Millis::from),
        revoked_at: token.revoked_at.map(Millis::from),
    };
    connection.run(&sql::PUT_TOKEN, encode(&row)?).await?;
    commit::note(connection, act).await
}

pub(super) async fn tokens(connection: &mut Connection<'_>) -> Result<Vec<TokenRow>, StorageError> {
    let (_, answer) = connection.ask(&sql::TOKENS, "{}".to_owned()).await?;
    decode::<StoredToken<'_>>("token", &answer)?
        .into_iter()
        .map(|row| {
            let hash: Result<[u8; 32], _> = row.hash.0.as_ref().try_into();
            Ok(TokenRow {
                id: TokenId(row.id.into()),
                tenant: TenantId(row.tenant.into()),
                name: row.name,
                source: row.source,
                hash: hash.map_err(|_| damaged("token", &"its hash is not 32 bytes long"))?,
                scopes: inner("scopes of a token", &row.scopes)?,
                created_at: row.created_at.into(),
                expires_at: row.expires_at.map(Stamp::from),
                revoked_at: row.revoked_at.map(Stamp::from),
            })
        })
        .collect()
}

#[derive(Serialize)]
struct Revocation {
    id: Hex16,
    at: Millis,
}

pub(super) async fn revoke_token(
    connection: &mut Connection<'_>,
    id: TokenId,
    at: Stamp,
    act: &Act,
) -> Result<bool, StorageError> {
    let input = encode(&Revocation { id: id.0.into(), at: at.into() })?;
    if connection.run(&sql::REVOKE_TOKEN, input.clone()).await? == 0 {
        return connection.ask(&sql::COUNT_TOKEN, input).await.map(|(known, _)| known > 0);
    }
    commit::note(connection, act).await.map(|()| true)
}

#[derive(Serialize)]
struct KeyInput<'a> {
    tenant: Hex16,
    name: &'a str,
    sealed: HexBytes<'a>,
}

pub(super) async fn key(
    connection: &mut Connection<'_>,
    tenant: TenantId,
    name: &str,
    candidate: &[u8],
) -> Result<Vec<u8>, StorageError> {
    let input = encode(&KeyInput { tenant: tenant.0.into(), name, sealed: HexBytes(candidate.into()) })?;
    connection.run(&sql::OFFER_KEY, input.clone()).await?;
    let (_, answer) = connection.ask(&sql::KEY, input).await?;
    let row = decode::<HexBytes<'_>>("key", &answer)?.pop();
    row.map(|sealed| sealed.0.into_owned())
        .ok_or_else(|| damaged("key", &"it is missing right after it was stored"))
}

#[derive(Serialize, Deserialize)]
struct Owned {
    pool: Hex16,
    block: u32,
    node: u16,
    epoch: i64,
}

pub(super) async fn claim_blocks(
    connection: &mut Connection<'_>,
    pool: Uid,
    blocks: &[u32],
    node: u16,
) -> Result<Vec<BlockRow>, StorageError> {
    let wanted: Vec<Owned> =
        blocks.iter().map(|block| Owned { pool: pool.into(), block: *block, node, epoch: 1 }).collect();
    commit::write_rows(connection, &sql::CLAIM_BLOCKS, &wanted).await?;
    let input = serde_json::json!({"pool": Hex16::from(pool)});
    let (_, answer) = connection.ask(&sql::BLOCKS, input.to_string()).await?;
    let rows = decode::<Owned>("pool block", &answer)?;
    Ok(rows
        .into_iter()
        .map(|row| BlockRow {
            pool: row.pool.into(),
            block: row.block,
            node: row.node,
            epoch: row.epoch.cast_unsigned(),
        })
        .collect())
}

pub(super) async fn raise_epoch(connection: &mut Connection<'_>, node: u16) -> Result<u64, StorageError> {
    let input = serde_json::json!({"node": node});
    let (epoch, _) = connection.ask(&sql::RAISE_EPOCH, input.to_string()).await?;
    Ok(epoch.cast_unsigned())
}
