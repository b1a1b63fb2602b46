//! The statements of a commit. Each takes an array of rows, so that a change of one object and an import of ten
//! thousand run the same number of statements.

use super::statement::Statement;

/// The newest seq, held against other writers until the transaction ends. On SQLite `BEGIN IMMEDIATE` does that.
pub(super) const LOCK: Statement = Statement {
    doing: "waiting for other writers",
    sqlite: "SELECT seq, ?1 FROM counter",
    postgres: "SELECT seq, $1::text FROM counter FOR UPDATE",
};

/// The last statement: the number counts only if everything before it does.
pub(super) const COUNT: Statement = Statement {
    doing: "numbering a commit",
    sqlite: "UPDATE counter SET seq = ?1->>'seq' RETURNING seq, ''",
    postgres: "UPDATE counter SET seq = ($1::jsonb->>'seq')::bigint
               RETURNING seq, coalesce(pg_notify('lastmile_commit', seq::text)::text, '')",
};

pub(super) const CURRENT: Statement = Statement {
    doing: "reading current generations",
    sqlite: "SELECT count(*), json_group_array(json_array(hex(o.tenant), o.kind, hex(o.id), o.generation))
             FROM jsonb_each(?1) i CROSS JOIN object o
             ON o.kind = i.value->>'kind' AND o.id = unhex(i.value->>'id')",
    postgres: "SELECT count(*), coalesce(json_agg(json_build_array(
                 encode(o.tenant, 'hex'), o.kind, encode(o.id, 'hex'), o.generation))::text, '[]')
               FROM json_to_recordset($1::json) AS i(kind text, id text)
               JOIN object o ON o.kind = i.kind AND o.id = decode(i.id, 'hex')",
};

macro_rules! forget {
    ($table:expr) => {
        Statement {
            doing: "replacing keys, references and labels",
            sqlite: concat!(
                "DELETE FROM ",
                $table,
                " WHERE (kind, object) IN (SELECT value->>'kind', unhex(value->>'id') FROM jsonb_each(?1))"
            ),
            postgres: concat!(
                "DELETE FROM ",
                $table,
                " t USING json_to_recordset($1::json) AS i(kind text, id text)
                  WHERE t.kind = i.kind AND t.object = decode(i.id, 'hex')"
            ),
        }
    };
}

/// Removes what hangs on objects that are about to be written again.
pub(super) const FORGET: [Statement; 4] =
    [forget!("object_external"), forget!("object_key"), forget!("object_ref"), forget!("object_label")];

/// The first external id that another object has: (name, kind, id).
pub(super) const EXTERNAL_TAKEN: Statement = Statement {
    doing: "checking external ids",
    sqlite: "SELECT count(*), json_group_array(json_array(t.external_id, t.kind, hex(t.object))) FROM (
               SELECT x.* FROM jsonb_each(?1) i CROSS JOIN object_external x
               ON x.tenant = unhex(i.value->>'tenant') AND x.kind = i.value->>'kind'
               AND x.external_id = i.value->>'external_id' AND x.source = i.value->>'source'
               LIMIT 1) t",
    postgres: "SELECT count(*), coalesce(json_agg(json_build_array(
                 t.external_id, t.kind, encode(t.object, 'hex')))::text, '[]') FROM (
               SELECT x.* FROM json_to_recordset($1::json)
                 AS i(tenant text, kind text, external_id text, source text)
               JOIN object_external x ON x.tenant = decode(i.tenant, 'hex') AND x.kind = i.kind
               AND x.external_id = i.external_id AND x.source = i.source LIMIT 1) t",
};

/// The first key that another object holds: (name, kind, id).
pub(super) const KEY_TAKEN: Statement = Statement {
    doing: "checking unique keys",
    sqlite: "SELECT count(*), json_group_array(json_array(t.key, t.kind, hex(t.object))) FROM (
               SELECT k.* FROM jsonb_each(?1) i CROSS JOIN object_key k
               ON k.tenant = unhex(i.value->>'tenant') AND k.key = i.value->>'key' LIMIT 1) t",
    postgres: "SELECT count(*), coalesce(json_agg(json_build_array(
                 t.key, t.kind, encode(t.object, 'hex')))::text, '[]') FROM (
               SELECT k.* FROM json_to_recordset($1::json) AS i(tenant text, key text)
               JOIN object_key k ON k.tenant = decode(i.tenant, 'hex') AND k.key = i.key LIMIT 1) t",
};

