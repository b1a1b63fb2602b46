//! The statements about tokens, keys, nodes and pool blocks.

use super::statement::Statement;

pub(super) const PUT_TOKEN: Statement = Statement {
    doing: "storing a token",
    sqlite: "INSERT INTO token (id, tenant, name, source, hash, scopes, created_at, expires_at, revoked_at)
             VALUES (unhex(?1->>'id'), unhex(?1->>'tenant'), ?1->>'name', ?1->>'source', unhex(?1->>'hash'),
               ?1->>'scopes', ?1->>'created_at', ?1->>'expires_at', ?1->>'revoked_at')
             ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, name = excluded.name,
               source = excluded.source, hash = excluded.hash, scopes = excluded.scopes,
               created_at = excluded.created_at, expires_at = excluded.expires_at,
               revoked_at = excluded.revoked_at",
    postgres: "INSERT INTO token (id, tenant, name, source, hash, scopes, created_at, expires_at, revoked_at)
               SELECT decode(i.id, 'hex'), decode(i.tenant, 'hex'), i.name, i.source, decode(i.hash, 'hex'),
                 i.scopes, i.created_at, i.expires_at, i.revoked_at
               FROM json_to_record($1::json) AS i(id text, tenant text, name text, source text, hash text,
                 scopes text, created_at bigint, expires_at bigint, revoked_at bigint)
               ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, name = excluded.name,
                 source = excluded.source, hash = excluded.hash, scopes = excluded.scopes,
                 created_at = excluded.created_at, expires_at = excluded.expires_at,
                 revoked_at = excluded.revoked_at",
};

pub(super) const TOKENS: Statement = Statement {
    doing: "reading tokens",
    sqlite: "SELECT count(*) + 0 * length(?1), json_group_array(json_array(hex(t.id), hex(t.tenant), t.name,
               t.source, hex(t.hash), t.scopes, t.created_at, t.expires_at, t.revoked_at))
             FROM (SELECT * FROM token ORDER BY id) t",
    postgres:
        "SELECT count(*) + 0 * length($1::text), coalesce(json_agg(json_build_array(encode(t.id, 'hex'),
                 encode(t.tenant, 'hex'), t.name, t.source, encode(t.hash, 'hex'), t.scopes, t.created_at,
                 t.expires_at, t.revoked_at) ORDER BY t.id)::text, '[]') FROM token t",
};

/// The first revocation stands.
pub(super) const REVOKE_TOKEN: Statement = Statement {
    doing: "revoking a token",
    sqlite: "UPDATE token SET revoked_at = ?1->>'at' WHERE id = unhex(?1->>'id') AND revoked_at IS NULL",
    postgres: "UPDATE token SET revoked_at = ($1::jsonb->>'at')::bigint
               WHERE id = decode($1::jsonb->>'id', 'hex') AND revoked_at IS NULL",
};

pub(super) const COUNT_TOKEN: Statement = Statement {
    doing: "looking for a token",
    sqlite: "SELECT count(*), '' FROM token WHERE id = unhex(?1->>'id')",
    postgres: "SELECT count(*), '' FROM token WHERE id = decode($1::jsonb->>'id', 'hex')",
};

pub(super) const OFFER_KEY: Statement = Statement {
    doing: "storing a key",
    sqlite: "INSERT INTO key_store (tenant, name, sealed)
             VALUES (unhex(?1->>'tenant'), ?1->>'name', unhex(?1->>'sealed')) ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO key_store (tenant, name, sealed)
               VALUES (decode($1::jsonb->>'tenant', 'hex'), $1::jsonb->>'name',
                 decode($1::jsonb->>'sealed', 'hex')) ON CONFLICT DO NOTHING",
};

pub(super) const KEY: Statement = Statement {
    doing: "reading a key",
    sqlite: "SELECT count(*), json_group_array(hex(sealed)) FROM key_store
             WHERE tenant = unhex(?1->>'tenant') AND name = ?1->>'name'",
    postgres: "SELECT count(*), coalesce(json_agg(encode(sealed, 'hex'))::text, '[]') FROM key_store
               WHERE tenant = decode($1::jsonb->>'tenant', 'hex') AND name = $1::jsonb->>'name'",
};

pub(super) const CLAIM_BLOCKS: Statement = Statement {
    doing: "claiming pool blocks",
    sqlite: "INSERT INTO pool_block (pool, block, node, epoch)
             SELECT unhex(value->>'pool'), value->>'block', value->>'node', value->>'epoch'
             FROM jsonb_each(?1) WHERE true ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO pool_block (pool, block, node, epoch)
               SELECT decode(i.pool, 'hex'), i.block, i.node, i.epoch
               FROM json_to_recordset($1::json) AS i(pool text, block bigint, node bigint, epoch bigint)
               ORDER BY i.block ON CONFLICT DO NOTHING",
};

pub(super) const BLOCKS: Statement = Statement {
    doing: "reading pool blocks",
    sqlite: "SELECT count(*), json_group_array(json_array(hex(b.pool), b.block, b.node, b.epoch))
             FROM (SELECT * FROM pool_block WHERE pool = unhex(?1->>'pool') ORDER BY block) b",
    postgres:
        "SELECT count(*), coalesce(json_agg(json_build_array(encode(b.pool, 'hex'), b.block, b.node, b.epoch)
                 ORDER BY b.block)::text, '[]')
               FROM pool_block b WHERE b.pool = decode($1::jsonb->>'pool', 'hex')",
};

pub(super) const RAISE_EPOCH: Statement = Statement {
    doing: "raising the epoch of a node",
    sqlite: "INSERT INTO node (id, epoch) VALUES (?1->>'node', 1)
             ON CONFLICT (id) DO UPDATE SET epoch = node.epoch + 1 RETURNING epoch, ''",
    postgres: "INSERT INTO node (id, epoch) VALUES (($1::jsonb->>'node')::bigint, 1)
               ON CONFLICT (id) DO UPDATE SET epoch = node.epoch + 1 RETURNING epoch, ''",
};
