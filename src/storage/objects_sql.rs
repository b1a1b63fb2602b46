//! The statements that read desired state.

use super::statement::Statement;

/// The columns of an object `o`, in the order of the fields of [`super::rows::ObjectRow`].
macro_rules! sqlite_object {
    () => {
        "json_array(hex(o.tenant), o.kind, hex(o.id), o.source, o.external_id, o.generation, o.source_version, \
         o.labels, o.annotations, o.created_at, o.updated_at, o.updated_by, o.deleted_at, o.seq, o.spec, \
         iif(o.sealed IS NULL, NULL, hex(o.sealed)))"
    };
}

macro_rules! postgres_object {
    () => {
        "json_build_array(encode(o.tenant, 'hex'), o.kind, encode(o.id, 'hex'), o.source, o.external_id, \
         o.generation, o.source_version, o.labels, o.annotations, o.created_at, o.updated_at, o.updated_by, \
         o.deleted_at, o.seq, o.spec, encode(o.sealed, 'hex'))"
    };
}

/// Packs the objects that an inner query yields; `$order` orders them.
macro_rules! sqlite_objects {
    ($inner:expr) => {
        concat!(
            "SELECT (SELECT seq FROM counter), json_group_array(",
            sqlite_object!(),
            ") FROM (",
            $inner,
            ") o"
        )
    };
}

macro_rules! postgres_objects {
    ($order:expr, $inner:expr) => {
        concat!(
            "SELECT (SELECT seq FROM counter), coalesce(json_agg(",
            postgres_object!(),
            " ORDER BY ",
            $order,
            ")::text, '[]') FROM (",
            $inner,
            ") o"
        )
    };
}

pub(super) const FIND_BY_ID: Statement = Statement {
    doing: "finding an object by id",
    sqlite: sqlite_objects!(
        "SELECT * FROM object WHERE tenant = unhex(?1->>'tenant') AND kind = ?1->>'kind'
         AND id = unhex(?1->>'id') AND deleted_at IS NULL"
    ),
    postgres: postgres_objects!(
        "o.id",
        "SELECT * FROM object WHERE tenant = decode($1::jsonb->>'tenant', 'hex') AND kind = $1::jsonb->>'kind'
         AND id = decode($1::jsonb->>'id', 'hex') AND deleted_at IS NULL"
    ),
};

/// Without `source` in any namespace.
pub(super) const FIND_EXTERNAL: Statement = Statement {
    doing: "finding an object by external id",
    sqlite: sqlite_objects!(
        "SELECT x.* FROM object_external e CROSS JOIN object x ON x.kind = e.kind AND x.id = e.object
         WHERE e.tenant = unhex(?1->>'tenant') AND e.kind = ?1->>'kind' AND e.external_id = ?1->>'external_id'
         AND (?1->>'source' IS NULL OR e.source = ?1->>'source') ORDER BY x.id"
    ),
    postgres: postgres_objects!(
        "o.id",
        "SELECT x.* FROM object_external e JOIN object x ON x.kind = e.kind AND x.id = e.object
         WHERE e.tenant = decode($1::jsonb->>'tenant', 'hex') AND e.kind = $1::jsonb->>'kind'
         AND e.external_id = $1::jsonb->>'external_id'
         AND ($1::jsonb->>'source' IS NULL OR e.source = $1::jsonb->>'source')"
    ),
};

/// A list led by one index: `$from` names the rows, `$id` is the column that orders them.
macro_rules! sqlite_list {
    ($from:expr, $id:expr) => {
        sqlite_objects!(concat!(
            "SELECT x.* FROM ",
            $from,
            " AND x.deleted_at IS NULL AND ",
            $id,
            " > unhex(?1->>'after')
              AND (?1->>'source' IS NULL OR x.source = ?1->>'source')
              AND (?1->>'external_id' IS NULL OR x.external_id = ?1->>'external_id')
              AND (?1->>'refers_to' IS NULL OR EXISTS (SELECT 1 FROM object_ref r WHERE r.tenant = x.tenant
                  AND r.to_id = unhex(?1->>'refers_to') AND r.kind = x.kind AND r.object = x.id))
              AND NOT EXISTS (SELECT 1 FROM jsonb_each(?1, '$.labels') w WHERE NOT EXISTS (SELECT 1
                  FROM object_label l WHERE l.tenant = x.tenant AND l.kind = x.kind AND l.name = w.value->>'name'
                  AND l.value = w.value->>'value' AND l.object = x.id))
              ORDER BY ",
            $id,
            " LIMIT ?1->>'limit'"
        ))
    };
}

