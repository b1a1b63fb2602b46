-- Desired state and its history. Ids are 16-byte bytea, times milliseconds since 1970.

-- Not referenced by foreign keys: no verb makes tenants yet, and the default one always exists.
CREATE TABLE tenant (
    id bytea NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);
INSERT INTO tenant (id, name) VALUES ('\x00000000000070008000000000000001', 'default');

-- One row: the number of the newest commit.
CREATE TABLE counter (
    id bigint NOT NULL PRIMARY KEY CHECK (id = 1),
    seq bigint NOT NULL
);
INSERT INTO counter (id, seq) VALUES (1, 0);

-- An id is minted once, whoever the tenant is: the tenant is a column of the row and leads every other index. The
-- primary key is also the order of the bulk read.
CREATE TABLE object (
    tenant bytea NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id bytea NOT NULL,
    source text COLLATE "C",
    external_id text COLLATE "C",
    generation bigint NOT NULL,
    source_version bigint,
    labels text COLLATE "C" NOT NULL,
    annotations text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    updated_by text COLLATE "C" NOT NULL,
    deleted_at bigint,
    seq bigint NOT NULL,
    spec text COLLATE "C" NOT NULL,
    sealed bytea,
    PRIMARY KEY (kind, id)
);
CREATE INDEX object_by_tenant ON object (tenant, kind, id) WHERE deleted_at IS NULL;
CREATE INDEX object_by_seq ON object (seq, kind, id);
CREATE INDEX object_by_source ON object (tenant, kind, source, id) WHERE deleted_at IS NULL;

-- The next four hold rows of living objects only. In object_external, source '' stands for none. Their second indexes
-- begin with the object, so that no list mistakes them for its own order.
CREATE TABLE object_external (
    tenant bytea NOT NULL,
    kind text COLLATE "C" NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    object bytea NOT NULL,
    PRIMARY KEY (tenant, kind, external_id, source)
);
CREATE INDEX object_external_by_object ON object_external (object, kind);

CREATE TABLE object_key (
    tenant bytea NOT NULL,
    key text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    object bytea NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX object_key_by_object ON object_key (object, kind);

CREATE TABLE object_ref (
    tenant bytea NOT NULL,
    to_id bytea NOT NULL,
    kind text COLLATE "C" NOT NULL,
    object bytea NOT NULL,
    to_kind text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, to_id, kind, object, to_kind)
);
CREATE INDEX object_ref_by_object ON object_ref (object, kind);

CREATE TABLE object_label (
    tenant bytea NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    object bytea NOT NULL,
    PRIMARY KEY (tenant, kind, name, value, object)
);
CREATE INDEX object_label_by_object ON object_label (object, kind);

CREATE TABLE event (
    tenant bytea NOT NULL,
    seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    object bytea NOT NULL,
    at bigint NOT NULL,
    action text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    request text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, seq, kind, object)
);

-- Append-only. Secrets arrive redacted; before is empty for a creation, after for a deletion.
CREATE TABLE audit (
    tenant bytea NOT NULL,
    seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    object bytea NOT NULL,
    at bigint NOT NULL,
    actor text COLLATE "C" NOT NULL,
    request text COLLATE "C" NOT NULL,
    before text COLLATE "C" NOT NULL,
    after text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, seq, kind, object)
);
CREATE INDEX audit_by_object ON audit (kind, object, seq);
CREATE FUNCTION audit_keeps_rows() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit rows are append-only'; END $$;
CREATE TRIGGER audit_keeps_rows BEFORE UPDATE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_keeps_rows();
