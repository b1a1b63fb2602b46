-- Desired state and its history. Ids are 16-byte blobs, times milliseconds since 1970.

-- Not referenced by foreign keys: no verb makes tenants yet, and the default one always exists.
CREATE TABLE tenant (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;
INSERT INTO tenant (id, name) VALUES (x'00000000000070008000000000000001', 'default');

-- One row: the number of the newest commit.
CREATE TABLE counter (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO counter (id, seq) VALUES (1, 0);

-- An id is minted once, whoever the tenant is: the tenant is a column of the row and leads every other index. The
-- primary key is also the order of the bulk read.
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
CREATE INDEX object_by_tenant ON object (tenant, kind, id) WHERE deleted_at IS NULL;
CREATE INDEX object_by_seq ON object (seq, kind, id);
CREATE INDEX object_by_source ON object (tenant, kind, source, id) WHERE deleted_at IS NULL;

-- The next four hold rows of living objects only. In object_external, source '' stands for none. Their second indexes
-- begin with the object, so that no list mistakes them for its own order.
CREATE TABLE object_external (
    tenant BLOB NOT NULL,
    kind TEXT NOT NULL,
    external_id TEXT NOT NULL,
    source TEXT NOT NULL,
    object BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, external_id, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_external_by_object ON object_external (object, kind);

CREATE TABLE object_key (
    tenant BLOB NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_key_by_object ON object_key (object, kind);

CREATE TABLE object_ref (
    tenant BLOB NOT NULL,
    to_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    to_kind TEXT NOT NULL,
    PRIMARY KEY (tenant, to_id, kind, object, to_kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_ref_by_object ON object_ref (object, kind);

CREATE TABLE object_label (
    tenant BLOB NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    object BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, name, value, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_label_by_object ON object_label (object, kind);

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

-- Append-only. Secrets arrive redacted; before is empty for a creation, after for a deletion.
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
CREATE INDEX audit_by_object ON audit (kind, object, seq);
CREATE TRIGGER audit_keeps_rows BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'audit rows are append-only'); END;
