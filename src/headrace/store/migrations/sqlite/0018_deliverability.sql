-- What receivers do with mail, and alerts for operators.

-- Mail by sending domain, receiving domain and day (UTC) on which it was handed over.
CREATE TABLE mail_figures (
    project_id INTEGER NOT NULL,
    domain     TEXT NOT NULL,
    day        TEXT NOT NULL,
    receiver   TEXT NOT NULL,
    sent       INTEGER NOT NULL DEFAULT 0,
    delivered  INTEGER NOT NULL DEFAULT 0,
    bounced    INTEGER NOT NULL DEFAULT 0,
    complained INTEGER NOT NULL DEFAULT 0,
    blocked    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, domain, day, receiver)
) STRICT, WITHOUT ROWID;
CREATE INDEX mail_figures_day ON mail_figures (day);

-- Receivers that reject the sender. Open once opened_us is set; then one message at a time probes,
-- from until_us on. A row is deleted when the receiver accepts mail again.
CREATE TABLE receiver_breakers (
    project_id INTEGER NOT NULL,
    domain     TEXT NOT NULL,
    receiver   TEXT NOT NULL,
    -- In a row.
    rejections INTEGER NOT NULL,
    openings   INTEGER NOT NULL DEFAULT 0,
    opened_us  INTEGER,
    until_us   INTEGER NOT NULL DEFAULT 0,
    -- The last rejection.
    code       INTEGER,
    status     TEXT,
    diagnostic TEXT,
    message_id TEXT NOT NULL,
    -- The message that probes, or probed last.
    probe_id   TEXT,
    at_us      INTEGER NOT NULL,
    PRIMARY KEY (project_id, domain, receiver)
) STRICT, WITHOUT ROWID;

-- A relay that cannot be used; deleted when it accepts a mail.
CREATE TABLE relay_failures (
    relay      TEXT PRIMARY KEY,
    outcome    TEXT NOT NULL,
    failures   INTEGER NOT NULL,
    since_us   INTEGER NOT NULL,
    last_us    INTEGER NOT NULL,
    diagnostic TEXT
) STRICT, WITHOUT ROWID;

-- Alerts: pending before they begin, then open, then ended. project_id 0: the whole instance.
CREATE TABLE alerts (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    -- What it is about: a domain, a subscriber, a relay; empty where there is only one.
    subject    TEXT NOT NULL,
    state      TEXT NOT NULL,
    -- Since when the reading has been bad, or, of an open one, good again.
    since_us   INTEGER,
    detail     TEXT NOT NULL,
    started_us INTEGER,
    ended_us   INTEGER
) STRICT;
CREATE UNIQUE INDEX alerts_current ON alerts (project_id, kind, subject) WHERE state <> 'ended';
CREATE INDEX alerts_project ON alerts (project_id, number);
CREATE INDEX alerts_ended ON alerts (ended_us) WHERE ended_us IS NOT NULL;

-- Notices of alerts that are yet to be sent. edge: started, ended. channel: webhook, mail.
CREATE TABLE alert_notices (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    alert_number INTEGER NOT NULL,
    edge         TEXT NOT NULL,
    channel      TEXT NOT NULL,
    attempt      INTEGER NOT NULL DEFAULT 0,
    due_us       INTEGER,
    done_us      INTEGER,
    error        TEXT NOT NULL DEFAULT '',
    at_us        INTEGER NOT NULL
) STRICT;
CREATE INDEX alert_notices_due ON alert_notices (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX alert_notices_alert ON alert_notices (alert_number);
