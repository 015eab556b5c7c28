-- Contacts, subscribers, deliveries, dead letters and what workers need to claim and finish.

-- A claim sets owner, lease and attempt; every later write names owner and attempt, so a worker that
-- was paused past its lease changes nothing. No column of an index changes, so claims stay cheap.
ALTER TABLE work ADD COLUMN attempt smallint NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN crashes smallint NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN owner text;

-- An event that waits for a retry has stepped out of the line into this table.
CREATE TABLE work_retries (
    lane       smallint NOT NULL,
    sequence   bigint NOT NULL,
    project_id integer NOT NULL,
    due_us     bigint NOT NULL,
    attempt    smallint NOT NULL,
    crashes    smallint NOT NULL,
    PRIMARY KEY (lane, sequence)
);
CREATE INDEX work_retries_due ON work_retries (due_us);

-- What became of an event: inserted when it is processed, retried or dead-lettered for the first
-- time. Without a row it is accepted, or processing when its work has an owner.
CREATE TABLE outcomes (
    lane         smallint NOT NULL,
    sequence     bigint NOT NULL,
    project_id   integer NOT NULL,
    status       smallint NOT NULL,
    attempts     smallint NOT NULL,
    contact_id   text,
    resolution   text,
    last_error   text,
    processed_us bigint,
    PRIMARY KEY (lane, sequence)
);
-- The timeline of a contact.
CREATE INDEX outcomes_contact ON outcomes (project_id, contact_id, sequence)
    WHERE contact_id IS NOT NULL;
-- Nearly all events are processed: only the others are worth an index.
CREATE INDEX outcomes_status ON outcomes (project_id, status, sequence) WHERE status <> 3;

-- Failed tries of processing; the happy path writes none.
CREATE TABLE processing_attempts (
    lane        smallint NOT NULL,
    sequence    bigint NOT NULL,
    number      integer NOT NULL,
    at_us       bigint NOT NULL,
    duration_us bigint NOT NULL,
    cause       text NOT NULL,
    error       text NOT NULL,
    PRIMARY KEY (lane, sequence, number)
);

-- Named duties that one process at a time may have. `epoch` grows with every change of owner and
-- fences the writes of the one before. Leases are by the clock of the database.
CREATE TABLE duties (
    name           text PRIMARY KEY,
    owner          text NOT NULL,
    epoch          bigint NOT NULL,
    lease_until_us bigint NOT NULL
);

-- Workers alive. A worker's writes share-lock its row by `(owner, epoch)`; whoever takes its lanes
-- over deletes the row first, so a worker that was paused past its lease changes nothing.
CREATE TABLE workers (
    owner          text PRIMARY KEY,
    epoch          bigint NOT NULL,
    lease_until_us bigint NOT NULL
);
CREATE SEQUENCE worker_epochs;

-- Who works which lane: events and deliveries of a lane are claimed by its owner alone.
CREATE TABLE lanes (
    lane  smallint PRIMARY KEY,
    owner text
);
INSERT INTO lanes (lane) SELECT generate_series(0, 255);

CREATE TABLE contacts (
    lane           smallint NOT NULL,
    id             text NOT NULL,
    -- Order of creation, for the lists.
    number         bigint NOT NULL,
    project_id     integer NOT NULL,
    external_id    text,
    email          text,
    -- As given, when that differs from the normalized form.
    email_original text,
    properties     text NOT NULL DEFAULT '{}',
    created_us     bigint NOT NULL,
    updated_us     bigint NOT NULL,
    PRIMARY KEY (lane, id)
);
CREATE INDEX contacts_project ON contacts (project_id, number);

-- Whose an identifier is; what makes `external_id` and `email` unique in a project. `lane` is that
-- of the identity, which is also the lane of the events that are resolved by it.
-- kind: external_id, email.
CREATE TABLE contact_identifiers (
    lane       smallint NOT NULL,
    project_id integer NOT NULL,
    kind       text NOT NULL,
    -- In the order of its characters and no language's, so that every index of it serves equality.
    value      text COLLATE "C" NOT NULL,
    contact_id text NOT NULL,
    PRIMARY KEY (lane, project_id, kind, value)
);

-- Identifiers sent with an event that belong to another contact than the one it was resolved to.
CREATE TABLE contact_conflicts (
    lane             smallint NOT NULL,
    sequence         bigint NOT NULL,
    field            text NOT NULL,
    -- Order of finding, for the lists.
    number           bigint NOT NULL,
    project_id       integer NOT NULL,
    contact_id       text NOT NULL,
    other_contact_id text NOT NULL,
    at_us            bigint NOT NULL,
    PRIMARY KEY (lane, sequence, field)
);
CREATE INDEX contact_conflicts_project ON contact_conflicts (project_id, number);

