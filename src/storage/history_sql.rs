//! The statements that read observed state.

use super::statement::Statement;

/// The same page, led by each index that a filter can use.
pub(super) struct Ways {
    pub(super) in_order: Statement,
    pub(super) by_service: Statement,
    pub(super) by_mac: Statement,
    pub(super) by_state: Statement,
    pub(super) by_prefix: Statement,
}

macro_rules! sqlite_session {
    () => {
        "json_group_array(json_array(hex(t.tenant), hex(t.id), t.day, hex(t.service), t.slot, hex(t.nas),
           t.acct_session_id, t.login, iif(t.mac IS NULL, NULL, hex(t.mac)), t.addresses, t.state, t.started_at,
           t.updated_at, t.stopped_at, t.cause, t.octets_in, t.octets_out, t.packets_in, t.packets_out, t.records,
           t.policy_digest, t.node, t.sequence))"
    };
}

macro_rules! postgres_session {
    () => {
        "json_build_array(encode(t.tenant, 'hex'), encode(t.id, 'hex'), t.day, encode(t.service, 'hex'), t.slot,
           encode(t.nas, 'hex'), t.acct_session_id, t.login, encode(t.mac, 'hex'), t.addresses, t.state,
           t.started_at, t.updated_at, t.stopped_at, t.cause, t.octets_in, t.octets_out, t.packets_in,
           t.packets_out, t.records, t.policy_digest, t.node, t.sequence)"
    };
}

macro_rules! sqlite_grant {
    () => {
        "json_group_array(json_array(hex(t.tenant), hex(t.first), t.len, t.vrf, t.state, hex(t.service), t.slot,
           iif(t.pool IS NULL, NULL, hex(t.pool)), iif(t.network IS NULL, NULL, hex(t.network)),
           iif(t.mac IS NULL, NULL, hex(t.mac)), t.line, iif(t.via IS NULL, NULL, hex(t.via)),
           iif(t.session IS NULL, NULL, hex(t.session)), t.lease_ends_at, t.since, t.policy_digest, t.node,
           t.sequence))"
    };
}

macro_rules! postgres_grant {
    () => {
        "json_build_array(encode(t.tenant, 'hex'), encode(t.first, 'hex'), t.len, t.vrf, t.state,
           encode(t.service, 'hex'), t.slot, encode(t.pool, 'hex'), encode(t.network, 'hex'), encode(t.mac, 'hex'),
           t.line, encode(t.via, 'hex'), encode(t.session, 'hex'), t.lease_ends_at, t.since, t.policy_digest,
           t.node, t.sequence)"
    };
}

macro_rules! sqlite_binding {
    () => {
        "json_group_array(json_array(t.day, t.node, t.sequence, t.part, t.at, hex(t.tenant), t.vrf, hex(t.first),
           t.len, t.action, hex(t.service), t.slot, iif(t.mac IS NULL, NULL, hex(t.mac)), t.line,
           iif(t.nas IS NULL, NULL, hex(t.nas)), iif(t.session IS NULL, NULL, hex(t.session)), t.evidence))"
    };
}

macro_rules! postgres_binding {
    () => {
        "json_build_array(t.day, t.node, t.sequence, t.part, t.at, encode(t.tenant, 'hex'), t.vrf,
           encode(t.first, 'hex'), t.len, t.action, encode(t.service, 'hex'), t.slot, encode(t.mac, 'hex'), t.line,
           encode(t.nas, 'hex'), encode(t.session, 'hex'), t.evidence)"
    };
}

