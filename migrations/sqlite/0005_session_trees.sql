-- Fewer trees to write into for each session. What is open is few among what is closed, and who asks for closed sessions
-- may as well read them in order. Addresses go with their session by the statement that purges it: checking the reference
-- for each address cost more than its row.

DROP INDEX session_by_state;
CREATE INDEX session_open ON session (tenant, state, started_at, id) WHERE state <> 'closed';

CREATE TABLE session_address_new (
    tenant BLOB NOT NULL,
    first BLOB NOT NULL,
    len INTEGER NOT NULL,
    session BLOB NOT NULL,
    PRIMARY KEY (tenant, first, len, session)
) STRICT, WITHOUT ROWID;
INSERT INTO session_address_new SELECT tenant, first, len, session FROM session_address;
DROP TABLE session_address;
ALTER TABLE session_address_new RENAME TO session_address;
CREATE INDEX session_address_by_session ON session_address (tenant, session);
