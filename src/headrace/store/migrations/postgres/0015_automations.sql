-- Automations: definitions with published versions, and the runs of contacts through them.
--
-- A run's lane is the last byte of its id, so the id alone finds the row. A merge does not change
-- runs: they are found by all ids that lead to the contact. An open run has a time at which it is
-- looked at next (due_us), whatever it waits for, so no second table could miss a timer.

CREATE TABLE automations (
    id               text PRIMARY KEY,
    project_id       integer NOT NULL,
    name             text NOT NULL,
    description      text NOT NULL,
    -- draft, active, paused or archived.
    status           text NOT NULL,
    -- JSON of the definition, as its author wrote it; its number grows with each change.
    draft            text NOT NULL,
    draft_revision   integer NOT NULL,
    editor_layout    text,
    -- Number of the newest version; 0: none was published.
    version          integer NOT NULL DEFAULT 0,
    -- draft_revision that was published last.
    version_revision integer NOT NULL DEFAULT 0,
    -- Event of the trigger of the newest version; NULL: it starts nothing.
    trigger_event    text,
    -- Events that were received earlier start no run; NULL: it is not active.
    active_since_us  bigint,
    created_us       bigint NOT NULL,
    updated_us       bigint NOT NULL
);
CREATE UNIQUE INDEX automations_name ON automations (project_id, name) WHERE status <> 'archived';
CREATE UNIQUE INDEX automations_project ON automations (project_id, created_us);
CREATE INDEX automations_trigger ON automations (project_id, trigger_event)
    WHERE trigger_event IS NOT NULL;

-- A version is written once and never changed.
CREATE TABLE automation_versions (
    automation_id text NOT NULL,
    number        integer NOT NULL,
    id            text NOT NULL UNIQUE,
    project_id    integer NOT NULL,
    -- JSON with names replaced by ids.
    definition    text NOT NULL,
    sha256        text NOT NULL,
    -- JSON array of the events that start or continue its runs.
    event_names   text NOT NULL,
    published_us  bigint NOT NULL,
    published_by  text NOT NULL,
    PRIMARY KEY (automation_id, number)
);

-- Processed events that may start or continue a run, until the runner has read them.
CREATE TABLE automation_inbox (
    lane       smallint NOT NULL,
    sequence   bigint NOT NULL,
    project_id integer NOT NULL,
    contact_id text,
    -- NULL: it failed for good.
    due_us     bigint,
    attempt    integer NOT NULL DEFAULT 0,
    error      text,
    PRIMARY KEY (lane, sequence)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX automation_inbox_due ON automation_inbox (due_us, sequence) WHERE due_us IS NOT NULL;
CREATE INDEX automation_inbox_contact ON automation_inbox (contact_id, sequence)
    WHERE contact_id IS NOT NULL;

-- When a contact last started a run, for each value of the re-entry key.
CREATE TABLE automation_entries (
    lane          smallint NOT NULL,
    contact_id    text NOT NULL,
    automation_id text NOT NULL,
    entry_key     text NOT NULL,
    project_id    integer NOT NULL,
    last_start_us bigint NOT NULL,
    starts        integer NOT NULL,
    PRIMARY KEY (lane, contact_id, automation_id, entry_key)
);
CREATE INDEX automation_entries_contact ON automation_entries (contact_id);

CREATE TABLE automation_runs (
    lane          smallint NOT NULL,
    id            text NOT NULL,
    project_id    integer NOT NULL,
    automation_id text NOT NULL,
    version       integer NOT NULL,
    contact_id    text NOT NULL,
    entry_key     text NOT NULL,
    -- Event that started it.
    event_lane    smallint NOT NULL,
    sequence      bigint NOT NULL,
    status        text NOT NULL,
    reason        text,
    outcome       text,
    at_step       text,
    -- JSON of the whole run: steps, waits, and the events that it uses.
    state         text NOT NULL,
    -- When the runner looks at it next; NULL: it has ended.
    due_us        bigint,
    -- Failed attempts at what is due, and the last error.
    attempt       integer NOT NULL DEFAULT 0,
    error         text,
    notes         integer NOT NULL DEFAULT 0,
    started_us    bigint NOT NULL,
    finished_us   bigint,
    PRIMARY KEY (lane, id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX automation_runs_due ON automation_runs (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX automation_runs_open ON automation_runs (contact_id) WHERE due_us IS NOT NULL;
CREATE INDEX automation_runs_version ON automation_runs (automation_id, version)
    WHERE due_us IS NOT NULL;
CREATE INDEX automation_runs_contact ON automation_runs (contact_id, started_us, id);
CREATE INDEX automation_runs_automation ON automation_runs (automation_id, started_us, id);
CREATE INDEX automation_runs_status ON automation_runs (automation_id, status, started_us, id);
CREATE INDEX automation_runs_finished ON automation_runs (project_id, finished_us)
    WHERE finished_us IS NOT NULL;

-- What was decided in a run, and why.
CREATE TABLE automation_notes (
    lane     smallint NOT NULL,
    run_id   text NOT NULL,
    number   integer NOT NULL,
    at_us    bigint NOT NULL,
    reason   text NOT NULL,
    step_key text,
    sentence text NOT NULL,
    PRIMARY KEY (lane, run_id, number)
);

-- Events that would have started a run but for a rule. Those that only do not match the filters
-- have no row.
CREATE TABLE rejected_starts (
    lane          smallint NOT NULL,
    sequence      bigint NOT NULL,
    automation_id text NOT NULL,
    project_id    integer NOT NULL,
    version       integer NOT NULL,
    contact_id    text,
    event_id      text NOT NULL,
    reason        text NOT NULL,
    sentence      text NOT NULL,
    at_us         bigint NOT NULL,
    PRIMARY KEY (lane, sequence, automation_id)
);
CREATE INDEX rejected_starts_automation ON rejected_starts (automation_id, sequence);
CREATE INDEX rejected_starts_contact ON rejected_starts (contact_id, sequence)
    WHERE contact_id IS NOT NULL;
CREATE INDEX rejected_starts_age ON rejected_starts (project_id, at_us);
