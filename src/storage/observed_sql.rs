//! The statements that apply observed state and purge history.

use super::bulk::{Bulk, for_rows};
use super::statement::Statement;

/// Whether the row given is newer than the one stored: of one node by sequence, of two by time.
macro_rules! newer {
    ($stored:literal, $given:literal) => {
        concat!(
            "CASE WHEN ",
            $stored,
            ".node = ",
            $given,
            ".node THEN ",
            $given,
            ".sequence > ",
            $stored,
            ".sequence
               ELSE (",
            $given,
            ".updated_at, ",
            $given,
            ".node) > (",
            $stored,
            ".updated_at, ",
            $stored,
            ".node) END"
        )
    };
}

macro_rules! session_columns {
    () => {
        "INTO session (tenant, id, day, service, slot, nas, acct_session_id, login, mac,
           addresses, state, started_at, updated_at, stopped_at, cause, octets_in, octets_out, packets_in,
           packets_out, records, policy_digest, node, sequence) "
    };
}

/// What every report of a session changes, and no index has.
macro_rules! session_reported {
    () => {
        "slot = excluded.slot, nas = excluded.nas, acct_session_id = excluded.acct_session_id,
           login = excluded.login, updated_at = excluded.updated_at, stopped_at = excluded.stopped_at,
           cause = excluded.cause, octets_in = excluded.octets_in, octets_out = excluded.octets_out,
           packets_in = excluded.packets_in, packets_out = excluded.packets_out, records = excluded.records,
           policy_digest = excluded.policy_digest, node = excluded.node, sequence = excluded.sequence"
    };
}

macro_rules! session_stays {
    () => {
        "session.service = excluded.service AND session.mac IS NOT DISTINCT FROM excluded.mac
           AND session.day = excluded.day AND session.started_at = excluded.started_at
           AND session.addresses = excluded.addresses"
    };
}

macro_rules! sessions {
    ($doing:literal, $then:expr) => {
        Bulk {
            doing: $doing,
            sqlite: for_rows!(
                concat!("INSERT OR FAIL ", session_columns!(), "VALUES "),
                "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                concat!(" ON CONFLICT (tenant, id) DO ", $then)
            ),
            postgres: concat!(
                "INSERT ",
                session_columns!(),
                "SELECT decode(i.tenant, 'hex'), decode(i.id, 'hex'), i.day, decode(i.service, 'hex'), i.slot,
                   decode(i.nas, 'hex'), i.acct_session_id, i.login, decode(i.mac, 'hex'), i.addresses, i.state,
                   i.started_at, i.updated_at, i.stopped_at, i.cause, i.octets_in, i.octets_out, i.packets_in,
                   i.packets_out, i.records, i.policy_digest, i.node, i.sequence
                 FROM json_to_recordset($1::json) AS i(tenant text, id text, day bigint, service text,
                   slot bigint, nas text, acct_session_id text, login text, mac text, addresses text, state text,
                   started_at bigint, updated_at bigint, stopped_at bigint, cause text, octets_in bigint,
                   octets_out bigint, packets_in bigint, packets_out bigint, records bigint,
                   policy_digest bigint, node bigint, sequence bigint)
                 ON CONFLICT (tenant, id) DO ",
                $then
            ),
        }
    };
}

pub(super) const OPEN_POSITION: Statement = Statement {
    doing: "opening a journal position",
    sqlite: "INSERT INTO applied (node, sequence) VALUES (?1->>'node', 0) ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO applied (node, sequence) VALUES (($1::jsonb->>'node')::bigint, 0)
               ON CONFLICT DO NOTHING",
};

/// Held until the transaction ends: an older process of the same node must not apply beside this one.
pub(super) const LOCK_POSITION: Statement = Statement {
    doing: "locking a journal position",
    sqlite: "SELECT sequence, '' FROM applied WHERE node = ?1->>'node'",
    postgres: "SELECT sequence, '' FROM applied WHERE node = ($1::jsonb->>'node')::bigint FOR UPDATE",
};

