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
           t.sequence, t.updated_at, iif(t.record IS NULL, NULL, hex(t.record))))"
    };
}

macro_rules! postgres_grant {
    () => {
        "json_build_array(encode(t.tenant, 'hex'), encode(t.first, 'hex'), t.len, t.vrf, t.state,
           encode(t.service, 'hex'), t.slot, encode(t.pool, 'hex'), encode(t.network, 'hex'), encode(t.mac, 'hex'),
           t.line, encode(t.via, 'hex'), encode(t.session, 'hex'), t.lease_ends_at, t.since, t.policy_digest,
           t.node, t.sequence, t.updated_at, encode(t.record, 'hex'))"
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

/// One way to a page: the rows `x` of `$from` that `$lead` finds, in `$order` after the key. `$state` and `$time` are
/// the columns that these filters mean, `$after` compares with the key.
macro_rules! sqlite_page {
    ($columns:expr, $from:expr, $state:expr, $time:expr, $after:expr, $order:expr, $lead:expr) => {
        concat!(
            "SELECT (SELECT seq FROM counter), ",
            $columns,
            " FROM (SELECT x.* FROM ",
            $from,
            " WHERE x.tenant = unhex(?1->>'tenant') AND ",
            $lead,
            " AND ",
            $after,
            " AND (?1->>'service' IS NULL OR x.service = unhex(?1->>'service'))
             AND (?1->>'mac' IS NULL OR x.mac = unhex(?1->>'mac'))
             AND (?1->>'state' IS NULL OR x.",
            $state,
            " = ?1->>'state') AND x.",
            $time,
            " >= ?1->>'from' AND x.",
            $time,
            " < ?1->>'to' ORDER BY ",
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
            ")::text, '[]') FROM (SELECT * FROM ",
            $table,
            " x WHERE x.tenant = decode($1::jsonb->>'tenant', 'hex') AND ",
            $lead,
            " AND ",
            $after,
            " AND ($1::jsonb->>'service' IS NULL OR x.service = decode($1::jsonb->>'service', 'hex'))
             AND ($1::jsonb->>'mac' IS NULL OR x.mac = decode($1::jsonb->>'mac', 'hex'))
             AND ($1::jsonb->>'state' IS NULL OR x.",
            $state,
            " = $1::jsonb->>'state') AND x.",
            $time,
            " >= ($1::jsonb->>'from')::bigint AND x.",
            $time,
            " < ($1::jsonb->>'to')::bigint ORDER BY ",
            $order,
            " LIMIT ($1::jsonb->>'limit')::bigint) t"
        )
    };
}

/// The keys `k` of rows of `$prefixes` that overlap the prefix asked for (they lie inside it or are one of those
/// above), and the rows `x` of `$table` that have them.
macro_rules! sqlite_overlapping {
    ($table:expr, $key:expr, $same:expr, $prefixes:expr) => {
        concat!(
            "(SELECT ",
            $key,
            " FROM ",
            $prefixes,
            " WHERE tenant = unhex(?1->>'tenant') AND first BETWEEN unhex(?1->>'low') AND unhex(?1->>'high')
             UNION SELECT ",
            $key,
            " FROM jsonb_each(?1, '$.above') a CROSS JOIN ",
            $prefixes,
            " p ON p.tenant = unhex(?1->>'tenant') AND p.first = unhex(a.value->>'first')
               AND p.len = a.value->>'len') k CROSS JOIN ",
            $table,
            " x ON x.tenant = unhex(?1->>'tenant') AND ",
            $same
        )
    };
}

/// The same as a condition on a row `$row`. An array, unlike a join, is computed once even where the planner has no
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

/// Builds all ways to the pages of one table; `$open` is what the index by state has rows of. SQLite is told which index leads: without statistics it prefers the one
/// by time to the one by service, and reads a year to find two rows.
macro_rules! ways {
    (
        doing: $doing:expr, columns: $sqlite:ident $postgres:ident, table: $table:expr, state: $state:expr,
        time: $time:expr, order: $order:expr, after: $sqlite_after:expr, $postgres_after:expr,
        indexes: $order_index:expr, $service_index:expr, $mac_index:expr, $state_index:expr,
        open: $open:expr,
        overlapping: $sqlite_overlapping:expr, $postgres_overlapping:expr,
    ) => {
        Ways {
            in_order: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, concat!($table, " x ", $order_index), "true", "true"),
            by_service: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, concat!($table, " x ", $service_index), "x.service = unhex(?1->>'service')",
                "x.service = decode($1::jsonb->>'service', 'hex')"),
            by_mac: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, concat!($table, " x ", $mac_index), "x.mac = unhex(?1->>'mac')",
                "x.mac = decode($1::jsonb->>'mac', 'hex')"),
            by_state: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, concat!($table, " x ", $state_index),
                concat!($open, "x.", $state, " = ?1->>'state'"),
                concat!($open, "x.", $state, " = $1::jsonb->>'state'")),
            by_prefix: ways!(@way $doing, $sqlite, $postgres, $table, $state, $time, $order, $sqlite_after,
                $postgres_after, $sqlite_overlapping, "true", $postgres_overlapping),
        }
    };
    (@way $doing:expr, $sqlite:ident, $postgres:ident, $table:expr, $state:expr, $time:expr, $order:expr,
     $sqlite_after:expr, $postgres_after:expr, $from:expr, $sqlite_lead:expr, $postgres_lead:expr) => {
        Statement {
            doing: $doing,
            sqlite: sqlite_page!($sqlite!(), $from, $state, $time, $sqlite_after, $order, $sqlite_lead),
            postgres: postgres_page!($postgres!(), $table, $state, $time, $postgres_after, $order, $postgres_lead),
        }
    };
}

