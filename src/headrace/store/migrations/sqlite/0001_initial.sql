-- Times are microseconds since 1970 UTC; ids are 16 bytes; numbers of enums are in domain/events.py.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    id         INTEGER PRIMARY KEY,
    uuid       BLOB NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    created_us INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    public_id    TEXT PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES projects (id),
    secret_hash  BLOB NOT NULL,
    scopes       TEXT NOT NULL,
    name         TEXT NOT NULL,
    created_us   INTEGER NOT NULL,
    expires_us   INTEGER,
    revoked_us   INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT, WITHOUT ROWID;

-- Who changed what: projects, keys, policies, and later replays and erasures.
CREATE TABLE audit (
    id         INTEGER PRIMARY KEY,
    at_us      INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    project_id INTEGER,
    action     TEXT NOT NULL,
    detail     TEXT NOT NULL
) STRICT;

-- An event is written once and marked once, when it has been processed. Its row number is the
-- sequence inside its id, so no index on ids is needed and rows lie in the order of receipt.
-- The payload comes last: a reader of the other columns does not load its pages.
CREATE TABLE events (
    sequence            INTEGER PRIMARY KEY,
    id                  BLOB NOT NULL,
    project_id          INTEGER NOT NULL,
    lane                INTEGER NOT NULL,
    event               TEXT NOT NULL,
    contact_id          TEXT,
    external_id         TEXT,
    email               TEXT,
    email_original      TEXT,
    idempotency_hash    BLOB,
    idempotency_key     TEXT,
    occurred_us         INTEGER NOT NULL,
    received_us         INTEGER NOT NULL,
    source              INTEGER NOT NULL,
    api_key_id          TEXT,
    request_id          TEXT,
    status              INTEGER NOT NULL DEFAULT 0,
    attempts            INTEGER NOT NULL DEFAULT 0,
    resolved_contact_id TEXT,
    last_error          TEXT,
    payload             TEXT NOT NULL
) STRICT;

-- The one authority on idempotency, in the transaction of the event itself.
CREATE UNIQUE INDEX events_idempotency ON events (idempotency_hash)
    WHERE idempotency_hash IS NOT NULL;
-- For the lists; each holds only the rows that have the field.
CREATE INDEX events_project ON events (project_id);
CREATE INDEX events_name ON events (project_id, event);
CREATE INDEX events_external_id ON events (project_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX events_email ON events (project_id, email) WHERE email IS NOT NULL;
CREATE INDEX events_contact_id ON events (project_id, contact_id) WHERE contact_id IS NOT NULL;
-- Nearly all events are processed and came through the API: only the others are worth an index.
CREATE INDEX events_status ON events (project_id, status) WHERE status <> 3;
CREATE INDEX events_source ON events (project_id, source) WHERE source <> 0;

-- What waits for the worker: a small row, gone when the event is done.
CREATE TABLE work (
    project_id INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    lane       INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,
    PRIMARY KEY (project_id, sequence)
) STRICT, WITHOUT ROWID;

-- In the statement that inserts the events: one commit is then one call of the library, and the
-- interpreter lock changes hands once instead of four times (docs/decisions/0002-group-commit.md).
CREATE TRIGGER events_work AFTER INSERT ON events BEGIN
    INSERT INTO work (project_id, sequence, lane, due_us)
    VALUES (new.project_id, new.sequence, new.lane, new.received_us);
END;

-- Later requests with the key of a stored event, the first few of each.
CREATE TABLE key_repeats (
    sequence   INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,
    api_key_id TEXT,
    request_id TEXT,
    mismatch   INTEGER NOT NULL,
    PRIMARY KEY (sequence, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE rejections (
    id          INTEGER PRIMARY KEY,
    project_id  INTEGER NOT NULL,
    at_us       INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    code        TEXT NOT NULL,
    message     TEXT NOT NULL,
    details     TEXT NOT NULL,
    route       TEXT NOT NULL,
    api_key_id  TEXT,
    request_id  TEXT,
    body_shape  TEXT NOT NULL,
    body_bytes  INTEGER NOT NULL
) STRICT;
CREATE INDEX rejections_project ON rejections (project_id);