pub(super) const MOVE_POSITION: Statement = Statement {
    doing: "storing a journal position",
    sqlite: "UPDATE applied SET sequence = ?1->>'sequence' WHERE node = ?1->>'node'",
    postgres: "UPDATE applied SET sequence = ($1::jsonb->>'sequence')::bigint
               WHERE node = ($1::jsonb->>'node')::bigint",
};

pub(super) const POSITION: Statement = Statement {
    doing: "reading a journal position",
    sqlite: "SELECT coalesce((SELECT sequence FROM applied WHERE node = ?1->>'node'), 0), ''",
    postgres: "SELECT coalesce((SELECT sequence FROM applied WHERE node = ($1::jsonb->>'node')::bigint), 0), ''",
};

pub(super) const INSERT_BINDINGS: Bulk = Bulk {
    doing: "writing bindings",
    sqlite: for_rows!(
        "INSERT OR FAIL INTO binding (day, node, sequence, part, at, tenant, vrf, first, len, action,
           service, slot, mac, line, nas, session, evidence) VALUES ",
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        " ON CONFLICT DO NOTHING"
    ),
    postgres: "INSERT INTO binding (day, node, sequence, part, at, tenant, vrf, first, len, action,
                 service, slot, mac, line, nas, session, evidence)
               SELECT i.day, i.node, i.sequence, i.part, i.at, decode(i.tenant, 'hex'), i.vrf,
                 decode(i.first, 'hex'), i.len, i.action, decode(i.service, 'hex'), i.slot,
                 decode(i.mac, 'hex'), i.line, decode(i.nas, 'hex'), decode(i.session, 'hex'), i.evidence
               FROM json_to_recordset($1::json) AS i(day bigint, node bigint, sequence bigint, part bigint,
                 at bigint, tenant text, vrf text, first text, len bigint, action text, service text,
                 slot bigint, mac text, line text, nas text, session text, evidence text)
               ON CONFLICT DO NOTHING",
};

/// Writes sessions that nothing is known of yet. By far the cheapest for SQLite, where an update of many rows copies every
/// page aside first.
pub(super) const INSERT_SESSIONS: Bulk = sessions!("writing new sessions", "NOTHING");

/// Writes what live sessions report: one entry in the tree of rows each, none in an index. Passes over rows that are older
/// than what is stored, and those that change more.
pub(super) const REPORT_SESSIONS: Bulk = sessions!(
    "writing reports of sessions",
    concat!(
        "UPDATE SET ",
        session_reported!(),
        " WHERE session.state = excluded.state AND ",
        session_stays!(),
        " AND ",
        newer!("session", "excluded")
    )
);

/// The same for sessions that ended.
pub(super) const END_SESSIONS: Bulk = sessions!(
    "writing ends of sessions",
    concat!(
        "UPDATE SET state = excluded.state, ",
        session_reported!(),
        " WHERE ",
        session_stays!(),
        " AND ",
        newer!("session", "excluded")
    )
);

/// Replaces older rows only, whatever changed.
pub(super) const REPLACE_SESSIONS: Bulk = sessions!(
    "replacing sessions",
    concat!(
        "UPDATE SET state = excluded.state, day = excluded.day, service = excluded.service, mac = excluded.mac,
           addresses = excluded.addresses, started_at = excluded.started_at, ",
        session_reported!(),
        " WHERE ",
        newer!("session", "excluded")
    )
);