/// One way to a page: the rows of `$table` that `$lead` finds, in `$order` after the key. `$state` and `$time` are
/// the columns that these filters mean, `$after` compares with the key.
macro_rules! sqlite_page {
    ($columns:expr, $table:expr, $state:expr, $time:expr, $after:expr, $order:expr, $lead:expr) => {
        concat!(
            "SELECT (SELECT seq FROM counter), ",
            $columns,
            " FROM (SELECT * FROM ",
            $table,
            " x
             WHERE x.tenant = unhex(?1->>'tenant') AND ",
            $lead,
            " AND ",
            $after,
            "
             AND (?1->>'service' IS NULL OR x.service = unhex(?1->>'service'))
             AND (?1->>'mac' IS NULL OR x.mac = unhex(?1->>'mac'))
             AND (?1->>'state' IS NULL OR x.",
            $state,
            " = ?1->>'state')
             AND x.",
            $time,
            " >= ?1->>'from' AND x.",
            $time,
            " < ?1->>'to'
             ORDER BY ",
            $order,
            " LIMIT ?1->>'limit') t"
        )
    };
}

macro_rules! postgres_page {
    ($columns:expr, $table:expr, $state:expr, $time:expr, $after:expr, $order:expr, $lead:expr) => {
        concat!(
            "SELECT (SELECT seq FROM counter), coalesce(json_agg(",
            $columns,
            " ORDER BY ",
            $order,
            ")::text, '[]')
             FROM (SELECT * FROM ",
            $table,
            " x
             WHERE x.tenant = decode($1::jsonb->>'tenant', 'hex') AND ",
            $lead,
            " AND ",
            $after,
            "
             AND ($1::jsonb->>'service' IS NULL OR x.service = decode($1::jsonb->>'service', 'hex'))
             AND ($1::jsonb->>'mac' IS NULL OR x.mac = decode($1::jsonb->>'mac', 'hex'))
             AND ($1::jsonb->>'state' IS NULL OR x.",
            $state,
            " = $1::jsonb->>'state')
             AND x.",
            $time,
            " >= ($1::jsonb->>'from')::bigint AND x.",
            $time,
            " < ($1::jsonb->>'to')::bigint
             ORDER BY ",
            $order,
            " LIMIT ($1::jsonb->>'limit')::bigint) t"
        )
    };
}

/// Rows of `$prefixes` that overlap the prefix asked for: they lie inside it or are one of those above. `$key` selects
/// them in the table of the page by `$column`.
macro_rules! sqlite_overlapping {
    ($key:expr, $column:expr, $prefixes:expr) => {
        concat!(
            "(",
            $key,
            ") IN (SELECT ",
            $column,
            " FROM ",
            $prefixes,
            " WHERE tenant = unhex(?1->>'tenant')
               AND first BETWEEN unhex(?1->>'low') AND unhex(?1->>'high')
             UNION ALL SELECT ",
            $column,
            " FROM jsonb_each(?1, '$.above') a CROSS JOIN ",
            $prefixes,
            " p
               ON p.tenant = unhex(?1->>'tenant') AND p.first = unhex(a.value->>'first')
               AND p.len = a.value->>'len')"
        )
    };
}

/// The same condition on a row `$row`. An array, unlike a join, is computed once even where the planner has no
/// statistics yet.
macro_rules! postgres_overlapping {
    ($row:expr) => {
        concat!(
            "(",
            $row,
            ".first BETWEEN decode($1::jsonb->>'low', 'hex') AND decode($1::jsonb->>'high', 'hex')
              OR (",
            $row,
            ".first = ANY (ARRAY(SELECT decode(a.first, 'hex')
                FROM jsonb_to_recordset($1::jsonb->'above') AS a(first text)))
              AND (",
            $row,
            ".first, ",
            $row,
            ".len) IN (SELECT decode(a.first, 'hex'), a.len
                FROM jsonb_to_recordset($1::jsonb->'above') AS a(first text, len bigint))))"
        )
    };
}

