-- Times are microseconds since 1970 UTC; ids are 16 bytes; numbers of enums are in domain/events/event.py.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
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

-- An event is written once and updated once, when it has been processed. Its row number is the
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
    -- Set when the event is processed: how it was resolved, and when.
    resolution          TEXT,
    processed_us        INTEGER,
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
-- Nearly all events are processed and came through the API: only the others need an index.
CREATE INDEX events_status ON events (project_id, status) WHERE status <> 3;
CREATE INDEX events_source ON events (project_id, source) WHERE source <> 0;

-- The queue of events that wait for the worker: a small row, removed when the event is done.
CREATE TABLE work (
    project_id INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    lane       INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,
    -- A claim sets owner, lease and attempt; every later write names owner and attempt, so a worker that
    -- was paused past its lease changes nothing. `lease_until_us` 0: not claimed.
    attempt INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    lease_until_us INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    PRIMARY KEY (project_id, sequence)
) STRICT, WITHOUT ROWID;

-- The state of each event, under the names of the table in PostgreSQL.
CREATE VIEW outcomes AS
SELECT lane, sequence, project_id, status, attempts, resolved_contact_id AS contact_id, resolution,
    last_error, processed_us
FROM events;

-- Events as they are shown, the same in both databases. `processing` is not written into the event:
-- it is an accepted event that a worker has claimed.
CREATE VIEW stored_events AS
SELECT lane, sequence, id, project_id, event, contact_id, external_id, email, email_original,
    idempotency_key, occurred_us, received_us, source, api_key_id, request_id, payload,
    resolved_contact_id, attempts, last_error,
    CASE WHEN status = 0 AND EXISTS (
        SELECT 1 FROM work w WHERE w.project_id = events.project_id
        AND w.sequence = events.sequence AND w.lease_until_us > 0
    ) THEN 1 ELSE status END AS status
FROM events;

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

-- An event that waits for a retry has left the queue for this table.
CREATE TABLE work_retries (
    sequence   INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL,
    lane       INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    crashes    INTEGER NOT NULL
) STRICT;
CREATE INDEX work_retries_due ON work_retries (due_us);

-- The timeline of a contact.
CREATE INDEX events_resolved_contact ON events (project_id, resolved_contact_id)
    WHERE resolved_contact_id IS NOT NULL;

-- Failed attempts at processing; success writes none.
CREATE TABLE processing_attempts (
    sequence    INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    at_us       INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    error       TEXT NOT NULL,
    PRIMARY KEY (sequence, number)
) STRICT, WITHOUT ROWID;

