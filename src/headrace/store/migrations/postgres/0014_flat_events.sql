-- Events and their states lie in partitions by ranges of the sequence, so a large store costs as
-- much as a small one, and retention drops a partition as a whole
-- (docs/decisions/0015-flat-storage-postgresql.md). Both tables have the same partitions. What is
-- stored so far becomes the first one, without being rewritten: it is only read once for its bounds.
DROP VIEW stored_events;

ALTER TABLE events RENAME TO events_0;
ALTER INDEX events_pkey RENAME TO events_0_pkey;
ALTER INDEX events_project RENAME TO events_0_project;
ALTER INDEX events_name RENAME TO events_0_name;
ALTER INDEX events_external_id RENAME TO events_0_external_id;
ALTER INDEX events_email RENAME TO events_0_email;
ALTER INDEX events_contact_id RENAME TO events_0_contact_id;
ALTER INDEX events_source RENAME TO events_0_source;
ALTER TABLE event_states RENAME TO event_states_0;
ALTER INDEX event_states_pkey RENAME TO event_states_0_pkey;
ALTER INDEX event_states_contact RENAME TO event_states_0_contact;
ALTER INDEX event_states_status RENAME TO event_states_0_status;

-- An event is written once; its state is in `event_states`. Only an erasure changes one, to mask
-- the names of a person.
CREATE TABLE events (LIKE events_0) PARTITION BY RANGE (sequence);
ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (lane, sequence);
CREATE INDEX events_project ON events (project_id, sequence);
CREATE INDEX events_name ON events (project_id, event, sequence);
CREATE INDEX events_external_id ON events (project_id, external_id, sequence)
    WHERE external_id IS NOT NULL;
CREATE INDEX events_email ON events (project_id, email, sequence) WHERE email IS NOT NULL;
CREATE INDEX events_contact_id ON events (project_id, contact_id, sequence)
    WHERE contact_id IS NOT NULL;
CREATE INDEX events_source ON events (project_id, source, sequence) WHERE source <> 0;
CREATE TABLE event_states (LIKE event_states_0) PARTITION BY RANGE (sequence);
ALTER TABLE event_states ADD CONSTRAINT event_states_pkey PRIMARY KEY (lane, sequence);
CREATE INDEX event_states_contact ON event_states (project_id, contact_id, sequence)
    WHERE contact_id IS NOT NULL;
CREATE INDEX event_states_status ON event_states (project_id, status, sequence)
    WHERE status <> 3;

-- The first partition ends above all that is stored, and not before now. It begins at no sequence in
-- particular: what a copy of another store brings is older.
CREATE FUNCTION first_partition_end() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT greatest(
        (SELECT coalesce(max(sequence), 0) + 1 FROM events_0),
        (SELECT coalesce(max(sequence), 0) + 1 FROM event_states_0),
        (extract(epoch FROM now()) * 1000)::bigint << 21
    )
$$;
ALTER TABLE events ATTACH PARTITION events_0
    FOR VALUES FROM (MINVALUE) TO (first_partition_end());
ALTER TABLE event_states ATTACH PARTITION event_states_0
    FOR VALUES FROM (MINVALUE) TO (first_partition_end());
DROP FUNCTION first_partition_end();

-- Events as they are shown, the same in both databases. `processing` is an accepted event that a
-- worker has claimed.
CREATE VIEW stored_events AS
SELECT e.lane, e.sequence, e.id, e.project_id, e.event, e.contact_id, e.external_id, e.email,
    e.email_original, e.idempotency_key, e.occurred_us, e.received_us, e.source, e.api_key_id,
    e.request_id, e.payload, o.contact_id AS resolved_contact_id,
    coalesce(o.attempts, 0) AS attempts, o.last_error,
    CASE WHEN coalesce(o.status, 0) = 0 AND w.owner IS NOT NULL THEN 1
    ELSE coalesce(o.status, 0) END AS status
FROM events e
LEFT JOIN event_states o ON o.lane = e.lane AND o.sequence = e.sequence
LEFT JOIN event_queue w ON w.lane = e.lane AND w.sequence = e.sequence;

-- Ranges of sequences whose partitions retention drops or has dropped, until everything that
-- belonged to their events is removed as well. A key counts only as long as its event is there.
CREATE TABLE dropped_ranges (
    first_sequence bigint PRIMARY KEY,
    end_sequence   bigint NOT NULL,
    -- Partitions that are still to be dropped; NULL when that is done.
    suffix         text,
    -- Page of `idempotency_keys` up to which keys were removed; NULL until all else is.
    key_page       bigint
);

-- The server's defaults would leave hundreds of millions of rows before a first vacuum of a large
-- table, and would read all of it each time. Partitions that only grow are frozen once, when they
-- are vacuumed the first time.
ALTER TABLE events_0 SET (
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_freeze_min_age = 0
);
ALTER TABLE event_states_0 SET (
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_freeze_min_age = 0
);
ALTER TABLE idempotency_keys SET (
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);
