CREATE TRIGGER audit_keeps_rows BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'audit rows are append-only'); END;
CREATE TABLE applied (
    node INTEGER NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT;
CREATE TABLE audit (
    tenant BLOB NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    request TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (tenant, seq, kind, object)
) STRICT;
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
CREATE TABLE counter (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
) STRICT;
CREATE TABLE event (
    tenant BLOB NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    request TEXT NOT NULL,
    PRIMARY KEY (tenant, seq, kind, object)
) STRICT, WITHOUT ROWID;
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
    sequence INTEGER NOT NULL, updated_at INTEGER NOT NULL DEFAULT 0, record BLOB,
    PRIMARY KEY (tenant, first, len, vrf)
) STRICT, WITHOUT ROWID;
CREATE TABLE key_store (
    tenant BLOB NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE node (
    id INTEGER NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE object (
    tenant BLOB NOT NULL,
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    source TEXT,
    external_id TEXT,
    generation INTEGER NOT NULL,
    source_version INTEGER,
    labels TEXT NOT NULL,
    annotations TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    deleted_at INTEGER,
    seq INTEGER NOT NULL,
    spec TEXT NOT NULL,
    sealed BLOB,
    PRIMARY KEY (kind, id)
) STRICT;
CREATE TABLE object_external (
    tenant BLOB NOT NULL,
    kind TEXT NOT NULL,
    external_id TEXT NOT NULL,
    source TEXT NOT NULL,
    object BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, external_id, source)
) STRICT, WITHOUT ROWID;
CREATE TABLE object_key (
    tenant BLOB NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE object_label (
    tenant BLOB NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    object BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, name, value, object)
) STRICT, WITHOUT ROWID;
CREATE TABLE object_ref (
    tenant BLOB NOT NULL,
    to_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    to_kind TEXT NOT NULL,
    PRIMARY KEY (tenant, to_id, kind, object, to_kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE pool_block (
    pool BLOB NOT NULL,
    block INTEGER NOT NULL,
    node INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (pool, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE schema (version INTEGER NOT NULL PRIMARY KEY,
            name TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT;
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
CREATE TABLE "session_address" (
    tenant BLOB NOT NULL,
    first BLOB NOT NULL,
    len INTEGER NOT NULL,
    session BLOB NOT NULL,
    PRIMARY KEY (tenant, first, len, session)
) STRICT, WITHOUT ROWID;
CREATE TABLE tenant (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;
CREATE TABLE token (
    id BLOB NOT NULL PRIMARY KEY,
    tenant BLOB NOT NULL,
    name TEXT NOT NULL,
    source TEXT,
    hash BLOB NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_by_object ON audit (kind, object, seq);
CREATE INDEX binding_by_mac ON binding (tenant, mac, at, node, sequence, part) WHERE mac IS NOT NULL;
CREATE INDEX binding_by_prefix ON binding (tenant, first, len, at);
CREATE INDEX binding_by_service ON binding (tenant, service, at, node, sequence, part);
CREATE INDEX binding_by_time ON binding (tenant, at, node, sequence, part);
CREATE INDEX grant_by_mac ON grant_now (tenant, mac, first, len, vrf) WHERE mac IS NOT NULL;
CREATE INDEX grant_by_service ON grant_now (tenant, service, first, len, vrf);
CREATE INDEX object_by_seq ON object (seq, kind, id);
CREATE INDEX object_by_source ON object (tenant, kind, source, id) WHERE deleted_at IS NULL;
CREATE INDEX object_by_tenant ON object (tenant, kind, id) WHERE deleted_at IS NULL;
CREATE INDEX object_external_by_object ON object_external (object, kind);
CREATE INDEX object_key_by_object ON object_key (object, kind);
CREATE INDEX object_label_by_object ON object_label (object, kind);
CREATE INDEX object_ref_by_object ON object_ref (object, kind);
CREATE INDEX session_address_by_session ON session_address (tenant, session);
CREATE INDEX session_by_mac ON session (tenant, mac, started_at, id) WHERE mac IS NOT NULL;
CREATE INDEX session_by_service ON session (tenant, service, started_at, id);
CREATE INDEX session_by_start ON session (tenant, started_at, id);
CREATE INDEX session_closed_by_day ON session (day) WHERE state = 'closed';
CREATE INDEX session_open ON session (tenant, state, started_at, id) WHERE state <> 'closed';
