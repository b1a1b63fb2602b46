-- What nodes learn from each other: the journal record behind the last state of a prefix. A database of one node keeps
-- no records, and needs no index to find them.

ALTER TABLE grant_now ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grant_now ADD COLUMN record BLOB;
UPDATE grant_now SET updated_at = since;
