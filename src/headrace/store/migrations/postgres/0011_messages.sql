-- Messages to contacts, one row for each recipient, with their status.
--
-- A message's lane is the last byte of its id, so its key is unique over all lanes and the id (in a
-- bounce, a link) finds the row. A merge does not change messages: they are found by all ids that
-- lead to the contact. Enums are stored by their values (domain/messages/kinds.py).

-- Domains that mail is sent from. dkim_key: a private key in PEM.
CREATE TABLE domains (
    id            text PRIMARY KEY,
    project_id    integer NOT NULL,
    name          text NOT NULL,
    status        text NOT NULL,
    track_opens   boolean NOT NULL,
    track_clicks  boolean NOT NULL,
    dkim_selector text NOT NULL,
    dkim_key      text NOT NULL,
    verified_us   bigint,
    -- `dns`, or the operator who confirmed it.
    verified_by   text,
    created_us    bigint NOT NULL,
    updated_us    bigint NOT NULL
);
CREATE UNIQUE INDEX domains_name ON domains (project_id, name);
CREATE UNIQUE INDEX domains_project ON domains (project_id, created_us);

CREATE TABLE templates (
    id          text PRIMARY KEY,
    project_id  integer NOT NULL,
    name        text NOT NULL,
    channel     text NOT NULL,
    description text NOT NULL,
    status      text NOT NULL,
    -- JSON of the draft.
    draft       text NOT NULL,
    -- Number of the newest version; 0: none was published.
    versions    integer NOT NULL DEFAULT 0,
    -- Whether the draft was changed since the newest version.
    changed     boolean NOT NULL DEFAULT true,
    created_us  bigint NOT NULL,
    updated_us  bigint NOT NULL
);
CREATE UNIQUE INDEX templates_name ON templates (project_id, name) WHERE status <> 'archived';
CREATE UNIQUE INDEX templates_project ON templates (project_id, created_us);

-- A version is written once and never changed. It outlives its template for as long as there are
-- messages that were made from it.
CREATE TABLE template_versions (
    id           text PRIMARY KEY,
    template_id  text NOT NULL,
    project_id   integer NOT NULL,
    number       integer NOT NULL,
    -- JSON of what is sent, with its variables.
    content      text NOT NULL,
    -- JSON of the draft it was made from.
    draft        text NOT NULL,
    published_us bigint NOT NULL,
    published_by text NOT NULL,
    UNIQUE (template_id, number)
);

-- The content of a request; it has one message for each recipient. The id of a request
-- with an idempotency key follows from the key, so a key is unique as long as its e-mail is kept.
CREATE TABLE emails (
    lane         smallint NOT NULL,
    id           text NOT NULL,
    project_id   integer NOT NULL,
    -- Hash of the request, to distinguish a repeat from a reused key.
    request_hash bytea NOT NULL,
    -- JSON of store/messages/email_content.py, without bodies and files.
    content      text NOT NULL,
    created_us   bigint NOT NULL,
    PRIMARY KEY (lane, id)
);
CREATE INDEX emails_project ON emails (project_id, created_us, id);

-- Bodies and files, once for each content in a project. `lane` is the first byte of the hash.
CREATE TABLE message_bodies (
    lane       smallint NOT NULL,
    project_id integer NOT NULL,
    hash       bytea NOT NULL,
    content    bytea NOT NULL,
    -- When an e-mail was last written that has it.
    used_us    bigint NOT NULL,
    PRIMARY KEY (lane, project_id, hash)
);
CREATE INDEX message_bodies_used ON message_bodies (project_id, used_us);

-- Which contents an e-mail has. part: text, html, or the number of a file.
CREATE TABLE email_parts (
    lane       smallint NOT NULL,
    email_id   text NOT NULL,
    part       text NOT NULL,
    project_id integer NOT NULL,
    hash       bytea NOT NULL,
    PRIMARY KEY (lane, email_id, part)
);
CREATE INDEX email_parts_hash ON email_parts (project_id, hash);

