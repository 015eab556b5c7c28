-- Growing daily limits of sending domains, and what the last check of their records found.

-- The plan of a domain, by name, with the count of its latest day. Without a row there is no plan.
CREATE TABLE warm_ups (
    project_id  integer NOT NULL,
    domain      text NOT NULL,
    daily_start bigint NOT NULL,
    days        integer NOT NULL,
    -- Days in UTC. Each message is counted on the day of its first hand-over.
    started_on  text NOT NULL,
    day         text NOT NULL,
    sent        bigint NOT NULL,
    PRIMARY KEY (project_id, domain)
);

-- The last result of `headrace mail doctor`. findings: JSON.
CREATE TABLE domain_checks (
    project_id integer NOT NULL,
    domain     text NOT NULL,
    findings   text NOT NULL,
    at_us      bigint NOT NULL,
    PRIMARY KEY (project_id, domain)
);

-- Rejections that came back as reports, and mails accepted since the last of them.
ALTER TABLE receiver_breakers ADD COLUMN reported integer NOT NULL DEFAULT 0;
ALTER TABLE receiver_breakers ADD COLUMN accepted integer NOT NULL DEFAULT 0;

-- The id that the relay gave to a mail in its response.
ALTER TABLE message_attempts ADD COLUMN relay_id text;
CREATE INDEX message_attempts_relay_id ON message_attempts (relay_id) WHERE relay_id IS NOT NULL;