/// Builds all ways to the pages of one table from the parts that differ.
macro_rules! ways {
    ($doing:expr, $sqlite:ident, $postgres:ident, $table:expr, $state:expr, $time:expr, $order:expr,
     $sqlite_after:expr, $postgres_after:expr, $key:expr, $column:expr, $prefixes:expr, $postgres_prefix:expr) => {
        Ways {
            in_order: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, "true", "true"),
            by_service: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, "x.service = unhex(?1->>'service')",
                "x.service = decode($1::jsonb->>'service', 'hex')"),
            by_mac: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, "x.mac = unhex(?1->>'mac')", "x.mac = decode($1::jsonb->>'mac', 'hex')"),
            by_state: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, concat!("x.", $state, " = ?1->>'state'"),
                concat!("x.", $state, " = $1::jsonb->>'state'")),
            by_prefix: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, sqlite_overlapping!($key, $column, $prefixes),
                $postgres_prefix),
        }
    };
    (@way $doing:expr, $sqlite:ident, $postgres:ident, $table:expr, $state:expr, $time:expr, $order:expr,
     $sqlite_after:expr, $postgres_after:expr, $sqlite_lead:expr, $postgres_lead:expr) => {
        Statement {
            doing: $doing,
            sqlite: sqlite_page!($sqlite!(), $table, $state, $time, $sqlite_after, $order, $sqlite_lead),
            postgres: postgres_page!($postgres!(), $table, $state, $time, $postgres_after, $order, $postgres_lead),
        }
    };
}

pub(super) const SESSIONS: Ways = ways!(
    "reading sessions",
    sqlite_session,
    postgres_session,
    "session",
    "state",
    "updated_at",
    "started_at DESC, id DESC",
    "(x.started_at, x.id) < (?1->>'$.key[0]', unhex(?1->>'$.key[1]'))",
    "(x.started_at, x.id) < (($1::jsonb->'key'->>0)::bigint, decode($1::jsonb->'key'->>1, 'hex'))",
    "x.id",
    "session",
    "session_address",
    concat!(
        "x.id = ANY (ARRAY(SELECT p.session FROM session_address p
           WHERE p.tenant = decode($1::jsonb->>'tenant', 'hex') AND ",
        postgres_overlapping!("p"),
        "))"
    )
);

/// The state of a grant is its own; its time is when the holder got it.
pub(super) const GRANTS: Ways = ways!(
    "reading grants",
    sqlite_grant,
    postgres_grant,
    "grant_now",
    "state",
    "since",
    "first, len, vrf",
    "(x.first, x.len, x.vrf) > (unhex(?1->>'$.key[0]'), ?1->>'$.key[1]', ?1->>'$.key[2]')",
    "(x.first, x.len, x.vrf) > (decode($1::jsonb->'key'->>0, 'hex'), ($1::jsonb->'key'->>1)::bigint,
       $1::jsonb->'key'->>2)",
    "x.first, x.len, x.vrf",
    "first, len, vrf",
    "grant_now",
    postgres_overlapping!("x")
);

/// A binding has no state; the filter means its action.
pub(super) const BINDINGS: Ways = ways!(
    "reading bindings",
    sqlite_binding,
    postgres_binding,
    "binding",
    "action",
    "at",
    "at, node, sequence, part",
    "(x.at, x.node, x.sequence, x.part)
       > (?1->>'$.key[0]', ?1->>'$.key[1]', ?1->>'$.key[2]', ?1->>'$.key[3]')",
    "(x.at, x.node, x.sequence, x.part) > (($1::jsonb->'key'->>0)::bigint, ($1::jsonb->'key'->>1)::bigint,
       ($1::jsonb->'key'->>2)::bigint, ($1::jsonb->'key'->>3)::bigint)",
    "x.day, x.node, x.sequence, x.part",
    "day, node, sequence, part",
    "binding",
    postgres_overlapping!("x")
);

pub(super) const SESSION: Statement = Statement {
    doing: "reading a session",
    sqlite: concat!(
        "SELECT 0, ",
        sqlite_session!(),
        " FROM session t WHERE t.tenant = unhex(?1->>'tenant') AND t.id = unhex(?1->>'id')"
    ),
    postgres: concat!(
        "SELECT 0::bigint, coalesce(json_agg(",
        postgres_session!(),
        ")::text, '[]') FROM session t WHERE t.tenant = decode($1::jsonb->>'tenant', 'hex')
         AND t.id = decode($1::jsonb->>'id', 'hex')"
    ),
};