CREATE TABLE messages (
    lane                smallint NOT NULL,
    id                  text NOT NULL,
    project_id          integer NOT NULL,
    channel             text NOT NULL,
    kind                text NOT NULL,
    -- Of a direct send.
    email_id            text,
    -- Of a step of an automation, whose content is kept here.
    automation_id       text,
    run_id              text,
    step_key            text,
    content             text,
    -- NULL: the address belongs to no known contact.
    contact_id          text,
    -- Normalized, and as in the envelope.
    address             text,
    recipient           text,
    -- to, cc or bcc.
    role                text NOT NULL DEFAULT 'to',
    topic_id            text,
    template_version_id text,
    -- Of the sender.
    domain              text,
    domain_id           text,
    -- As it was last sent.
    subject             text,
    -- Receivers that share a rate.
    group_key           text,
    state               text NOT NULL,
    -- Reason of the status, and the rule that decided.
    reason              text,
    rule                text,
    -- When the sending loop takes it; NULL: never automatically.
    due_us              bigint,
    first_due_us        bigint NOT NULL,
    -- When a guardrail first made it wait.
    deferred_us         bigint,
    horizon_s           integer,
    -- Attempts begun.
    attempt             integer NOT NULL DEFAULT 0,
    -- Claims ever made; fences every write of its holder.
    claims              integer NOT NULL DEFAULT 0,
    crashes             integer NOT NULL DEFAULT 0,
    protocol_errors     integer NOT NULL DEFAULT 0,
    unknowns            integer NOT NULL DEFAULT 0,
    domain_bad_us       bigint,
    owner               text,
    -- 0: not claimed.
    lease_until_us      bigint NOT NULL DEFAULT 0,
    -- When it was last sent to a relay that has not rejected it; counted by caps.
    handed_us           bigint,
    sent_us             bigint,
    finished_us         bigint,
    last_event          text,
    created_us          bigint NOT NULL,
    PRIMARY KEY (lane, id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX messages_due ON messages (project_id, kind, due_us) WHERE due_us IS NOT NULL;
CREATE INDEX messages_leased ON messages (lease_until_us) WHERE lease_until_us > 0;
CREATE INDEX messages_project ON messages (project_id, created_us, id);
CREATE INDEX messages_email ON messages (email_id, id) WHERE email_id IS NOT NULL;
CREATE INDEX messages_contact ON messages (contact_id, created_us, id)
    WHERE contact_id IS NOT NULL;
CREATE INDEX messages_handed ON messages (contact_id, handed_us) WHERE handed_us IS NOT NULL;
-- Messages without a contact, to find those of a person to forget.
CREATE INDEX messages_address ON messages (project_id, address, created_us, id)
    WHERE contact_id IS NULL;
-- Messages that did not arrive, or with an unknown outcome; nearly all others arrived.
CREATE INDEX messages_state ON messages (project_id, state, created_us, id) WHERE state IN
    ('skipped', 'bounced', 'failed', 'blocked', 'expired', 'unknown', 'cancelled', 'complained');
CREATE INDEX messages_finished ON messages (project_id, finished_us)
    WHERE finished_us IS NOT NULL;

-- Written and committed before anything is sent to a relay. Without an outcome, it is unknown.
CREATE TABLE message_attempts (
    lane       smallint NOT NULL,
    message_id text NOT NULL,
    number     integer NOT NULL,
    -- messages.claims of its worker.
    claim      integer NOT NULL,
    relay      text NOT NULL,
    started_us bigint NOT NULL,
    ended_us   bigint,
    outcome    text,
    -- Phase of the response; the basic and the enhanced code; the text of the server.
    phase      text,
    code       integer,
    status     text,
    diagnostic text,
    PRIMARY KEY (lane, message_id, number)
);

-- Engagement, by kind of visitor. kind: open, click, unsubscribe.
CREATE TABLE message_engagement (
    lane       smallint NOT NULL,
    message_id text NOT NULL,
    kind       text NOT NULL,
    link       bigint NOT NULL,
    verdict    text NOT NULL,
    reason     text,
    count      integer NOT NULL,
    first_us   bigint NOT NULL,
    last_us    bigint NOT NULL,
    PRIMARY KEY (lane, message_id, kind, link, verdict)
);

-- Single hits, for a day: they are judged once the burst is over.
CREATE TABLE message_hits (
    lane       smallint NOT NULL,
    id         text NOT NULL,
    message_id text NOT NULL,
    kind       text NOT NULL,
    link       bigint NOT NULL,
    at_us      bigint NOT NULL,
    -- When it is judged; NULL: it was.
    due_us     bigint,
    address    text,
    user_agent text NOT NULL,
    head       boolean NOT NULL,
    honeypot   boolean NOT NULL,
    PRIMARY KEY (lane, id)
);
CREATE INDEX message_hits_due ON message_hits (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX message_hits_message ON message_hits (message_id, at_us);
CREATE INDEX message_hits_address ON message_hits (address, at_us) WHERE address IS NOT NULL;
CREATE INDEX message_hits_age ON message_hits (at_us);

-- Targets of tracked links, kept for ever: years-old mail links to them.
CREATE TABLE links (
    number     bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL,
    hash       bytea NOT NULL,
    target     text NOT NULL,
    UNIQUE (project_id, hash)
);

-- Addresses that get no mail. The hash is keyed by a secret of the store; when the person is
-- forgotten the address is removed and the hash stays effective.
CREATE TABLE suppressions (
    id           text PRIMARY KEY,
    project_id   integer NOT NULL,
    address_hash bytea NOT NULL,
    reason       text NOT NULL,
    scope        text NOT NULL,
    email        text,
    note         text NOT NULL,
    -- Response of the server, or the message of the complaint.
    evidence     text NOT NULL,
    created_by   text NOT NULL,
    since_us     bigint NOT NULL,
    UNIQUE (project_id, address_hash, reason)
);
CREATE INDEX suppressions_project ON suppressions (project_id, since_us, id);
CREATE INDEX suppressions_email ON suppressions (project_id, email) WHERE email IS NOT NULL;

-- Temporary bounces of an address, until one becomes final.
CREATE TABLE soft_bounces (
    project_id   integer NOT NULL,
    address_hash bytea NOT NULL,
    count        integer NOT NULL,
    first_us     bigint NOT NULL,
    last_us      bigint NOT NULL,
    PRIMARY KEY (project_id, address_hash)
);

-- The newest mails to the relay `capture:`.
CREATE TABLE captured_mails (
    number     bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    project_id integer NOT NULL,
    message_id text NOT NULL,
    at_us      bigint NOT NULL,
    content    bytea NOT NULL
);
CREATE INDEX captured_mails_project ON captured_mails (project_id, number);
CREATE INDEX captured_mails_message ON captured_mails (message_id);

-- Messages sent, by day in the zone of the project.
CREATE TABLE send_counts (
    project_id integer NOT NULL,
    channel    text NOT NULL,
    day        text NOT NULL,
    sent       bigint NOT NULL,
    PRIMARY KEY (project_id, channel, day)
);

-- Sends to audiences: durable, resumable, rate-limited. status: scheduled, running, done, stopped.
CREATE TABLE send_jobs (
    number     bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id         text NOT NULL UNIQUE,
    project_id integer NOT NULL,
    -- Its id is that of the e-mail.
    audiences  text NOT NULL,
    excluded   text NOT NULL,
    per_second integer,
    -- Position: index of the audience, and contact.
    place      integer NOT NULL DEFAULT 0,
    position   bigint NOT NULL DEFAULT -1,
    -- Contacts when it began; contacts done; messages made.
    total      bigint NOT NULL,
    done       bigint NOT NULL DEFAULT 0,
    made       bigint NOT NULL DEFAULT 0,
    status     text NOT NULL,
    actor      text NOT NULL,
    due_us     bigint NOT NULL,
    created_us bigint NOT NULL,
    updated_us bigint NOT NULL
);
CREATE INDEX send_jobs_project ON send_jobs (project_id, number);
CREATE INDEX send_jobs_open ON send_jobs (number) WHERE status IN ('scheduled', 'running');
