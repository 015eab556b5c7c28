-- Growing daily limits of sending domains, and what the last check of their records found.

-- The plan of a domain, by name, with the count of its latest day. Without a row there is no plan.
CREATE TABLE warm_ups (
    project_id  INTEGER NOT NULL,
    domain      TEXT NOT NULL,
    daily_start INTEGER NOT NULL,
    days        INTEGER NOT NULL,
    -- Days in UTC. Each message is counted on the day of its first hand-over.
    started_on  TEXT NOT NULL,
    day         TEXT NOT NULL,
    sent        INTEGER NOT NULL,
    PRIMARY KEY (project_id, domain)
) STRICT, WITHOUT ROWID;

-- The last result of `headrace mail doctor`. findings: JSON.
CREATE TABLE domain_checks (
    project_id INTEGER NOT NULL,
    domain     TEXT NOT NULL,
    findings   TEXT NOT NULL,
    at_us      INTEGER NOT NULL,
    PRIMARY KEY (project_id, domain)
) STRICT, WITHOUT ROWID;

-- Rejections that came back as reports, and mails accepted since the last of them.
ALTER TABLE receiver_breakers ADD COLUMN reported INTEGER NOT NULL DEFAULT 0;
ALTER TABLE receiver_breakers ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;

-- The id that the relay gave to a mail in its response.
ALTER TABLE message_attempts ADD COLUMN relay_id TEXT;
CREATE INDEX message_attempts_relay_id ON message_attempts (relay_id) WHERE relay_id IS NOT NULL;