/// Removes the addresses of sessions that are about to be replaced by rows with other ones.
pub(super) const FORGET_ADDRESSES: Statement = Statement {
    doing: "replacing addresses of sessions",
    sqlite: "DELETE FROM session_address WHERE (tenant, session) IN (
               SELECT s.tenant, s.id FROM jsonb_each(?1) i CROSS JOIN session s
               ON s.tenant = unhex(i.value->>'tenant') AND s.id = unhex(i.value->>'id')
               WHERE s.addresses <> i.value->>'addresses'
               AND CASE WHEN s.node = i.value->>'node' THEN i.value->>'sequence' > s.sequence
               ELSE (i.value->>'updated_at', i.value->>'node') > (s.updated_at, s.node) END)",
    postgres: "DELETE FROM session_address a
               USING json_to_recordset($1::json) AS i(tenant text, id text, addresses text, updated_at bigint,
                 node bigint, sequence bigint)
               JOIN session s ON s.tenant = decode(i.tenant, 'hex') AND s.id = decode(i.id, 'hex')
               WHERE a.tenant = s.tenant AND a.session = s.id AND s.addresses <> i.addresses
               AND CASE WHEN s.node = i.node THEN i.sequence > s.sequence
               ELSE (i.updated_at, i.node) > (s.updated_at, s.node) END",
};

/// Which sessions took their row shows in the row itself: it carries the position of the address.
pub(super) const INSERT_ADDRESSES: Bulk = Bulk {
    doing: "writing addresses of sessions",
    sqlite: for_rows!(
        "INSERT OR FAIL INTO session_address (tenant, first, len, session)
           SELECT s.tenant, i.column3, i.column4, s.id FROM (VALUES ",
        "(?,?,?,?,?,?)",
        ") i CROSS JOIN session s ON s.tenant = i.column1 AND s.id = i.column2
           AND s.node = i.column5 AND s.sequence = i.column6
           WHERE true ON CONFLICT DO NOTHING"
    ),
    postgres: "INSERT INTO session_address (tenant, first, len, session)
               SELECT s.tenant, decode(i.first, 'hex'), i.len, s.id
               FROM json_to_recordset($1::json) AS i(tenant text, session text, first text, len bigint,
                 node bigint, sequence bigint)
               JOIN session s ON s.tenant = decode(i.tenant, 'hex') AND s.id = decode(i.session, 'hex')
               AND s.node = i.node AND s.sequence = i.sequence
               ON CONFLICT DO NOTHING",
};

macro_rules! grant_columns {
    () => {
        "INTO grant_now (tenant, first, len, vrf, state, service, slot, pool, network, mac, line, via,
           session, lease_ends_at, since, policy_digest, node, sequence, updated_at, record) "
    };
}

macro_rules! grant_conflict {
    () => {
        concat!(
            " ON CONFLICT (tenant, first, len, vrf) DO UPDATE SET state = excluded.state,
               service = excluded.service, slot = excluded.slot, pool = excluded.pool,
               network = excluded.network, mac = excluded.mac, line = excluded.line, via = excluded.via,
               session = excluded.session, lease_ends_at = excluded.lease_ends_at, since = excluded.since,
               policy_digest = excluded.policy_digest, node = excluded.node, sequence = excluded.sequence,
               updated_at = excluded.updated_at, record = excluded.record
             WHERE ",
            newer!("grant_now", "excluded")
        )
    };
}

macro_rules! grants {
    ($then:expr) => { Bulk {
    doing: "writing grants",
    sqlite: for_rows!(
        concat!("INSERT OR FAIL ", grant_columns!(), "VALUES "),
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        $then
    ),
    postgres: concat!(
        "INSERT ",
        grant_columns!(),
        "SELECT decode(i.tenant, 'hex'), decode(i.first, 'hex'), i.len, i.vrf, i.state,
                 decode(i.service, 'hex'), i.slot, decode(i.pool, 'hex'), decode(i.network, 'hex'),
                 decode(i.mac, 'hex'), i.line, decode(i.via, 'hex'), decode(i.session, 'hex'), i.lease_ends_at,
                 i.since, i.policy_digest, i.node, i.sequence, i.updated_at, decode(i.record, 'hex')
               FROM json_to_recordset($1::json) AS i(tenant text, first text, len bigint, vrf text,
                 state text, service text, slot bigint, pool text, network text, mac text, line text, via text,
                 session text, lease_ends_at bigint, since bigint, policy_digest bigint, node bigint,
                 sequence bigint, updated_at bigint, record text)",
        $then
    ),
}
    };
}

