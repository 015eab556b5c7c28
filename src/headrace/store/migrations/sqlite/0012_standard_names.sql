-- The field's own words for what these tables hold. SQLite renames tables in views and triggers
-- itself; indexes, views and triggers have to be created again.
ALTER TABLE work RENAME TO event_queue;
ALTER TABLE work_retries RENAME TO event_retries;
DROP INDEX work_retries_due;
CREATE INDEX event_retries_due ON event_retries (due_us);
ALTER TABLE key_repeats RENAME TO duplicate_requests;
ALTER TABLE duties RENAME TO leader_leases;
ALTER TABLE sign_in_tries RENAME TO sign_in_attempts;
DROP INDEX sign_in_tries_since;
CREATE INDEX sign_in_attempts_since ON sign_in_attempts (since_us);
ALTER TABLE store_growth RENAME TO size_samples;

ALTER TABLE contact_pairs RENAME TO conflict_pairs;
DROP INDEX contact_pairs_open;
DROP INDEX contact_pairs_dismissed;
DROP INDEX contact_pairs_high;
DROP INDEX contact_pairs_resolved;
CREATE INDEX conflict_pairs_open ON conflict_pairs (project_id, number)
    WHERE resolved_by IS NULL AND dismissed_us IS NULL;
CREATE INDEX conflict_pairs_dismissed ON conflict_pairs (project_id, number)
    WHERE resolved_by IS NULL AND dismissed_us IS NOT NULL;
CREATE INDEX conflict_pairs_high ON conflict_pairs (high_id);
CREATE INDEX conflict_pairs_resolved ON conflict_pairs (resolved_by) WHERE resolved_by IS NOT NULL;

DROP TRIGGER events_work;
-- In the statement that inserts the events: one commit is then one call of the library, and the
-- interpreter lock changes hands once instead of four times (docs/decisions/0002-group-commit.md).
CREATE TRIGGER events_queued AFTER INSERT ON events BEGIN
    INSERT INTO event_queue (project_id, sequence, lane, due_us)
    VALUES (new.project_id, new.sequence, new.lane, new.received_us);
END;

DROP VIEW outcomes;
-- What became of each event, under the names that the table has in PostgreSQL.
CREATE VIEW event_states AS
SELECT lane, sequence, project_id, status, attempts, resolved_contact_id AS contact_id, resolution,
    last_error, processed_us
FROM events;
