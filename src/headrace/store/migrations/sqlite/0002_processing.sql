-- Contacts, subscribers, deliveries, dead letters and what the worker needs to claim and finish.

-- A claim sets owner, lease and attempt; every later write names owner and attempt, so a worker that
-- was paused past its lease changes nothing. `lease_until_us` 0: nobody holds it.
ALTER TABLE work ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN lease_until_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN owner TEXT;

-- An event that waits for a retry has stepped out of the line into this table.
CREATE TABLE work_retries (
    sequence   INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL,
    lane       INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    crashes    INTEGER NOT NULL
) STRICT;
CREATE INDEX work_retries_due ON work_retries (due_us);

-- Set when the event is marked: why it was resolved as it was, and when it was done.
ALTER TABLE events ADD COLUMN resolution TEXT;
ALTER TABLE events ADD COLUMN processed_us INTEGER;
-- The timeline of a contact.
CREATE INDEX events_resolved_contact ON events (project_id, resolved_contact_id)
    WHERE resolved_contact_id IS NOT NULL;

-- Failed tries of processing; the happy path writes none.
CREATE TABLE processing_attempts (
    sequence    INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    at_us       INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    error       TEXT NOT NULL,
    PRIMARY KEY (sequence, number)
) STRICT, WITHOUT ROWID;

-- Named duties that one process at a time may have: processing, retention. `epoch` grows with every
-- change of owner and fences the writes of the one before.
CREATE TABLE duties (
    name           TEXT PRIMARY KEY,
    owner          TEXT NOT NULL,
    epoch          INTEGER NOT NULL,
    lease_until_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL,
    external_id TEXT,
    email       TEXT,
    -- As given, when that differs from the normalized form.
    email_original TEXT,
    properties  TEXT NOT NULL DEFAULT '{}',
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL
) STRICT;
CREATE INDEX contacts_project ON contacts (project_id);
CREATE UNIQUE INDEX contacts_external_id ON contacts (project_id, external_id)
    WHERE external_id IS NOT NULL;
CREATE UNIQUE INDEX contacts_email ON contacts (project_id, email) WHERE email IS NOT NULL;

-- Identifiers sent with an event that belong to another contact than the one it was resolved to.
CREATE TABLE contact_conflicts (
    id               INTEGER PRIMARY KEY,
    project_id       INTEGER NOT NULL,
    sequence         INTEGER NOT NULL,
    contact_id       TEXT NOT NULL,
    other_contact_id TEXT NOT NULL,
    field            TEXT NOT NULL,
    at_us            INTEGER NOT NULL
) STRICT;
CREATE INDEX contact_conflicts_project ON contact_conflicts (project_id);
CREATE INDEX contact_conflicts_sequence ON contact_conflicts (sequence);