macro_rules! postgres_list {
    ($from:expr, $id:expr) => {
        postgres_objects!(
            "o.id",
            concat!(
                "SELECT x.* FROM ",
                $from,
                " AND x.deleted_at IS NULL AND ",
                $id,
                " > decode($1::jsonb->>'after', 'hex')
                  AND ($1::jsonb->>'source' IS NULL OR x.source = $1::jsonb->>'source')
                  AND ($1::jsonb->>'external_id' IS NULL OR x.external_id = $1::jsonb->>'external_id')
                  AND ($1::jsonb->>'refers_to' IS NULL OR EXISTS (SELECT 1 FROM object_ref r
                      WHERE r.tenant = x.tenant AND r.to_id = decode($1::jsonb->>'refers_to', 'hex')
                      AND r.kind = x.kind AND r.object = x.id))
                  AND NOT EXISTS (SELECT 1 FROM jsonb_to_recordset($1::jsonb->'labels') AS w(name text, value text)
                      WHERE NOT EXISTS (SELECT 1 FROM object_label l WHERE l.tenant = x.tenant AND l.kind = x.kind
                      AND l.name = w.name AND l.value = w.value AND l.object = x.id))
                  ORDER BY ",
                $id,
                " LIMIT ($1::jsonb->>'limit')::bigint"
            )
        )
    };
}

pub(super) const LIST: Statement = Statement {
    doing: "listing objects",
    sqlite: sqlite_list!(
        "object x INDEXED BY object_by_tenant WHERE x.tenant = unhex(?1->>'tenant') AND x.kind = ?1->>'kind'",
        "x.id"
    ),
    postgres: postgres_list!(
        "object x WHERE x.tenant = decode($1::jsonb->>'tenant', 'hex') AND x.kind = $1::jsonb->>'kind'",
        "x.id"
    ),
};

pub(super) const LIST_BY_SOURCE: Statement = Statement {
    doing: "listing objects of a source",
    sqlite: sqlite_list!(
        "object x INDEXED BY object_by_source
         WHERE x.tenant = unhex(?1->>'tenant') AND x.kind = ?1->>'kind' AND x.source = ?1->>'source'",
        "x.id"
    ),
    postgres: postgres_list!(
        "object x WHERE x.tenant = decode($1::jsonb->>'tenant', 'hex') AND x.kind = $1::jsonb->>'kind'
         AND x.source = $1::jsonb->>'source'",
        "x.id"
    ),
};

pub(super) const LIST_BY_EXTERNAL_ID: Statement = Statement {
    doing: "listing objects by external id",
    sqlite: sqlite_list!(
        "object_external d CROSS JOIN object x ON x.kind = d.kind AND x.id = d.object
         WHERE d.tenant = unhex(?1->>'tenant') AND d.kind = ?1->>'kind' AND d.external_id = ?1->>'external_id'",
        "d.object"
    ),
    postgres: postgres_list!(
        "object_external d JOIN object x ON x.kind = d.kind AND x.id = d.object
         WHERE d.tenant = decode($1::jsonb->>'tenant', 'hex') AND d.kind = $1::jsonb->>'kind'
         AND d.external_id = $1::jsonb->>'external_id'",
        "d.object"
    ),
};