pub(super) const SESSIONS: Ways = ways! {
    doing: "reading sessions",
    columns: sqlite_session postgres_session,
    table: "session",
    state: "state",
    time: "updated_at",
    order: "started_at DESC, id DESC",
    after: "(x.started_at, x.id) < (?1->>'$.key[0]', unhex(?1->>'$.key[1]'))",
        "(x.started_at, x.id) < (($1::jsonb->'key'->>0)::bigint, decode($1::jsonb->'key'->>1, 'hex'))",
    indexes: "INDEXED BY session_by_start", "INDEXED BY session_by_service", "INDEXED BY session_by_mac",
        "INDEXED BY session_open",
    open: "x.state <> 'closed' AND ",
    overlapping: sqlite_overlapping!("session", "session", "x.id = k.session", "session_address"),
        concat!(
            "x.id = ANY (ARRAY(SELECT p.session FROM session_address p
               WHERE p.tenant = decode($1::jsonb->>'tenant', 'hex') AND ",
            postgres_overlapping!("p"),
            "))"
        ),
};

/// The state of a grant is its own; its time is when the holder got it. The primary key is in prefix order.
pub(super) const GRANTS: Ways = ways! {
    doing: "reading grants",
    columns: sqlite_grant postgres_grant,
    table: "grant_now",
    state: "state",
    time: "since",
    order: "first, len, vrf",
    after: "(x.first, x.len, x.vrf) > (unhex(?1->>'$.key[0]'), ?1->>'$.key[1]', ?1->>'$.key[2]')",
        "(x.first, x.len, x.vrf) > (decode($1::jsonb->'key'->>0, 'hex'), ($1::jsonb->'key'->>1)::bigint,
           $1::jsonb->'key'->>2)",
    indexes: "", "INDEXED BY grant_by_service", "INDEXED BY grant_by_mac", "",
    open: "",
    overlapping: sqlite_overlapping!("grant_now", "first, len, vrf",
            "x.first = k.first AND x.len = k.len AND x.vrf = k.vrf", "grant_now"),
        postgres_overlapping!("x"),
};