-- Webhooks of a project, and the Python handlers that workers have loaded (project_id 0: all).
CREATE TABLE subscribers (
    id                  TEXT PRIMARY KEY,
    project_id          INTEGER NOT NULL,
    kind                TEXT NOT NULL,
    -- URL of a webhook, name of a handler.
    target              TEXT NOT NULL,
    -- JSON array of names and prefixes.
    events              TEXT NOT NULL,
    description         TEXT NOT NULL DEFAULT '',
    enabled             INTEGER NOT NULL DEFAULT 1,
    disabled_reason     TEXT,
    disabled_us         INTEGER,
    secret              TEXT,
    previous_secret     TEXT,
    previous_until_us   INTEGER,
    -- Circuit breaker, shared by all workers: JSON of domain/breaker.py, NULL while closed.
    breaker             TEXT,
    -- When a worker last said that it has loaded the handler.
    seen_us             INTEGER,
    created_us          INTEGER NOT NULL,
    updated_us          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- No two subscribers of a project are of the same microsecond, so lists are paged by it.
CREATE UNIQUE INDEX subscribers_project ON subscribers (project_id, created_us);

-- One event for one subscriber. state: 0 pending, 1 delivering, 2 retrying, 3 delivered,
-- 4 dead_lettered. Rows stay for the trace until their event goes.
CREATE TABLE deliveries (
    number         INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    project_id     INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    subscriber_id  TEXT NOT NULL,
    state          INTEGER NOT NULL DEFAULT 0,
    attempt        INTEGER NOT NULL DEFAULT 0,
    -- Claims ever made. A replay sets `attempt` back and never this, so it fences every claim.
    claims         INTEGER NOT NULL DEFAULT 0,
    crashes        INTEGER NOT NULL DEFAULT 0,
    due_us         INTEGER NOT NULL,
    lease_until_us INTEGER NOT NULL DEFAULT 0,
    owner          TEXT,
    created_us     INTEGER NOT NULL,
    finished_us    INTEGER,
    last_error     TEXT
) STRICT;
-- Lines that take turns: one for each subscriber and project (a handler serves many projects).
CREATE INDEX deliveries_due ON deliveries (subscriber_id, project_id, due_us)
    WHERE state IN (0, 2);
CREATE INDEX deliveries_leased ON deliveries (lease_until_us) WHERE state = 1;
CREATE INDEX deliveries_event ON deliveries (sequence);
CREATE INDEX deliveries_subscriber ON deliveries (subscriber_id, number);

CREATE TABLE delivery_attempts (
    delivery_number INTEGER NOT NULL,
    -- That of the claim (deliveries.claims), so it counts on over replays.
    number          INTEGER NOT NULL,
    at_us           INTEGER NOT NULL,
    duration_us     INTEGER NOT NULL,
    -- NULL: delivered.
    cause           TEXT,
    error           TEXT,
    http_status     INTEGER,
    excerpt         TEXT,
    PRIMARY KEY (delivery_number, number)
) STRICT, WITHOUT ROWID;

-- state: 0 open, 1 replayed, 2 discarded.
CREATE TABLE dead_letters (
    number           INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    project_id       INTEGER NOT NULL,
    sequence         INTEGER NOT NULL,
    event            TEXT NOT NULL,
    kind             TEXT NOT NULL,
    subscriber_id    TEXT,
    delivery_number  INTEGER,
    cause            TEXT NOT NULL,
    error            TEXT NOT NULL,
    attempts         INTEGER NOT NULL,
    first_failed_us  INTEGER NOT NULL,
    dead_lettered_us INTEGER NOT NULL,
    state            INTEGER NOT NULL DEFAULT 0,
    closed_us        INTEGER,
    closed_by        TEXT,
    reason           TEXT
) STRICT;
CREATE INDEX dead_letters_open ON dead_letters (project_id, number) WHERE state = 0;
CREATE INDEX dead_letters_old ON dead_letters (dead_lettered_us);
CREATE INDEX dead_letters_event ON dead_letters (sequence);

-- Replays of many dead letters: durable, resumable, rate-limited. status: running, done, stopped.
CREATE TABLE replays (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL,
    filter      TEXT NOT NULL,
    per_second  INTEGER NOT NULL,
    -- Only dead letters up to this number belong to it: what fails again is not replayed for ever.
    last_number INTEGER NOT NULL,
    position    INTEGER NOT NULL DEFAULT 0,
    total       INTEGER NOT NULL,
    done        INTEGER NOT NULL DEFAULT 0,
    status      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL
) STRICT;
CREATE INDEX replays_project ON replays (project_id, number);
CREATE INDEX replays_running ON replays (number) WHERE status = 'running';

-- People who may use the operator API; only a hash of the token is kept.
CREATE TABLE operators (
    id          TEXT PRIMARY KEY,
    email       TEXT NOT NULL UNIQUE,
    token_hash  BLOB NOT NULL UNIQUE,
    created_us  INTEGER NOT NULL,
    revoked_us  INTEGER
) STRICT, WITHOUT ROWID;
