-- Observed state, derived from the nodes' journals. Prefixes are the first address as 16 bytes (IPv4 mapped into
-- IPv6) and a length in 128-bit terms; counters and digests are unsigned 64-bit numbers in a signed column.

-- How far each node's journal has been applied.
CREATE TABLE applied (
    node bigint NOT NULL PRIMARY KEY,
    sequence bigint NOT NULL
);

CREATE TABLE session (
    tenant bytea NOT NULL,
    id bytea NOT NULL,
    day bigint NOT NULL,
    service bytea NOT NULL,
    slot bigint NOT NULL,
    nas bytea NOT NULL,
    acct_session_id text COLLATE "C" NOT NULL,
    login text COLLATE "C" NOT NULL,
    mac bytea,
    addresses text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    started_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    stopped_at bigint,
    cause text COLLATE "C",
    octets_in bigint NOT NULL,
    octets_out bigint NOT NULL,
    packets_in bigint NOT NULL,
    packets_out bigint NOT NULL,
    records bigint NOT NULL,
    policy_digest bigint NOT NULL,
    node bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);
-- updated_at is in no index: every interim record would move an entry.
CREATE INDEX session_by_start ON session (tenant, started_at, id);
CREATE INDEX session_by_service ON session (tenant, service, started_at, id);
CREATE INDEX session_by_mac ON session (tenant, mac, started_at, id) WHERE mac IS NOT NULL;
CREATE INDEX session_by_state ON session (tenant, state, started_at, id);
CREATE INDEX session_closed_by_day ON session (day) WHERE state = 'closed';

CREATE TABLE session_address (
    tenant bytea NOT NULL,
    first bytea NOT NULL,
    len bigint NOT NULL,
    session bytea NOT NULL,
    PRIMARY KEY (tenant, first, len, session),
    FOREIGN KEY (tenant, session) REFERENCES session (tenant, id) ON DELETE CASCADE
);
CREATE INDEX session_address_by_session ON session_address (tenant, session);

CREATE TABLE grant_now (
    tenant bytea NOT NULL,
    first bytea NOT NULL,
    len bigint NOT NULL,
    vrf text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    service bytea NOT NULL,
    slot bigint NOT NULL,
    pool bytea,
    network bytea,
    mac bytea,
    line text COLLATE "C" NOT NULL,
    via bytea,
    session bytea,
    lease_ends_at bigint,
    since bigint NOT NULL,
    policy_digest bigint NOT NULL,
    node bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (tenant, first, len, vrf)
);
CREATE INDEX grant_by_service ON grant_now (tenant, service, first, len, vrf);
CREATE INDEX grant_by_mac ON grant_now (tenant, mac, first, len, vrf) WHERE mac IS NOT NULL;

-- Append-only history of who held what, keyed by day so that a purge takes rows from the front. Not partitioned
-- (see the README beside these directories).
CREATE TABLE binding (
    day bigint NOT NULL,
    node bigint NOT NULL,
    sequence bigint NOT NULL,
    part bigint NOT NULL,
    at bigint NOT NULL,
    tenant bytea NOT NULL,
    vrf text COLLATE "C" NOT NULL,
    first bytea NOT NULL,
    len bigint NOT NULL,
    action text COLLATE "C" NOT NULL,
    service bytea NOT NULL,
    slot bigint NOT NULL,
    mac bytea,
    line text COLLATE "C" NOT NULL,
    nas bytea,
    session bytea,
    evidence text COLLATE "C" NOT NULL,
    PRIMARY KEY (day, node, sequence, part)
);
CREATE INDEX binding_by_time ON binding (tenant, at, node, sequence, part);
CREATE INDEX binding_by_service ON binding (tenant, service, at, node, sequence, part);
CREATE INDEX binding_by_mac ON binding (tenant, mac, at, node, sequence, part) WHERE mac IS NOT NULL;
CREATE INDEX binding_by_prefix ON binding (tenant, first, len, at);
