-- Operating automations: dead letters of runs, pausing with open runs held, limits of starts.

-- The run that failed; NULL when an event could not be applied to runs.
ALTER TABLE dead_letters ADD COLUMN run_id TEXT;
CREATE INDEX dead_letters_run ON dead_letters (run_id) WHERE run_id IS NOT NULL AND state = 0;

-- When what is due first failed.
ALTER TABLE automation_inbox ADD COLUMN first_failed_us INTEGER;
-- 1: it was applied to open runs; only starts wait, for a limit.
ALTER TABLE automation_inbox ADD COLUMN starts_only INTEGER NOT NULL DEFAULT 0;
-- Events that failed for good stayed here. They are tried again, and become dead letters if they
-- still fail.
UPDATE automation_inbox SET due_us = 0, attempt = 0 WHERE due_us IS NULL;
ALTER TABLE automation_runs ADD COLUMN first_failed_us INTEGER;
-- An event is kept while it is the trigger of an open run.
CREATE INDEX automation_runs_trigger ON automation_runs (sequence) WHERE due_us IS NOT NULL;
-- Runs that became due while their automation holds its runs: their time was moved by 2^61.
CREATE INDEX automation_runs_parked ON automation_runs (automation_id, due_us)
    WHERE due_us >= 2305843009213693952;

-- How it was paused: hold, drain or cancel.
ALTER TABLE automations ADD COLUMN pause_mode TEXT;
-- What the runner still has to do to its runs: cancel, or resume; NULL: nothing.
ALTER TABLE automations ADD COLUMN task TEXT;
-- What happens to runs that were due before overdue_before_us when it was resumed: run, skip_sends
-- or cancel.
ALTER TABLE automations ADD COLUMN overdue TEXT;
ALTER TABLE automations ADD COLUMN overdue_before_us INTEGER;
CREATE INDEX automations_task ON automations (id) WHERE task IS NOT NULL;

-- Runs started by minute, for the limit of an hour; only of projects that have one.
CREATE TABLE automation_starts (
    project_id INTEGER NOT NULL,
    minute     INTEGER NOT NULL,
    started    INTEGER NOT NULL,
    PRIMARY KEY (project_id, minute)
) STRICT, WITHOUT ROWID;
