-- Messages to contacts, one row for each recipient, with their status.
--
-- A message's lane is the last byte of its id, so its key is unique over all lanes and the id (in a
-- bounce, a link) finds the row. A merge does not change messages: they are found by all ids that
-- lead to the contact. Enums are stored by their values (domain/messages/kinds.py).

-- Domains that mail is sent from. dkim_key: a private key in PEM.
CREATE TABLE domains (
    id            TEXT PRIMARY KEY,
    project_id    INTEGER NOT NULL,
    name          TEXT NOT NULL,
    status        TEXT NOT NULL,
    track_opens   INTEGER NOT NULL,
    track_clicks  INTEGER NOT NULL,
    dkim_selector TEXT NOT NULL,
    dkim_key      TEXT NOT NULL,
    verified_us   INTEGER,
    -- `dns`, or the operator who confirmed it.
    verified_by   TEXT,
    created_us    INTEGER NOT NULL,
    updated_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX domains_name ON domains (project_id, name);
CREATE UNIQUE INDEX domains_project ON domains (project_id, created_us);

CREATE TABLE templates (
    id          TEXT PRIMARY KEY,
    project_id  INTEGER NOT NULL,
    name        TEXT NOT NULL,
    channel     TEXT NOT NULL,
    description TEXT NOT NULL,
    status      TEXT NOT NULL,
    -- JSON of the draft.
    draft       TEXT NOT NULL,
    -- Number of the newest version; 0: none was published.
    versions    INTEGER NOT NULL DEFAULT 0,
    -- Whether the draft was changed since the newest version.
    changed     INTEGER NOT NULL DEFAULT 1,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX templates_name ON templates (project_id, name) WHERE status <> 'archived';
CREATE UNIQUE INDEX templates_project ON templates (project_id, created_us);

-- A version is written once and never changed. It outlives its template for as long as there are
-- messages that were made from it.
CREATE TABLE template_versions (
    id           TEXT PRIMARY KEY,
    template_id  TEXT NOT NULL,
    project_id   INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    -- JSON of what is sent, with its variables.
    content      TEXT NOT NULL,
    -- JSON of the draft it was made from.
    draft        TEXT NOT NULL,
    published_us INTEGER NOT NULL,
    published_by TEXT NOT NULL,
    UNIQUE (template_id, number)
) STRICT, WITHOUT ROWID;

-- The content of a request; it has one message for each recipient. The id of a request
-- with an idempotency key follows from the key, so a key is unique as long as its e-mail is kept.
CREATE TABLE emails (
    lane         INTEGER NOT NULL,
    id           TEXT NOT NULL,
    project_id   INTEGER NOT NULL,
    -- Hash of the request, to distinguish a repeat from a reused key.
    request_hash BLOB NOT NULL,
    -- JSON of store/messages/email_content.py, without bodies and files.
    content      TEXT NOT NULL,
    created_us   INTEGER NOT NULL,
    PRIMARY KEY (lane, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX emails_project ON emails (project_id, created_us, id);

-- Bodies and files, once for each content in a project. `lane` is the first byte of the hash.
CREATE TABLE message_bodies (
    lane       INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    content    BLOB NOT NULL,
    -- When an e-mail was last written that has it.
    used_us    INTEGER NOT NULL,
    PRIMARY KEY (lane, project_id, hash)
) STRICT;
CREATE INDEX message_bodies_used ON message_bodies (project_id, used_us);

-- Which contents an e-mail has. part: text, html, or the number of a file.
CREATE TABLE email_parts (
    lane       INTEGER NOT NULL,
    email_id   TEXT NOT NULL,
    part       TEXT NOT NULL,
    project_id INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    PRIMARY KEY (lane, email_id, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX email_parts_hash ON email_parts (project_id, hash);

CREATE TABLE messages (
    lane                INTEGER NOT NULL,
    id                  TEXT NOT NULL,
    project_id          INTEGER NOT NULL,
    channel             TEXT NOT NULL,
    kind                TEXT NOT NULL,
    -- Of a direct send.
    email_id            TEXT,
    -- Of a step of an automation, whose content is kept here.
    automation_id       TEXT,
    run_id              TEXT,
    step_key            TEXT,
    content             TEXT,
    -- NULL: the address belongs to no known contact.
    contact_id          TEXT,
    -- Normalized, and as in the envelope.
    address             TEXT,
    recipient           TEXT,
    -- to, cc or bcc.
    role                TEXT NOT NULL DEFAULT 'to',
    topic_id            TEXT,
    template_version_id TEXT,
    -- Of the sender.
    domain              TEXT,
    domain_id           TEXT,
    -- As it was last sent.
    subject             TEXT,
    -- Receivers that share a rate.
    group_key           TEXT,
    state               TEXT NOT NULL,
    -- Reason of the status, and the rule that decided.
    reason              TEXT,
    rule                TEXT,
    -- When the sending loop takes it; NULL: never automatically.
    due_us              INTEGER,
    first_due_us        INTEGER NOT NULL,
    -- When a guardrail first made it wait.
    deferred_us         INTEGER,
    horizon_s           INTEGER,
    -- Attempts begun.
    attempt             INTEGER NOT NULL DEFAULT 0,
    -- Claims ever made; fences every write of its holder.
    claims              INTEGER NOT NULL DEFAULT 0,
    crashes             INTEGER NOT NULL DEFAULT 0,
    protocol_errors     INTEGER NOT NULL DEFAULT 0,
    unknowns            INTEGER NOT NULL DEFAULT 0,
    domain_bad_us       INTEGER,
    owner               TEXT,
    -- 0: not claimed.
    lease_until_us      INTEGER NOT NULL DEFAULT 0,
    -- When it was last sent to a relay that has not rejected it; counted by caps.
    handed_us           INTEGER,
    sent_us             INTEGER,
    finished_us         INTEGER,
    last_event          TEXT,
    created_us          INTEGER NOT NULL,
    PRIMARY KEY (lane, id)
) STRICT, WITHOUT ROWID;
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
    lane       INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    number     INTEGER NOT NULL,
    -- messages.claims of its worker.
    claim      INTEGER NOT NULL,
    relay      TEXT NOT NULL,
    started_us INTEGER NOT NULL,
    ended_us   INTEGER,
    outcome    TEXT,
    -- Phase of the response; the basic and the enhanced code; the text of the server.
    phase      TEXT,
    code       INTEGER,
    status     TEXT,
    diagnostic TEXT,
    PRIMARY KEY (lane, message_id, number)
) STRICT, WITHOUT ROWID;

-- Engagement, by kind of visitor. kind: open, click, unsubscribe.
CREATE TABLE message_engagement (
    lane       INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    kind       TEXT NOT NULL,
    link       INTEGER NOT NULL,
    verdict    TEXT NOT NULL,
    reason     TEXT,
    count      INTEGER NOT NULL,
    first_us   INTEGER NOT NULL,
    last_us    INTEGER NOT NULL,
    PRIMARY KEY (lane, message_id, kind, link, verdict)
) STRICT, WITHOUT ROWID;

-- Single hits, for a day: they are judged once the burst is over.
CREATE TABLE message_hits (
    lane       INTEGER NOT NULL,
    id         TEXT NOT NULL,
    message_id TEXT NOT NULL,
    kind       TEXT NOT NULL,
    link       INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,
    -- When it is judged; NULL: it was.
    due_us     INTEGER,
    address    TEXT,
    user_agent TEXT NOT NULL,
    head       INTEGER NOT NULL,
    honeypot   INTEGER NOT NULL,
    PRIMARY KEY (lane, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_hits_due ON message_hits (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX message_hits_message ON message_hits (message_id, at_us);
CREATE INDEX message_hits_address ON message_hits (address, at_us) WHERE address IS NOT NULL;
CREATE INDEX message_hits_age ON message_hits (at_us);

-- Targets of tracked links, kept for ever: years-old mail links to them.
CREATE TABLE links (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    hash       BLOB NOT NULL,
    target     TEXT NOT NULL,
    UNIQUE (project_id, hash)
) STRICT;

-- Addresses that get no mail. The hash is keyed by a secret of the store; when the person is
-- forgotten the address is removed and the hash stays effective.
CREATE TABLE suppressions (
    id           TEXT PRIMARY KEY,
    project_id   INTEGER NOT NULL,
    address_hash BLOB NOT NULL,
    reason       TEXT NOT NULL,
    scope        TEXT NOT NULL,
    email        TEXT,
    note         TEXT NOT NULL,
    -- Response of the server, or the message of the complaint.
    evidence     TEXT NOT NULL,
    created_by   TEXT NOT NULL,
    since_us     INTEGER NOT NULL,
    UNIQUE (project_id, address_hash, reason)
) STRICT, WITHOUT ROWID;
CREATE INDEX suppressions_project ON suppressions (project_id, since_us, id);
CREATE INDEX suppressions_email ON suppressions (project_id, email) WHERE email IS NOT NULL;

-- Temporary bounces of an address, until one becomes final.
CREATE TABLE soft_bounces (
    project_id   INTEGER NOT NULL,
    address_hash BLOB NOT NULL,
    count        INTEGER NOT NULL,
    first_us     INTEGER NOT NULL,
    last_us      INTEGER NOT NULL,
    PRIMARY KEY (project_id, address_hash)
) STRICT, WITHOUT ROWID;

-- The newest mails to the relay `capture:`.
CREATE TABLE captured_mails (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    at_us      INTEGER NOT NULL,
    content    BLOB NOT NULL
) STRICT;
CREATE INDEX captured_mails_project ON captured_mails (project_id, number);
CREATE INDEX captured_mails_message ON captured_mails (message_id);

-- Messages sent, by day in the zone of the project.
CREATE TABLE send_counts (
    project_id INTEGER NOT NULL,
    channel    TEXT NOT NULL,
    day        TEXT NOT NULL,
    sent       INTEGER NOT NULL,
    PRIMARY KEY (project_id, channel, day)
) STRICT, WITHOUT ROWID;

-- Sends to audiences: durable, resumable, rate-limited. status: scheduled, running, done, stopped.
CREATE TABLE send_jobs (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL,
    -- Its id is that of the e-mail.
    audiences  TEXT NOT NULL,
    excluded   TEXT NOT NULL,
    per_second INTEGER,
    -- Position: index of the audience, and contact.
    place      INTEGER NOT NULL DEFAULT 0,
    position   INTEGER NOT NULL DEFAULT -1,
    -- Contacts when it began; contacts done; messages made.
    total      INTEGER NOT NULL,
    done       INTEGER NOT NULL DEFAULT 0,
    made       INTEGER NOT NULL DEFAULT 0,
    status     TEXT NOT NULL,
    actor      TEXT NOT NULL,
    due_us     INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
) STRICT;
CREATE INDEX send_jobs_project ON send_jobs (project_id, number);
CREATE INDEX send_jobs_open ON send_jobs (number) WHERE status IN ('scheduled', 'running');