pub(super) const LIST_BY_REFERENCE: Statement = Statement {
    doing: "listing objects that refer to another",
    sqlite: sqlite_list!(
        "object_ref d CROSS JOIN object x ON x.kind = d.kind AND x.id = d.object
         WHERE d.tenant = unhex(?1->>'tenant') AND d.to_id = unhex(?1->>'refers_to') AND d.kind = ?1->>'kind'",
        "d.object"
    ),
    postgres: postgres_list!(
        "object_ref d JOIN object x ON x.kind = d.kind AND x.id = d.object
         WHERE d.tenant = decode($1::jsonb->>'tenant', 'hex')
         AND d.to_id = decode($1::jsonb->>'refers_to', 'hex') AND d.kind = $1::jsonb->>'kind'",
        "d.object"
    ),
};

pub(super) const LIST_BY_LABEL: Statement = Statement {
    doing: "listing objects with labels",
    sqlite: sqlite_list!(
        "object_label d CROSS JOIN object x ON x.kind = d.kind AND x.id = d.object
         WHERE d.tenant = unhex(?1->>'tenant') AND d.kind = ?1->>'kind' AND d.name = ?1->>'name'
         AND d.value = ?1->>'value'",
        "d.object"
    ),
    postgres: postgres_list!(
        "object_label d JOIN object x ON x.kind = d.kind AND x.id = d.object
         WHERE d.tenant = decode($1::jsonb->>'tenant', 'hex') AND d.kind = $1::jsonb->>'kind'
         AND d.name = $1::jsonb->>'name' AND d.value = $1::jsonb->>'value'",
        "d.object"
    ),
};

/// The bulk read, deliberately over all tenants.
pub(super) const SCAN: Statement = Statement {
    doing: "reading all objects",
    sqlite: sqlite_objects!(
        "SELECT * FROM object WHERE kind = ?1->>'kind' AND id > unhex(?1->>'after') AND deleted_at IS NULL
         ORDER BY id LIMIT ?1->>'limit'"
    ),
    postgres: postgres_objects!(
        "o.id",
        "SELECT * FROM object WHERE kind = $1::jsonb->>'kind' AND id > decode($1::jsonb->>'after', 'hex')
         AND deleted_at IS NULL ORDER BY id LIMIT ($1::jsonb->>'limit')::bigint"
    ),
};

/// Finds the newest seq through which at most `limit` rows of `$table` change without splitting a commit: the whole
/// commits that fit, or the first one alone when it does not fit.
macro_rules! sqlite_bound {
    ($table:expr) => {
        concat!(
            "WITH edge(last, first, beyond) AS (SELECT (SELECT seq FROM counter),
               (SELECT seq FROM ",
            $table,
            " seq > ?1->>'seq' ORDER BY seq LIMIT 1),
               (SELECT seq FROM ",
            $table,
            " seq > ?1->>'seq' ORDER BY seq LIMIT 1 OFFSET ?1->>'limit')),
             bound(through) AS MATERIALIZED (SELECT CASE WHEN beyond IS NULL THEN last
               WHEN first < beyond THEN beyond - 1 ELSE beyond END FROM edge) "
        )
    };
}

macro_rules! postgres_bound {
    ($table:expr) => {
        concat!(
            "WITH edge(last, first, beyond) AS (SELECT (SELECT seq FROM counter),
               (SELECT seq FROM ",
            $table,
            " seq > ($1::jsonb->>'seq')::bigint ORDER BY seq LIMIT 1),
               (SELECT seq FROM ",
            $table,
            " seq > ($1::jsonb->>'seq')::bigint ORDER BY seq LIMIT 1
                  OFFSET ($1::jsonb->>'limit')::bigint)),
             bound(through) AS MATERIALIZED (SELECT CASE WHEN beyond IS NULL THEN last
               WHEN first < beyond THEN beyond - 1 ELSE beyond END FROM edge) "
        )
    };
}

/// The number is the seq through which the objects are complete.
pub(super) const CHANGES_SINCE: Statement = Statement {
    doing: "reading changes",
    sqlite: concat!(
        sqlite_bound!("object WHERE"),
        "SELECT (SELECT through FROM bound), json_group_array(",
        sqlite_object!(),
        ") FROM (SELECT * FROM object WHERE seq > ?1->>'seq' AND seq <= (SELECT through FROM bound)
         ORDER BY seq, kind, id) o"
    ),
    postgres: concat!(
        postgres_bound!("object WHERE"),
        "SELECT (SELECT through FROM bound), coalesce(json_agg(",
        postgres_object!(),
        " ORDER BY o.seq, o.kind, o.id)::text, '[]') FROM object o
         WHERE o.seq > ($1::jsonb->>'seq')::bigint AND o.seq <= (SELECT through FROM bound)"
    ),
};

/// Columns in the order of the fields of the event row in [`super::rows`].
pub(super) const EVENTS: Statement = Statement {
    doing: "reading events",
    sqlite: concat!(
        sqlite_bound!("event WHERE tenant = unhex(?1->>'tenant') AND"),
        "SELECT (SELECT through FROM bound), json_group_array(json_array(e.seq, e.at, hex(e.tenant), e.kind,
           hex(e.object), e.action, e.actor, e.request))
         FROM (SELECT * FROM event WHERE tenant = unhex(?1->>'tenant') AND seq > ?1->>'seq'
           AND seq <= (SELECT through FROM bound) ORDER BY seq, kind, object) e"
    ),
    postgres: concat!(
        postgres_bound!("event WHERE tenant = decode($1::jsonb->>'tenant', 'hex') AND"),
        "SELECT (SELECT through FROM bound), coalesce(json_agg(json_build_array(e.seq, e.at,
           encode(e.tenant, 'hex'), e.kind, encode(e.object, 'hex'), e.action, e.actor, e.request)
           ORDER BY e.seq, e.kind, e.object)::text, '[]')
         FROM event e WHERE e.tenant = decode($1::jsonb->>'tenant', 'hex')
           AND e.seq > ($1::jsonb->>'seq')::bigint AND e.seq <= (SELECT through FROM bound)"
    ),
};

