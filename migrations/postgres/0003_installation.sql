-- What belongs to the installation itself: tokens, sealed keys, nodes and who owns which pool block.

CREATE TABLE token (
    id bytea NOT NULL PRIMARY KEY,
    tenant bytea NOT NULL,
    name text COLLATE "C" NOT NULL,
    source text COLLATE "C",
    hash bytea NOT NULL,
    scopes text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint
);

CREATE TABLE key_store (
    tenant bytea NOT NULL,
    name text COLLATE "C" NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE node (
    id bigint NOT NULL PRIMARY KEY,
    epoch bigint NOT NULL
);

CREATE TABLE pool_block (
    pool bytea NOT NULL,
    block bigint NOT NULL,
    node bigint NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (pool, block)
);