pub(super) const INSERT_EXTERNALS: Statement = Statement {
    doing: "writing external ids",
    sqlite: "INSERT INTO object_external (tenant, kind, external_id, source, object)
             SELECT unhex(value->>'tenant'), value->>'kind', value->>'external_id', value->>'source',
               unhex(value->>'id') FROM jsonb_each(?1)",
    postgres: "INSERT INTO object_external (tenant, kind, external_id, source, object)
               SELECT decode(i.tenant, 'hex'), i.kind, i.external_id, i.source, decode(i.id, 'hex')
               FROM json_to_recordset($1::json)
                 AS i(tenant text, kind text, id text, external_id text, source text)",
};

/// A key given twice by the same object is one key.
pub(super) const INSERT_KEYS: Statement = Statement {
    doing: "writing unique keys",
    sqlite: "INSERT INTO object_key (tenant, key, kind, object)
             SELECT DISTINCT unhex(value->>'tenant'), value->>'key', value->>'kind', unhex(value->>'id')
             FROM jsonb_each(?1)",
    postgres: "INSERT INTO object_key (tenant, key, kind, object)
               SELECT DISTINCT decode(i.tenant, 'hex'), i.key, i.kind, decode(i.id, 'hex')
               FROM json_to_recordset($1::json) AS i(tenant text, kind text, id text, key text)",
};

pub(super) const UPSERT_OBJECTS: Statement = Statement {
    doing: "writing objects",
    sqlite: "INSERT INTO object (tenant, kind, id, source, external_id, generation, source_version, labels,
               annotations, created_at, updated_at, updated_by, deleted_at, seq, spec, sealed)
             SELECT unhex(value->>'tenant'), value->>'kind', unhex(value->>'id'), value->>'source',
               value->>'external_id', value->>'generation', value->>'source_version', value->>'labels',
               value->>'annotations', value->>'created_at', value->>'updated_at', value->>'updated_by',
               value->>'deleted_at', value->>'seq', value->>'spec', unhex(value->>'sealed')
             FROM jsonb_each(?1) WHERE true
             ON CONFLICT (kind, id) DO UPDATE SET source = excluded.source, external_id = excluded.external_id,
               generation = excluded.generation, source_version = excluded.source_version,
               labels = excluded.labels, annotations = excluded.annotations, created_at = excluded.created_at,
               updated_at = excluded.updated_at, updated_by = excluded.updated_by,
               deleted_at = excluded.deleted_at, seq = excluded.seq, spec = excluded.spec,
               sealed = excluded.sealed",
    postgres: "INSERT INTO object (tenant, kind, id, source, external_id, generation, source_version, labels,
                 annotations, created_at, updated_at, updated_by, deleted_at, seq, spec, sealed)
               SELECT decode(i.tenant, 'hex'), i.kind, decode(i.id, 'hex'), i.source, i.external_id,
                 i.generation, i.source_version, i.labels, i.annotations, i.created_at, i.updated_at,
                 i.updated_by, i.deleted_at, i.seq, i.spec, decode(i.sealed, 'hex')
               FROM json_to_recordset($1::json) AS i(tenant text, kind text, id text, source text,
                 external_id text, generation bigint, source_version bigint, labels text, annotations text,
                 created_at bigint, updated_at bigint, updated_by text, deleted_at bigint, seq bigint,
                 spec text, sealed text)
               ON CONFLICT (kind, id) DO UPDATE SET source = excluded.source, external_id = excluded.external_id,
                 generation = excluded.generation, source_version = excluded.source_version,
                 labels = excluded.labels, annotations = excluded.annotations,
                 created_at = excluded.created_at, updated_at = excluded.updated_at,
                 updated_by = excluded.updated_by, deleted_at = excluded.deleted_at, seq = excluded.seq,
                 spec = excluded.spec, sealed = excluded.sealed",
};

pub(super) const INSERT_LABELS: Statement = Statement {
    doing: "writing labels",
    sqlite: "INSERT OR IGNORE INTO object_label (tenant, kind, name, value, object)
             SELECT unhex(value->>'tenant'), value->>'kind', value->>'name', value->>'value',
               unhex(value->>'id') FROM jsonb_each(?1)",
    postgres: "INSERT INTO object_label (tenant, kind, name, value, object)
               SELECT decode(i.tenant, 'hex'), i.kind, i.name, i.value, decode(i.id, 'hex')
               FROM json_to_recordset($1::json) AS i(tenant text, kind text, id text, name text, value text)
               ON CONFLICT DO NOTHING",
};