/// Takes its parameter for the sake of one calling form.
pub(super) const SEQ: Statement = Statement {
    doing: "reading the seq",
    sqlite: "SELECT seq, ?1 FROM counter",
    postgres: "SELECT seq, $1::text FROM counter",
};

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnection;
    use sqlx::{AssertSqlSafe, Connection as _, Row};

    use super::*;

    #[tokio::test]
    async fn no_list_reads_or_sorts_a_whole_table_in_sqlite() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let known = super::super::migrate::KNOWN;
        super::super::migrate::sqlite(&mut connection, known).await.unwrap();
        for (statement, index) in [
            (FIND_BY_ID, "SEARCH object"),
            (FIND_EXTERNAL, "SEARCH e USING PRIMARY KEY (tenant=? AND kind=? AND external_id=?)"),
            (LIST, "object_by_tenant (tenant=? AND kind=? AND id>?)"),
            (LIST_BY_SOURCE, "object_by_source (tenant=? AND kind=? AND source=? AND id>?)"),
            (LIST_BY_EXTERNAL_ID, "SEARCH d USING PRIMARY KEY (tenant=? AND kind=? AND external_id=?)"),
            (LIST_BY_REFERENCE, "SEARCH d USING PRIMARY KEY (tenant=? AND to_id=? AND kind=? AND object>?)"),
            (
                LIST_BY_LABEL,
                "SEARCH d USING PRIMARY KEY (tenant=? AND kind=? AND name=? AND value=? AND object>?)",
            ),
            (SCAN, "(kind=? AND id>?)"),
            (CHANGES_SINCE, "object_by_seq (seq>? AND seq<?)"),
            (EVENTS, "(tenant=? AND seq>? AND seq<?)"),
        ] {
            let text = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sqlite));
            let rows = sqlx::query(text).bind("{}").fetch_all(&mut connection).await.unwrap();
            let plan: String = rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect();
            assert!(plan.contains(index), "{}: {plan}", statement.doing);
            assert!(
                !plan.contains("SCAN object") && !plan.contains("SCAN event"),
                "{}: {plan}",
                statement.doing
            );
        }
    }
}