-- Named tasks with one leader at a time: processing, retention. `epoch` grows with every change of
-- owner and fences the writes of the one before.
CREATE TABLE duties (
    name           TEXT PRIMARY KEY,
    owner          TEXT NOT NULL,
    epoch          INTEGER NOT NULL,
    lease_until_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE contacts (
    -- Order of creation, for the lists; a number is never reused.
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    lane        INTEGER NOT NULL,
    project_id  INTEGER NOT NULL,
    external_id TEXT,
    email       TEXT,
    -- As given, when that differs from the normalized form.
    email_original TEXT,
    properties  TEXT NOT NULL DEFAULT '{}',
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    -- When the identifier was set or cleared; NULL: with the contact.
    external_id_us INTEGER,
    email_us INTEGER,
    -- JSON of domain/contacts/property_times.py: when each property was set or removed.
    property_times TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX contacts_project ON contacts (project_id);

-- Owners of identifiers; makes `external_id` and `email` unique in a project. An alias leads to
-- a contact without being its own: an identifier of one that was merged into it.
-- kind: contact_id, external_id, email.
CREATE TABLE contact_identifiers (
    lane       INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    value      TEXT NOT NULL,
    contact_id TEXT NOT NULL,
    alias      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_identifiers_alias ON contact_identifiers (contact_id) WHERE alias;

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
    -- Circuit breaker, shared by all workers: JSON of domain/deliveries/breaker.py, NULL while closed.
    breaker             TEXT,
    -- When a worker last registered the handler.
    seen_us             INTEGER,
    created_us          INTEGER NOT NULL,
    updated_us          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Unique among the subscribers of a project: the cursor of lists.
CREATE UNIQUE INDEX subscribers_project ON subscribers (project_id, created_us);

-- One event for one subscriber. state: 0 pending, 1 delivering, 2 retrying, 3 delivered,
-- 4 dead_lettered. Rows stay for the trace until their event is removed. In the lane of the event,
-- as their attempts and dead letters.
CREATE TABLE deliveries (
    number         INTEGER PRIMARY KEY,
    lane           INTEGER NOT NULL,
    id             TEXT NOT NULL UNIQUE,
    project_id     INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    subscriber_id  TEXT NOT NULL,
    state          INTEGER NOT NULL DEFAULT 0,
    attempt        INTEGER NOT NULL DEFAULT 0,
    -- Claims ever made. A replay resets `attempt` but never this, so it fences every claim.
    claims         INTEGER NOT NULL DEFAULT 0,
    crashes        INTEGER NOT NULL DEFAULT 0,
    due_us         INTEGER NOT NULL,
    lease_until_us INTEGER NOT NULL DEFAULT 0,
    owner          TEXT,
    created_us     INTEGER NOT NULL,
    finished_us    INTEGER,
    last_error     TEXT
) STRICT;
-- Queues that take turns: one for each subscriber and project (a handler serves many projects).
CREATE INDEX deliveries_due ON deliveries (subscriber_id, project_id, due_us)
    WHERE state IN (0, 2);
CREATE INDEX deliveries_leased ON deliveries (lease_until_us) WHERE state = 1;
CREATE INDEX deliveries_event ON deliveries (sequence);
CREATE INDEX deliveries_subscriber ON deliveries (subscriber_id, number);

CREATE TABLE delivery_attempts (
    lane            INTEGER NOT NULL,
    delivery_number INTEGER NOT NULL,
    -- Number of the claim (deliveries.claims), which continues over replays.
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
    lane             INTEGER NOT NULL,
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
CREATE INDEX dead_letters_event ON dead_letters (sequence);
-- Each project has its own retention of dead letters.
CREATE INDEX dead_letters_age ON dead_letters (project_id, dead_lettered_us);

-- Replays of many dead letters: durable, resumable, rate-limited. status: running, done, stopped.
CREATE TABLE replays (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL,
    filter      TEXT NOT NULL,
    per_second  INTEGER NOT NULL,
    -- Only dead letters up to this number belong to it, so that new failures are not replayed for
    -- ever.
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
    revoked_us  INTEGER,
    -- Owners of the whole instance may do everything in every project, and use the operator API.
    is_owner INTEGER NOT NULL DEFAULT 1,
    -- Argon2id in its encoded form; NULL until a sign-in link was used.
    password_hash TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_project ON audit (project_id);

-- The size of the store, once an hour, to predict when the disk is full. Kept for a month.
CREATE TABLE store_growth (
    -- Hours since 1970.
    hour       INTEGER PRIMARY KEY,
    -- Pages in use; without those that removed rows have left behind.
    used_bytes INTEGER NOT NULL
) STRICT;

-- Two contacts that events treat as one, each pair once; `low_id` is the smaller of the two ids.
-- resolved_by: the merge that united them, NULL while the pair is open.
CREATE TABLE contact_pairs (
    number            INTEGER PRIMARY KEY,
    id                TEXT NOT NULL UNIQUE,
    project_id        INTEGER NOT NULL,
    low_id            TEXT NOT NULL,
    high_id           TEXT NOT NULL,
    -- Of the last event: its contact, and the other one that has one of its identifiers.
    contact_id        TEXT NOT NULL,
    other_contact_id  TEXT NOT NULL,
    events            INTEGER NOT NULL,
    external_id_count INTEGER NOT NULL,
    email_count       INTEGER NOT NULL,
    last_event_id     BLOB NOT NULL,
    first_us          INTEGER NOT NULL,
    last_us           INTEGER NOT NULL,
    resolved_by       TEXT,
    -- Who stated that the two are different people, and why; NULL: not dismissed.
    dismissed_us      INTEGER,
    dismissed_by      TEXT,
    dismissed_reason  TEXT,
    UNIQUE (low_id, high_id)
) STRICT;
CREATE INDEX contact_pairs_open ON contact_pairs (project_id, number)
    WHERE resolved_by IS NULL AND dismissed_us IS NULL;
CREATE INDEX contact_pairs_dismissed ON contact_pairs (project_id, number)
    WHERE resolved_by IS NULL AND dismissed_us IS NOT NULL;
CREATE INDEX contact_pairs_high ON contact_pairs (high_id);
CREATE INDEX contact_pairs_resolved ON contact_pairs (resolved_by) WHERE resolved_by IS NOT NULL;

-- snapshot: both contacts before, JSON of store/contacts/merge_rows.py; NULL once it cannot be
-- undone.
CREATE TABLE merges (
    number           INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    project_id       INTEGER NOT NULL,
    contact_id       TEXT NOT NULL,
    other_contact_id TEXT NOT NULL,
    actor            TEXT NOT NULL,
    created_us       INTEGER NOT NULL,
    undone_us        INTEGER,
    undone_by        TEXT,
    snapshot         TEXT
) STRICT;
CREATE INDEX merges_project ON merges (project_id, number);
CREATE INDEX merges_contact ON merges (contact_id);
CREATE INDEX merges_other ON merges (other_contact_id);

-- Jobs that forget a person. subject: the person's identifiers, JSON of store/privacy/rows.py,
-- removed when the job is done, which leaves the receipt. status: running, wiping, done.
CREATE TABLE erasures (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL,
    contact_id  TEXT NOT NULL,
    status      TEXT NOT NULL,
    subject     TEXT,
    -- Place -> rows, JSON.
    counts      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    finished_us INTEGER,
    dry_run     INTEGER NOT NULL DEFAULT 0,
    -- JSON of store/contract/erasures.py: the rest of the receipt.
    report      TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX erasures_project ON erasures (project_id, number);
CREATE INDEX erasures_contact ON erasures (contact_id);
CREATE INDEX erasures_unfinished ON erasures (number) WHERE status <> 'done';
-- Ids of contacts that find a receipt: the contact's and those merged into it.
CREATE TABLE erased_contacts (
    contact_id TEXT NOT NULL,
    project_id INTEGER NOT NULL,
    erasure_id TEXT NOT NULL,
    PRIMARY KEY (contact_id, erasure_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX erased_contacts_erasure ON erased_contacts (erasure_id);

-- Topics and subscriptions; audiences and members.

-- `deleted_us` is set at once when one is deleted. From then on it is hidden and its name is free;
-- the worker removes what belongs to it in steps (pipeline/upkeep/deleted_lists.py), the row itself
-- last.
CREATE TABLE topics (
    id                 TEXT PRIMARY KEY,
    project_id         INTEGER NOT NULL,
    name               TEXT NOT NULL,
    description        TEXT NOT NULL,
    default_subscribed INTEGER NOT NULL,
    created_us         INTEGER NOT NULL,
    updated_us         INTEGER NOT NULL,
    deleted_us         INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX topics_name ON topics (project_id, name) WHERE deleted_us IS NULL;
-- Unique among the topics of a project: the cursor of lists.
CREATE UNIQUE INDEX topics_project ON topics (project_id, created_us) WHERE deleted_us IS NULL;
CREATE INDEX topics_deleted ON topics (deleted_us) WHERE deleted_us IS NOT NULL;

-- Choices of contacts; a contact without a choice has the topic's default and no row. In the lane
-- of the contact, whose number is the order of the lists.
CREATE TABLE topic_subscriptions (
    lane           INTEGER NOT NULL,
    contact_id     TEXT NOT NULL,
    topic_id       TEXT NOT NULL,
    contact_number INTEGER NOT NULL,
    is_subscribed  INTEGER NOT NULL,
    changed_us     INTEGER NOT NULL,
    PRIMARY KEY (lane, contact_id, topic_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX topic_subscriptions_topic
    ON topic_subscriptions (topic_id, is_subscribed, contact_number);

-- Contacts that have unsubscribed from everything: no default applies to them.
CREATE TABLE topic_opt_outs (
    lane       INTEGER NOT NULL,
    contact_id TEXT NOT NULL,
    at_us      INTEGER NOT NULL,
    PRIMARY KEY (lane, contact_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE audiences (
    id          TEXT PRIMARY KEY,
    project_id  INTEGER NOT NULL,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    deleted_us  INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX audiences_name ON audiences (project_id, name) WHERE deleted_us IS NULL;
CREATE UNIQUE INDEX audiences_project ON audiences (project_id, created_us)
    WHERE deleted_us IS NULL;
CREATE INDEX audiences_deleted ON audiences (deleted_us) WHERE deleted_us IS NOT NULL;

CREATE TABLE audience_members (
    lane           INTEGER NOT NULL,
    contact_id     TEXT NOT NULL,
    audience_id    TEXT NOT NULL,
    contact_number INTEGER NOT NULL,
    entered_us     INTEGER NOT NULL,
    PRIMARY KEY (lane, contact_id, audience_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX audience_members_audience ON audience_members (audience_id, contact_number);

-- The catalog of event shapes, and counters: written by processing, so that no page scans events.

-- One row per project: what its limits have left out.
CREATE TABLE catalog_totals (
    project_id INTEGER PRIMARY KEY,
    names      INTEGER NOT NULL DEFAULT 0,
    -- Events whose name was over the limit.
    names_over INTEGER NOT NULL DEFAULT 0,
    -- Events that could not be catalogued.
    failures   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE catalog_names (
    project_id INTEGER NOT NULL,
    event      TEXT NOT NULL,
    first_us   INTEGER NOT NULL,
    last_us    INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    -- Bits by number of the source.
    sources    INTEGER NOT NULL,
    -- Events whose payload was inspected; paths and shares count these.
    inspected  INTEGER NOT NULL,
    -- Bits of domain/catalog/personal_data.py over all paths.
    personal   INTEGER NOT NULL DEFAULT 0,
    paths      INTEGER NOT NULL DEFAULT 0,
    -- Occurrences of paths over the limit.
    paths_over INTEGER NOT NULL DEFAULT 0,
    -- Drift entries ever made; the last of them is of `drift_us`.
    drifts     INTEGER NOT NULL DEFAULT 0,
    drift_us   INTEGER,
    -- JSON text with placeholders for values.
    example    TEXT,
    example_id BLOB,
    PRIMARY KEY (project_id, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE catalog_hours (
    -- Always 0: PostgreSQL has a lane for each worker, this store has one worker.
    lane       INTEGER NOT NULL DEFAULT 0,
    project_id INTEGER NOT NULL,
    event      TEXT NOT NULL,
    -- Hours since 1970, by the time of receipt.
    hour       INTEGER NOT NULL,
    source     INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    PRIMARY KEY (project_id, event, hour, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX catalog_hours_age ON catalog_hours (hour);

CREATE TABLE catalog_paths (
    project_id  INTEGER NOT NULL,
    event       TEXT NOT NULL,
    path        TEXT NOT NULL,
    first_us    INTEGER NOT NULL,
    last_us     INTEGER NOT NULL,
    -- Bits of domain/catalog/value_types.py, and those that the last write added.
    types       INTEGER NOT NULL,
    types_added INTEGER NOT NULL DEFAULT 0,
    -- Bits of domain/catalog/personal_data.py and of the formats of values.
    looks       INTEGER NOT NULL,
    -- Events that have the path, of those inspected.
    present     INTEGER NOT NULL,
    -- The first event that has it, of those inspected.
    first_number INTEGER NOT NULL,
    -- The last event that has it: its index among those inspected, and its sequence.
    last_number INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    -- Whether the last write made the row.
    fresh       INTEGER NOT NULL DEFAULT 1,
    -- When its absence was noticed; NULL while it is present.
    gone_us     INTEGER,
    PRIMARY KEY (project_id, event, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE catalog_drift (
    project_id INTEGER NOT NULL,
    event      TEXT NOT NULL,
    number     INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    path       TEXT NOT NULL,
    -- Bit of the type that is new; 0 for other kinds.
    type       INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,
    -- The event that showed it first.
    event_id   BLOB,
    -- Events inspected before that one.
    before     INTEGER NOT NULL,
    PRIMARY KEY (project_id, event, number)
) STRICT, WITHOUT ROWID;

-- Counters and histograms by domain/upkeep/rollups.py, a row for each minute, hour and day.
CREATE TABLE rollups (
    -- As in catalog_hours.
    lane       INTEGER NOT NULL DEFAULT 0,
    project_id INTEGER NOT NULL,
    -- Seconds that a row stands for: 60, 3600, 86400.
    grain      INTEGER NOT NULL,
    -- Start, in grains since 1970.
    at         INTEGER NOT NULL,
    -- A subscriber's id; empty for the project itself.
    subject    TEXT NOT NULL,
    -- JSON arrays.
    counts     TEXT NOT NULL,
    accept     TEXT,
    processing TEXT,
    delivery   TEXT,
    PRIMARY KEY (project_id, grain, at, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollups_age ON rollups (grain, at);

-- Sign-in to the backoffice, and roles. An operator is identified by address: the id is the public
-- part of a token and changes with it.

-- Links that set a password and sign in, once; only a hash of the token in them is kept.
CREATE TABLE sign_in_links (
    token_hash BLOB PRIMARY KEY,
    -- NULL: its first user becomes the first owner and enters the address.
    email      TEXT,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Only a hash of the token in the cookie is kept. A row is removed when the session ends.
CREATE TABLE sessions (
    token_hash          BLOB PRIMARY KEY,
    -- Identifies it in lists; grants nothing.
    id                  TEXT NOT NULL UNIQUE,
    email               TEXT NOT NULL,
    created_us          INTEGER NOT NULL,
    seen_us             INTEGER NOT NULL,
    address             TEXT NOT NULL,
    browser             TEXT NOT NULL,
    -- Where personal data is shown unmasked, and until when.
    revealed_project_id INTEGER,
    revealed_until_us   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_email ON sessions (email);

-- Attempts to sign in, by account and by address, in the window that began at `since_us`.
CREATE TABLE sign_in_tries (
    subject  TEXT PRIMARY KEY,
    since_us INTEGER NOT NULL,
    tries    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_tries_since ON sign_in_tries (since_us);

-- role: viewer, operator, owner.
CREATE TABLE members (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    email      TEXT NOT NULL,
    role       TEXT NOT NULL,
    added_us   INTEGER NOT NULL,
    PRIMARY KEY (project_id, email)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_email ON members (email);

-- When a key was last used, to the minute; separate from the keys, whose every change all processes
-- notice.
CREATE TABLE api_key_uses (
    public_id TEXT PRIMARY KEY,
    used_us   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