/// The first reference to something that is not there, as the reference itself: its tenant is the referrer's.
pub(super) const DANGLING: Statement = Statement {
    doing: "checking references",
    sqlite: "SELECT count(*), json_group_array(json_array(t.tenant, t.kind, t.id, t.to_kind, t.to_id)) FROM (
               SELECT i.value->>'tenant' tenant, i.value->>'kind' kind, i.value->>'id' id,
                 i.value->>'to_kind' to_kind, i.value->>'to_id' to_id FROM jsonb_each(?1) i
               WHERE NOT EXISTS (SELECT 1 FROM object o WHERE o.tenant = unhex(i.value->>'tenant')
                 AND o.kind = i.value->>'to_kind' AND o.id = unhex(i.value->>'to_id')
                 AND o.deleted_at IS NULL) LIMIT 1) t",
    postgres: "SELECT count(*), coalesce(json_agg(json_build_array(
                 t.tenant, t.kind, t.id, t.to_kind, t.to_id))::text, '[]') FROM (
               SELECT i.* FROM json_to_recordset($1::json)
                 AS i(tenant text, kind text, id text, to_kind text, to_id text)
               WHERE NOT EXISTS (SELECT 1 FROM object o WHERE o.tenant = decode(i.tenant, 'hex')
                 AND o.kind = i.to_kind AND o.id = decode(i.to_id, 'hex') AND o.deleted_at IS NULL)
               LIMIT 1) t",
};

pub(super) const INSERT_REFS: Statement = Statement {
    doing: "writing references",
    sqlite: "INSERT OR IGNORE INTO object_ref (tenant, to_id, kind, object, to_kind)
             SELECT unhex(value->>'tenant'), unhex(value->>'to_id'), value->>'kind', unhex(value->>'id'),
               value->>'to_kind' FROM jsonb_each(?1)",
    postgres: "INSERT INTO object_ref (tenant, to_id, kind, object, to_kind)
               SELECT decode(i.tenant, 'hex'), decode(i.to_id, 'hex'), i.kind, decode(i.id, 'hex'), i.to_kind
               FROM json_to_recordset($1::json)
                 AS i(tenant text, kind text, id text, to_kind text, to_id text)
               ON CONFLICT DO NOTHING",
};

/// References to deleted objects, those to the same object together; enough of them to name ten.
pub(super) const REFERRERS: Statement = Statement {
    doing: "looking for referrers",
    sqlite: "SELECT count(*), json_group_array(json_array(
               hex(t.tenant), t.kind, hex(t.object), t.to_kind, hex(t.to_id))) FROM (
               SELECT r.* FROM jsonb_each(?1) i CROSS JOIN object_ref r
               ON r.tenant = unhex(i.value->>'tenant') AND r.to_id = unhex(i.value->>'id')
               AND r.to_kind = i.value->>'kind' ORDER BY r.to_id, r.kind, r.object LIMIT 10) t",
    postgres: "SELECT count(*), coalesce(json_agg(json_build_array(encode(t.tenant, 'hex'), t.kind,
                 encode(t.object, 'hex'), t.to_kind, encode(t.to_id, 'hex'))
                 ORDER BY t.to_id, t.kind, t.object)::text, '[]') FROM (
               SELECT r.* FROM json_to_recordset($1::json) AS i(tenant text, kind text, id text)
               JOIN object_ref r ON r.tenant = decode(i.tenant, 'hex') AND r.to_id = decode(i.id, 'hex')
               AND r.to_kind = i.kind ORDER BY r.to_id, r.kind, r.object LIMIT 10) t",
};

pub(super) const INSERT_EVENTS: Statement = Statement {
    doing: "writing events",
    sqlite: "INSERT INTO event (tenant, seq, kind, object, at, action, actor, request)
             SELECT unhex(value->>'tenant'), value->>'seq', value->>'kind', unhex(value->>'id'), value->>'at',
               value->>'action', value->>'actor', value->>'request' FROM jsonb_each(?1)",
    postgres: "INSERT INTO event (tenant, seq, kind, object, at, action, actor, request)
               SELECT decode(i.tenant, 'hex'), i.seq, i.kind, decode(i.id, 'hex'), i.at, i.action, i.actor,
                 i.request
               FROM json_to_recordset($1::json) AS i(tenant text, kind text, id text, seq bigint, at bigint,
                 action text, actor text, request text)",
};

pub(super) const INSERT_AUDIT: Statement = Statement {
    doing: "writing audit rows",
    sqlite: "INSERT INTO audit (tenant, seq, kind, object, at, actor, request, before, after)
             SELECT unhex(value->>'tenant'), value->>'seq', value->>'kind', unhex(value->>'id'), value->>'at',
               value->>'actor', value->>'request', value->>'before', value->>'after' FROM jsonb_each(?1)",
    postgres: "INSERT INTO audit (tenant, seq, kind, object, at, actor, request, before, after)
               SELECT decode(i.tenant, 'hex'), i.seq, i.kind, decode(i.id, 'hex'), i.at, i.actor, i.request,
                 i.before, i.after
               FROM json_to_recordset($1::json) AS i(tenant text, kind text, id text, seq bigint, at bigint,
                 actor text, request text, before text, after text)",
};
