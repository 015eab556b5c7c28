-- Automations: definitions with published versions, and the runs of contacts through them.
--
-- A run's lane is the last byte of its id, so the id alone finds the row. A merge does not change
-- runs: they are found by all ids that lead to the contact. An open run has a time at which it is
-- looked at next (due_us), whatever it waits for, so no second table could miss a timer.

CREATE TABLE automations (
    id               TEXT PRIMARY KEY,
    project_id       INTEGER NOT NULL,
    name             TEXT NOT NULL,
    description      TEXT NOT NULL,
    -- draft, active, paused or archived.
    status           TEXT NOT NULL,
    -- JSON of the definition, as its author wrote it; its number grows with each change.
    draft            TEXT NOT NULL,
    draft_revision   INTEGER NOT NULL,
    editor_layout    TEXT,
    -- Number of the newest version; 0: none was published.
    version          INTEGER NOT NULL DEFAULT 0,
    -- draft_revision that was published last.
    version_revision INTEGER NOT NULL DEFAULT 0,
    -- Event of the trigger of the newest version; NULL: it starts nothing.
    trigger_event    TEXT,
    -- Events that were received earlier start no run; NULL: it is not active.
    active_since_us  INTEGER,
    created_us       INTEGER NOT NULL,
    updated_us       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX automations_name ON automations (project_id, name) WHERE status <> 'archived';
CREATE UNIQUE INDEX automations_project ON automations (project_id, created_us);
CREATE INDEX automations_trigger ON automations (project_id, trigger_event)
    WHERE trigger_event IS NOT NULL;

-- A version is written once and never changed.
CREATE TABLE automation_versions (
    automation_id TEXT NOT NULL,
    number        INTEGER NOT NULL,
    id            TEXT NOT NULL UNIQUE,
    project_id    INTEGER NOT NULL,
    -- JSON with names replaced by ids.
    definition    TEXT NOT NULL,
    sha256        TEXT NOT NULL,
    -- JSON array of the events that start or continue its runs.
    event_names   TEXT NOT NULL,
    published_us  INTEGER NOT NULL,
    published_by  TEXT NOT NULL,
    PRIMARY KEY (automation_id, number)
) STRICT, WITHOUT ROWID;

-- Processed events that may start or continue a run, until the runner has read them.
CREATE TABLE automation_inbox (
    lane       INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    contact_id TEXT,
    -- NULL: it failed for good.
    due_us     INTEGER,
    attempt    INTEGER NOT NULL DEFAULT 0,
    error      TEXT,
    PRIMARY KEY (lane, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX automation_inbox_due ON automation_inbox (due_us, sequence) WHERE due_us IS NOT NULL;
CREATE INDEX automation_inbox_contact ON automation_inbox (contact_id, sequence)
    WHERE contact_id IS NOT NULL;

-- When a contact last started a run, for each value of the re-entry key.
CREATE TABLE automation_entries (
    lane          INTEGER NOT NULL,
    contact_id    TEXT NOT NULL,
    automation_id TEXT NOT NULL,
    entry_key     TEXT NOT NULL,
    project_id    INTEGER NOT NULL,
    last_start_us INTEGER NOT NULL,
    starts        INTEGER NOT NULL,
    PRIMARY KEY (lane, contact_id, automation_id, entry_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX automation_entries_contact ON automation_entries (contact_id);

CREATE TABLE automation_runs (
    lane          INTEGER NOT NULL,
    id            TEXT NOT NULL,
    project_id    INTEGER NOT NULL,
    automation_id TEXT NOT NULL,
    version       INTEGER NOT NULL,
    contact_id    TEXT NOT NULL,
    entry_key     TEXT NOT NULL,
    -- Event that started it.
    event_lane    INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    status        TEXT NOT NULL,
    reason        TEXT,
    outcome       TEXT,
    at_step       TEXT,
    -- JSON of the whole run: steps, waits, and the events that it uses.
    state         TEXT NOT NULL,
    -- When the runner looks at it next; NULL: it has ended.
    due_us        INTEGER,
    -- Failed attempts at what is due, and the last error.
    attempt       INTEGER NOT NULL DEFAULT 0,
    error         TEXT,
    notes         INTEGER NOT NULL DEFAULT 0,
    started_us    INTEGER NOT NULL,
    finished_us   INTEGER,
    PRIMARY KEY (lane, id)
) STRICT, WITHOUT ROWID;
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
    lane     INTEGER NOT NULL,
    run_id   TEXT NOT NULL,
    number   INTEGER NOT NULL,
    at_us    INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    step_key TEXT,
    sentence TEXT NOT NULL,
    PRIMARY KEY (lane, run_id, number)
) STRICT, WITHOUT ROWID;

-- Events that would have started a run but for a rule. Those that only do not match the filters
-- have no row.
CREATE TABLE rejected_starts (
    lane          INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    automation_id TEXT NOT NULL,
    project_id    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    contact_id    TEXT,
    event_id      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    sentence      TEXT NOT NULL,
    at_us         INTEGER NOT NULL,
    PRIMARY KEY (lane, sequence, automation_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX rejected_starts_automation ON rejected_starts (automation_id, sequence);
CREATE INDEX rejected_starts_contact ON rejected_starts (contact_id, sequence)
    WHERE contact_id IS NOT NULL;
CREATE INDEX rejected_starts_age ON rejected_starts (project_id, at_us);