-- Webhooks of a project, and the Python handlers that workers have loaded (project_id 0: all).
CREATE TABLE subscribers (
    id                text PRIMARY KEY,
    project_id        integer NOT NULL,
    kind              text NOT NULL,
    -- URL of a webhook, name of a handler.
    target            text NOT NULL,
    -- JSON array of names and prefixes.
    events            text NOT NULL,
    description       text NOT NULL DEFAULT '',
    enabled           boolean NOT NULL DEFAULT true,
    disabled_reason   text,
    disabled_us       bigint,
    secret            text,
    previous_secret   text,
    previous_until_us bigint,
    -- Circuit breaker, shared by all workers: JSON of domain/breaker.py, NULL while closed.
    breaker           text,
    -- When a worker last said that it has loaded the handler.
    seen_us           bigint,
    created_us        bigint NOT NULL,
    updated_us        bigint NOT NULL
);
-- No two subscribers of a project are of the same microsecond, so lists are paged by it.
CREATE UNIQUE INDEX subscribers_project ON subscribers (project_id, created_us);

-- One event for one subscriber, in the lane of the event. state: 0 pending, 1 delivering,
-- 2 retrying, 3 delivered, 4 dead_lettered. Rows stay for the trace until their event goes.
CREATE TABLE deliveries (
    lane           smallint NOT NULL,
    number         bigint NOT NULL,
    id             text NOT NULL,
    project_id     integer NOT NULL,
    sequence       bigint NOT NULL,
    subscriber_id  text NOT NULL,
    state          smallint NOT NULL DEFAULT 0,
    attempt        smallint NOT NULL DEFAULT 0,
    -- Claims ever made. A replay sets `attempt` back and never this, so it fences every claim.
    claims         integer NOT NULL DEFAULT 0,
    crashes        smallint NOT NULL DEFAULT 0,
    due_us         bigint NOT NULL,
    lease_until_us bigint NOT NULL DEFAULT 0,
    owner          text,
    created_us     bigint NOT NULL,
    finished_us    bigint,
    last_error     text,
    PRIMARY KEY (lane, number)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
-- Lines that take turns: one for each subscriber and project (a handler serves many projects).
CREATE INDEX deliveries_due ON deliveries (subscriber_id, project_id, due_us)
    WHERE state IN (0, 2);
-- What becomes due, over all lines, in the order of time.
CREATE INDEX deliveries_waiting ON deliveries (due_us, lane, number) WHERE state IN (0, 2);
CREATE INDEX deliveries_leased ON deliveries (lease_until_us) WHERE state = 1;
-- Without the lane: a row that is named by lane and number must not be looked for here.
CREATE INDEX deliveries_event ON deliveries (sequence);
CREATE INDEX deliveries_subscriber ON deliveries (subscriber_id, number);

CREATE TABLE delivery_attempts (
    lane            smallint NOT NULL,
    delivery_number bigint NOT NULL,
    -- That of the claim (deliveries.claims), so it counts on over replays.
    number          integer NOT NULL,
    at_us           bigint NOT NULL,
    duration_us     bigint NOT NULL,
    -- NULL: delivered.
    cause           text,
    error           text,
    http_status     integer,
    excerpt         text,
    PRIMARY KEY (lane, delivery_number, number)
);

-- In the lane of the event. state: 0 open, 1 replayed, 2 discarded.
CREATE TABLE dead_letters (
    lane             smallint NOT NULL,
    number           bigint NOT NULL,
    -- UUID that holds lane and number, as ids of events do (domain/ids.py).
    id               text NOT NULL,
    project_id       integer NOT NULL,
    sequence         bigint NOT NULL,
    event            text NOT NULL,
    kind             text NOT NULL,
    subscriber_id    text,
    delivery_number  bigint,
    cause            text NOT NULL,
    error            text NOT NULL,
    attempts         integer NOT NULL,
    first_failed_us  bigint NOT NULL,
    dead_lettered_us bigint NOT NULL,
    state            smallint NOT NULL DEFAULT 0,
    closed_us        bigint,
    closed_by        text,
    reason           text,
    PRIMARY KEY (lane, number)
);
CREATE INDEX dead_letters_open ON dead_letters (project_id, number) WHERE state = 0;
CREATE INDEX dead_letters_event ON dead_letters (sequence);

-- Replays of many dead letters: durable, resumable, rate-limited. status: running, done, stopped.
CREATE TABLE replays (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,
    project_id  integer NOT NULL,
    filter      text NOT NULL,
    per_second  integer NOT NULL,
    -- Only dead letters up to this number belong to it: what fails again is not replayed for ever.
    last_number bigint NOT NULL,
    position    bigint NOT NULL DEFAULT 0,
    total       bigint NOT NULL,
    done        bigint NOT NULL DEFAULT 0,
    status      text NOT NULL,
    actor       text NOT NULL,
    created_us  bigint NOT NULL,
    updated_us  bigint NOT NULL
);
CREATE INDEX replays_project ON replays (project_id, number);
CREATE INDEX replays_running ON replays (number) WHERE status = 'running';

-- People who may use the operator API; only a hash of the token is kept.
CREATE TABLE operators (
    id         text PRIMARY KEY,
    email      text NOT NULL UNIQUE,
    token_hash bytea NOT NULL UNIQUE,
    created_us bigint NOT NULL,
    revoked_us bigint
);
