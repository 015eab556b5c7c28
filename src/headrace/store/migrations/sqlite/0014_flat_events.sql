-- Accept writes an event's row, its key and its place in the queue; lists find it once it has been
-- processed. What is indexed lies in parts of the order of receipt, so a large store costs as much
-- as a small one (docs/decisions/0015-flat-storage.md). Events from before get their parts, and
-- their keys their table, by `store/queues/sqlite/backfill.py`, which then drops their index.

-- Ranges of sequences that events are indexed by: from `first_sequence` to the next part's.
CREATE TABLE event_parts (
    part           INTEGER PRIMARY KEY,
    first_sequence INTEGER NOT NULL UNIQUE
) STRICT;
INSERT INTO event_parts (part, first_sequence) VALUES (1, 0);

-- Set when the event is processed, or has failed for the first time. Without one it is in no index.
ALTER TABLE events ADD COLUMN part INTEGER;

DROP INDEX events_project;
DROP INDEX events_name;
DROP INDEX events_external_id;
DROP INDEX events_email;
DROP INDEX events_contact_id;
DROP INDEX events_status;
DROP INDEX events_source;
DROP INDEX events_resolved_contact;
-- For the lists; each holds only the rows that have the field.
CREATE INDEX events_project ON events (part, project_id) WHERE part IS NOT NULL;
CREATE INDEX events_name ON events (part, project_id, event) WHERE part IS NOT NULL;
CREATE INDEX events_external_id ON events (part, project_id, external_id)
    WHERE part IS NOT NULL AND external_id IS NOT NULL;
CREATE INDEX events_email ON events (part, project_id, email)
    WHERE part IS NOT NULL AND email IS NOT NULL;
CREATE INDEX events_contact_id ON events (part, project_id, contact_id)
    WHERE part IS NOT NULL AND contact_id IS NOT NULL;
CREATE INDEX events_resolved_contact ON events (part, project_id, resolved_contact_id)
    WHERE part IS NOT NULL AND resolved_contact_id IS NOT NULL;
-- Nearly all events are processed and came through the API: only the others are worth an index.
CREATE INDEX events_status ON events (part, project_id, status)
    WHERE part IS NOT NULL AND status <> 3;
CREATE INDEX events_source ON events (part, project_id, source)
    WHERE part IS NOT NULL AND source <> 0;

-- The one authority on idempotency, with the keys of the newest events, which the accepting
-- connection holds in memory (`store/queues/sqlite/keys.py`). A key counts as long as its event is
-- there.
CREATE TABLE sorted_keys (
    hash     BLOB PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Keys of removed events that are still in the large table.
CREATE TABLE expired_keys (hash BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;

-- Where the backfill is; it begins with the keys.
INSERT INTO meta (name, value) VALUES ('backfill', '{}');

DROP TRIGGER events_queued;
-- In the statement that inserts the events: one commit is then one call of the library, and the
-- interpreter lock changes hands once instead of four times (docs/decisions/0002-group-commit.md).
CREATE TRIGGER events_queued AFTER INSERT ON events BEGIN
    INSERT INTO event_queue (project_id, sequence, lane, due_us)
    VALUES (new.project_id, new.sequence, new.lane, new.received_us);
END;

CREATE TRIGGER events_removed AFTER DELETE ON events WHEN old.idempotency_hash IS NOT NULL BEGIN
    INSERT OR IGNORE INTO expired_keys (hash) VALUES (old.idempotency_hash);
END;

-- Numbers never come back: a replay that is under way ends at the number that was the last when it
-- began.
CREATE TRIGGER dead_letters_removed AFTER DELETE ON dead_letters
WHEN old.number > coalesce((SELECT max(number) FROM dead_letters), 0) BEGIN
    INSERT INTO meta (name, value) VALUES ('last_dead_letter', old.number)
    ON CONFLICT (name) DO UPDATE SET value = max(CAST(value AS INTEGER), excluded.value);
END;

DROP VIEW event_states;
-- What became of each event, under the names that the table has in PostgreSQL.
CREATE VIEW event_states AS
SELECT lane, sequence, project_id, status, attempts, resolved_contact_id AS contact_id, resolution,
    last_error, processed_us, part
FROM events;

DROP VIEW stored_events;
-- Events as they are shown, the same in both databases. `processing` is not written into the event,
-- which is marked once: it is an accepted event that a worker holds.
CREATE VIEW stored_events AS
SELECT lane, sequence, id, project_id, event, contact_id, external_id, email, email_original,
    idempotency_key, occurred_us, received_us, source, api_key_id, request_id, payload,
    resolved_contact_id, attempts, last_error,
    CASE WHEN status = 0 AND EXISTS (
        SELECT 1 FROM event_queue q WHERE q.project_id = events.project_id
        AND q.sequence = events.sequence AND q.lease_until_us > 0
    ) THEN 1 ELSE status END AS status, part
FROM events;
