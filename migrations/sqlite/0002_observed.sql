-- Observed state, derived from the nodes' journals. Prefixes are the first address as 16 bytes (IPv4 mapped into
-- IPv6) and a length in 128-bit terms; counters and digests are unsigned 64-bit numbers in a signed column.

-- How far each node's journal has been applied.
CREATE TABLE applied (
    node INTEGER NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    tenant BLOB NOT NULL,
    id BLOB NOT NULL,
    day INTEGER NOT NULL,
    service BLOB NOT NULL,
    slot INTEGER NOT NULL,
    nas BLOB NOT NULL,
    acct_session_id TEXT NOT NULL,
    login TEXT NOT NULL,
    mac BLOB,
    addresses TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    stopped_at INTEGER,
    cause TEXT,
    octets_in INTEGER NOT NULL,
    octets_out INTEGER NOT NULL,
    packets_in INTEGER NOT NULL,
    packets_out INTEGER NOT NULL,
    records INTEGER NOT NULL,
    policy_digest INTEGER NOT NULL,
    node INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
-- updated_at is in no index: every interim record would move an entry.
CREATE INDEX session_by_start ON session (tenant, started_at, id);
CREATE INDEX session_by_service ON session (tenant, service, started_at, id);
CREATE INDEX session_by_mac ON session (tenant, mac, started_at, id) WHERE mac IS NOT NULL;
CREATE INDEX session_by_state ON session (tenant, state, started_at, id);
CREATE INDEX session_closed_by_day ON session (day) WHERE state = 'closed';

CREATE TABLE session_address (
    tenant BLOB NOT NULL,
    first BLOB NOT NULL,
    len INTEGER NOT NULL,
    session BLOB NOT NULL,
    PRIMARY KEY (tenant, first, len, session),
    FOREIGN KEY (tenant, session) REFERENCES session (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX session_address_by_session ON session_address (tenant, session);

CREATE TABLE grant_now (
    tenant BLOB NOT NULL,
    first BLOB NOT NULL,
    len INTEGER NOT NULL,
    vrf TEXT NOT NULL,
    state TEXT NOT NULL,
    service BLOB NOT NULL,
    slot INTEGER NOT NULL,
    pool BLOB,
    network BLOB,
    mac BLOB,
    line TEXT NOT NULL,
    via BLOB,
    session BLOB,
    lease_ends_at INTEGER,
    since INTEGER NOT NULL,
    policy_digest INTEGER NOT NULL,
    node INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (tenant, first, len, vrf)
) STRICT, WITHOUT ROWID;
CREATE INDEX grant_by_service ON grant_now (tenant, service, first, len, vrf);
CREATE INDEX grant_by_mac ON grant_now (tenant, mac, first, len, vrf) WHERE mac IS NOT NULL;

-- Append-only history of who held what, clustered by day so that a purge takes rows from the front. Not partitioned
-- (see the README beside these directories).
CREATE TABLE binding (
    day INTEGER NOT NULL,
    node INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    part INTEGER NOT NULL,
    at INTEGER NOT NULL,
    tenant BLOB NOT NULL,
    vrf TEXT NOT NULL,
    first BLOB NOT NULL,
    len INTEGER NOT NULL,
    action TEXT NOT NULL,
    service BLOB NOT NULL,
    slot INTEGER NOT NULL,
    mac BLOB,
    line TEXT NOT NULL,
    nas BLOB,
    session BLOB,
    evidence TEXT NOT NULL,
    PRIMARY KEY (day, node, sequence, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX binding_by_time ON binding (tenant, at, node, sequence, part);
CREATE INDEX binding_by_service ON binding (tenant, service, at, node, sequence, part);
CREATE INDEX binding_by_mac ON binding (tenant, mac, at, node, sequence, part) WHERE mac IS NOT NULL;
CREATE INDEX binding_by_prefix ON binding (tenant, first, len, at);
