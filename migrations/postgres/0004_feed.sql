-- What nodes learn from each other: the journal record behind the last state of a prefix, so that another node can take
-- it over. Rows of before this have no record and are learned when they change next.

ALTER TABLE grant_now ADD COLUMN updated_at bigint NOT NULL DEFAULT 0;
ALTER TABLE grant_now ADD COLUMN record bytea;
UPDATE grant_now SET updated_at = since;
CREATE INDEX grant_by_record ON grant_now (node, sequence) WHERE record IS NOT NULL;