/// Writes grants of prefixes that nothing is known of yet.
pub(super) const INSERT_GRANTS: Bulk = grants!(" ON CONFLICT DO NOTHING");

/// Replaces older rows only: of two nodes, those whose record was decided earlier.
pub(super) const UPSERT_GRANTS: Bulk = grants!(grant_conflict!());

/// Removes the rows of addresses that became free, unless what is stored is newer.
pub(super) const FREE_GRANTS: Statement = Statement {
    doing: "removing grants",
    sqlite: "DELETE FROM grant_now WHERE (tenant, first, len, vrf) IN (
               SELECT g.tenant, g.first, g.len, g.vrf FROM jsonb_each(?1) i CROSS JOIN grant_now g
               ON g.tenant = unhex(i.value->>'tenant') AND g.first = unhex(i.value->>'first')
               AND g.len = i.value->>'len' AND g.vrf = i.value->>'vrf'
               WHERE CASE WHEN g.node = i.value->>'node' THEN i.value->>'sequence' > g.sequence
               ELSE (i.value->>'updated_at', i.value->>'node') > (g.updated_at, g.node) END)",
    postgres:
        "DELETE FROM grant_now g USING json_to_recordset($1::json) AS i(tenant text, first text, len bigint,
                 vrf text, updated_at bigint, node bigint, sequence bigint)
               WHERE g.tenant = decode(i.tenant, 'hex') AND g.first = decode(i.first, 'hex') AND g.len = i.len
               AND g.vrf = i.vrf AND CASE WHEN g.node = i.node THEN i.sequence > g.sequence
               ELSE (i.updated_at, i.node) > (g.updated_at, g.node) END",
};

pub(super) const PURGE_BINDINGS: Statement = Statement {
    doing: "purging bindings",
    sqlite: "DELETE FROM binding WHERE (day, node, sequence, part) IN (
               SELECT day, node, sequence, part FROM binding WHERE day < ?1->>'day'
               ORDER BY day, node, sequence, part LIMIT ?1->>'limit')",
    postgres: "DELETE FROM binding WHERE (day, node, sequence, part) IN (
                 SELECT day, node, sequence, part FROM binding WHERE day < ($1::jsonb->>'day')::bigint
                 ORDER BY day, node, sequence, part LIMIT ($1::jsonb->>'limit')::bigint)",
};

/// Before the sessions themselves, and of the same ones.
pub(super) const PURGE_ADDRESSES: Statement = Statement {
    doing: "purging addresses of sessions",
    sqlite: "DELETE FROM session_address WHERE (tenant, session) IN (
               SELECT tenant, id FROM session WHERE state = 'closed' AND day < ?1->>'day'
               ORDER BY day, tenant, id LIMIT ?1->>'limit')",
    postgres: "DELETE FROM session_address WHERE (tenant, session) IN (
                 SELECT tenant, id FROM session WHERE state = 'closed' AND day < ($1::jsonb->>'day')::bigint
                 ORDER BY day, tenant, id LIMIT ($1::jsonb->>'limit')::bigint)",
};

pub(super) const PURGE_SESSIONS: Statement = Statement {
    doing: "purging sessions",
    sqlite: "DELETE FROM session WHERE (tenant, id) IN (
               SELECT tenant, id FROM session WHERE state = 'closed' AND day < ?1->>'day'
               ORDER BY day, tenant, id LIMIT ?1->>'limit')",
    postgres: "DELETE FROM session WHERE (tenant, id) IN (
                 SELECT tenant, id FROM session WHERE state = 'closed' AND day < ($1::jsonb->>'day')::bigint
                 ORDER BY day, tenant, id LIMIT ($1::jsonb->>'limit')::bigint)",
};
