-- Bounces, complaints and webhooks of providers: what was received, understood and done. Enums are
-- stored by their values (domain/messages/feedback/).
CREATE TABLE mail_notifications (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL,
    -- Hash of what was received, so that nothing is applied twice.
    digest      BLOB NOT NULL UNIQUE,
    -- NULL: it is about no known message; then the address is not kept either.
    message_id  TEXT,
    intake      TEXT NOT NULL,
    source      TEXT NOT NULL,
    -- The source's own word.
    event       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    address     TEXT,
    reason      TEXT,
    status      TEXT,
    diagnostic  TEXT,
    reporter    TEXT,
    provider_id TEXT,
    -- What followed.
    effect      TEXT NOT NULL,
    -- When it happened, as reported.
    reported_us INTEGER,
    at_us       INTEGER NOT NULL,
    -- When it is tried again, while its message is being sent.
    due_us      INTEGER,
    -- Extract, addresses masked.
    raw         TEXT NOT NULL
) STRICT;
CREATE INDEX mail_notifications_project ON mail_notifications (project_id, number);
CREATE INDEX mail_notifications_kind ON mail_notifications (project_id, kind);
CREATE INDEX mail_notifications_message ON mail_notifications (message_id, number)
    WHERE message_id IS NOT NULL;
CREATE INDEX mail_notifications_due ON mail_notifications (due_us) WHERE due_us IS NOT NULL;

-- Local part of the Message-ID, which reports return.
ALTER TABLE messages ADD COLUMN mail_key TEXT;
CREATE INDEX messages_mail_key ON messages (mail_key) WHERE mail_key IS NOT NULL;