/// What other nodes wrote: of each node the rows after the sequence that `after` names for it.
pub(super) const GRANTS_OF_OTHERS: Statement = Statement {
    doing: "reading grants of other nodes",
    // Nobody shares an embedded database, so nothing there is made to be quick.
    sqlite: concat!(
        "SELECT count(*), ",
        sqlite_grant!(),
        " FROM (SELECT g.* FROM grant_now g
             LEFT JOIN jsonb_each(?1, '$.after') a ON a.value->>'node' = g.node
           WHERE g.node <> ?1->>'node' AND g.record IS NOT NULL
             AND g.sequence > coalesce(a.value->>'sequence', 0)
           ORDER BY g.node, g.sequence LIMIT ?1->>'limit') t"
    ),
    postgres: concat!(
        "SELECT count(*), coalesce(json_agg(",
        postgres_grant!(),
        " ORDER BY t.node, t.sequence)::text, '[]') FROM (
             SELECT g.* FROM applied n
             LEFT JOIN jsonb_to_recordset($1::jsonb->'after') AS a(node bigint, sequence bigint) ON a.node = n.node
             CROSS JOIN LATERAL (
               SELECT * FROM grant_now WHERE node = n.node AND record IS NOT NULL
                 AND sequence > coalesce(a.sequence, 0)
               ORDER BY sequence LIMIT ($1::jsonb->>'limit')::bigint) g
             WHERE n.node <> ($1::jsonb->>'node')::bigint
             ORDER BY g.node, g.sequence LIMIT ($1::jsonb->>'limit')::bigint) t"
    ),
};

/// A binding has no state; the filter means its action.
pub(super) const BINDINGS: Ways = ways! {
    doing: "reading bindings",
    columns: sqlite_binding postgres_binding,
    table: "binding",
    state: "action",
    time: "at",
    order: "at, node, sequence, part",
    after: "(x.at, x.node, x.sequence, x.part)
           > (?1->>'$.key[0]', ?1->>'$.key[1]', ?1->>'$.key[2]', ?1->>'$.key[3]')",
        "(x.at, x.node, x.sequence, x.part) > (($1::jsonb->'key'->>0)::bigint, ($1::jsonb->'key'->>1)::bigint,
           ($1::jsonb->'key'->>2)::bigint, ($1::jsonb->'key'->>3)::bigint)",
    indexes: "INDEXED BY binding_by_time", "INDEXED BY binding_by_service", "INDEXED BY binding_by_mac",
        "INDEXED BY binding_by_time",
    open: "",
    overlapping: sqlite_overlapping!("binding", "day, node, sequence, part",
            "x.day = k.day AND x.node = k.node AND x.sequence = k.sequence AND x.part = k.part", "binding"),
        postgres_overlapping!("x"),
};

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

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnection;
    use sqlx::{AssertSqlSafe, Connection as _, Row};

    use super::*;

    async fn plan(connection: &mut SqliteConnection, statement: &Statement) -> String {
        let text = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sqlite));
        let rows = sqlx::query(text).bind("{}").fetch_all(connection).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect()
    }

    #[tokio::test]
    async fn every_way_to_a_page_is_led_by_its_index_in_sqlite() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        super::super::migrate::sqlite(&mut connection, super::super::migrate::KNOWN).await.unwrap();
        for (ways, indexes) in [
            (&SESSIONS, ["session_by_start", "session_by_service", "session_by_mac", "session_open"]),
            (&BINDINGS, ["binding_by_time", "binding_by_service", "binding_by_mac", "binding_by_time"]),
            (&GRANTS, ["PRIMARY KEY", "grant_by_service", "grant_by_mac", "PRIMARY KEY"]),
        ] {
            let statements = [&ways.in_order, &ways.by_service, &ways.by_mac, &ways.by_state];
            for (statement, index) in statements.into_iter().zip(indexes) {
                let plan = plan(&mut connection, statement).await;
                assert!(plan.contains(index), "{index}: {plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{index}: {plan}");
            }
            let plan = plan(&mut connection, &ways.by_prefix).await;
            // Overlapping keys come from an index on prefixes, each row from its primary key.
            assert!(plan.contains("SEARCH x USING PRIMARY KEY"), "{plan}");
            assert!(plan.contains("AND first>? AND first<?"), "{plan}");
            assert!(plan.contains("AND first=? AND len=?"), "{plan}");
        }
    }
}
