-- Push: apps, the devices that register with them, and notifications sent to devices.
--
-- Apps and devices. A device is identified by its app and an id that the client may choose, so
-- two apps never share one. `lane` is the last byte of a hash of both (domain/push/devices.py);
-- everything that belongs to a device has the same one. A device without `contact_id` is
-- anonymous: its events and tags are kept with it until somebody logs in, and then become events
-- and properties of the contact. A merge does not change devices: they are found by all ids that
-- lead to the contact.
--
-- Notifications. A request (push_sends) or a step of a run makes one notification for each device.
-- The id of a notification follows from its origin and the device, so that a repeat replaces what
-- the device shows. Its lane is the last byte of its id, as for messages. What devices report about
-- it is counted in push_engagement; the first `open` sets opened_us, and one event is emitted for
-- it at open_due_us, so that a button pressed at the same time is part of it.
-- Enums are stored by their values (domain/push/kinds.py).

CREATE TABLE push_apps (
    -- Short and public: clients send it with each request.
    id                TEXT PRIMARY KEY,
    project_id        INTEGER NOT NULL,
    name              TEXT NOT NULL,
    -- JSON array of origins whose pages may use the app; empty: every origin.
    origins           TEXT NOT NULL,
    -- Uncompressed point of P-256 in base64url; the private key as PEM, sealed.
    vapid_public_key  TEXT NOT NULL,
    vapid_private_key TEXT NOT NULL,
    -- Where a website serves the service worker, and its scope.
    worker_path       TEXT NOT NULL,
    worker_scope      TEXT NOT NULL,
    -- JSON of the public settings of Firebase, which Android needs; NULL: none.
    fcm_app           TEXT,
    created_us        INTEGER NOT NULL,
    updated_us        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX push_apps_name ON push_apps (project_id, name);
CREATE UNIQUE INDEX push_apps_project ON push_apps (project_id, created_us);

CREATE TABLE push_devices (
    lane             INTEGER NOT NULL,
    app_id           TEXT NOT NULL,
    id               TEXT NOT NULL,
    project_id       INTEGER NOT NULL,
    -- NULL: anonymous.
    contact_id       TEXT,
    platform         TEXT NOT NULL,
    environment      TEXT NOT NULL,
    -- Whether it can be sent to; why not, and since when.
    state            TEXT NOT NULL,
    reason           TEXT,
    state_us         INTEGER NOT NULL,
    -- As the client reports them.
    subscribed       INTEGER NOT NULL,
    permission       TEXT,
    -- Token of FCM or APNs (in hexadecimal digits), or the endpoint of Web Push.
    address          TEXT,
    -- SHA-256 of the address: one that moves to another device leaves the earlier one.
    address_hash     BLOB,
    -- Of Web Push: keys of the browser in base64url, and when the subscription ends.
    p256dh           TEXT,
    auth             TEXT,
    expires_us       INTEGER,
    apns_environment TEXT,
    -- JSON of what the client reports about itself: locale, time zone, versions, model.
    facts            TEXT NOT NULL,
    -- JSON object of tags that wait for a contact.
    tags             TEXT NOT NULL DEFAULT '{}',
    -- Rows of push_device_events, and the bytes of their payloads.
    kept_events      INTEGER NOT NULL DEFAULT 0,
    kept_bytes       INTEGER NOT NULL DEFAULT 0,
    created_us       INTEGER NOT NULL,
    -- When the client last sent anything.
    seen_us          INTEGER NOT NULL,
    updated_us       INTEGER NOT NULL,
    -- The last notification a service took, and the last failure.
    sent_us          INTEGER,
    failed_us        INTEGER,
    failure          TEXT,
    PRIMARY KEY (lane, app_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX push_devices_app ON push_devices (app_id, created_us, id);
CREATE INDEX push_devices_contact ON push_devices (contact_id, created_us, id)
    WHERE contact_id IS NOT NULL;
CREATE INDEX push_devices_address ON push_devices (app_id, address_hash)
    WHERE address_hash IS NOT NULL;
-- Anonymous devices, and those with events that wait to be moved to their contact.
CREATE INDEX push_devices_anonymous ON push_devices (project_id, seen_us)
    WHERE contact_id IS NULL;
CREATE INDEX push_devices_kept ON push_devices (seen_us)
    WHERE kept_events > 0 AND contact_id IS NOT NULL;

-- Events of devices without a contact.
CREATE TABLE push_device_events (
    lane        INTEGER NOT NULL,
    app_id      TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    -- Idempotency key of the event it becomes.
    id          TEXT NOT NULL,
    project_id  INTEGER NOT NULL,
    event       TEXT NOT NULL,
    payload     TEXT NOT NULL,
    received_us INTEGER NOT NULL,
    PRIMARY KEY (lane, app_id, device_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX push_device_events_age ON push_device_events (project_id, received_us);

-- Requests. The id of one with an idempotency key follows from the key.
CREATE TABLE push_sends (
    lane         INTEGER NOT NULL,
    id           TEXT NOT NULL,
    project_id   INTEGER NOT NULL,
    app_id       TEXT NOT NULL,
    -- Hash of the request, to distinguish a repeat from a reused key.
    request_hash BLOB NOT NULL,
    -- JSON of the content.
    content      TEXT NOT NULL,
    -- JSON of what was counted: targets, and those without a device.
    counts       TEXT NOT NULL,
    created_us   INTEGER NOT NULL,
    PRIMARY KEY (lane, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX push_sends_project ON push_sends (project_id, created_us, id);

CREATE TABLE push_notifications (
    lane           INTEGER NOT NULL,
    id             TEXT NOT NULL,
    project_id     INTEGER NOT NULL,
    app_id         TEXT NOT NULL,
    platform       TEXT NOT NULL,
    -- Of a direct send.
    send_id        TEXT,
    -- The message to the contact, with the run and step that it is from.
    message_id     TEXT,
    -- NULL: a raw token or subscription, or no known contact.
    device_id      TEXT,
    contact_id     TEXT,
    -- JSON of a raw token or subscription.
    target         TEXT,
    state          TEXT NOT NULL,
    reason         TEXT,
    -- When the sending loop takes it; NULL: never automatically.
    due_us         INTEGER,
    horizon_us     INTEGER,
    -- Attempts begun; claims ever made, which fence every write of their holder.
    attempt        INTEGER NOT NULL DEFAULT 0,
    claims         INTEGER NOT NULL DEFAULT 0,
    crashes        INTEGER NOT NULL DEFAULT 0,
    owner          TEXT,
    lease_until_us INTEGER NOT NULL DEFAULT 0,
    sent_us        INTEGER,
    finished_us    INTEGER,
    opened_us      INTEGER,
    -- Button of the opening.
    action_id      TEXT,
    -- When the event about the opening is emitted; NULL: it was, or nobody opened it.
    open_due_us    INTEGER,
    created_us     INTEGER NOT NULL,
    PRIMARY KEY (lane, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX push_notifications_due ON push_notifications (project_id, due_us)
    WHERE due_us IS NOT NULL;
CREATE INDEX push_notifications_leased ON push_notifications (lease_until_us)
    WHERE lease_until_us > 0;
CREATE INDEX push_notifications_opens ON push_notifications (open_due_us)
    WHERE open_due_us IS NOT NULL;
CREATE INDEX push_notifications_project ON push_notifications (project_id, created_us, id);
CREATE INDEX push_notifications_send ON push_notifications (send_id, id)
    WHERE send_id IS NOT NULL;
CREATE INDEX push_notifications_message ON push_notifications (message_id, id)
    WHERE message_id IS NOT NULL;
CREATE INDEX push_notifications_device ON push_notifications (app_id, device_id, created_us, id)
    WHERE device_id IS NOT NULL;
CREATE INDEX push_notifications_contact ON push_notifications (contact_id, created_us, id)
    WHERE contact_id IS NOT NULL;
CREATE INDEX push_notifications_finished ON push_notifications (project_id, finished_us)
    WHERE finished_us IS NOT NULL;

-- Written and committed before anything is sent to a service. Without an outcome, it is unknown.
CREATE TABLE push_attempts (
    lane            INTEGER NOT NULL,
    notification_id TEXT NOT NULL,
    number          INTEGER NOT NULL,
    claim           INTEGER NOT NULL,
    -- Host of the service.
    service         TEXT NOT NULL,
    started_us      INTEGER NOT NULL,
    ended_us        INTEGER,
    outcome         TEXT,
    -- Status of HTTP, the code of the service, and its text.
    status          INTEGER,
    code            TEXT,
    detail          TEXT,
    PRIMARY KEY (lane, notification_id, number)
) STRICT, WITHOUT ROWID;

-- What devices report. kind: delivery, foreground_display, open, click, dismiss and others.
CREATE TABLE push_engagement (
    lane            INTEGER NOT NULL,
    notification_id TEXT NOT NULL,
    kind            TEXT NOT NULL,
    -- Button of a click; empty: none.
    action_id       TEXT NOT NULL,
    count           INTEGER NOT NULL,
    first_us        INTEGER NOT NULL,
    last_us         INTEGER NOT NULL,
    PRIMARY KEY (lane, notification_id, kind, action_id)
) STRICT, WITHOUT ROWID;

-- Sends to audiences: durable, resumable, rate-limited. status: scheduled, running, done, stopped.
CREATE TABLE push_jobs (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Of its request in push_sends.
    id         TEXT NOT NULL UNIQUE,
    project_id INTEGER NOT NULL,
    -- JSON arrays of audiences.
    audiences  TEXT NOT NULL,
    excluded   TEXT NOT NULL,
    per_second INTEGER,
    -- Position: index of the audience, and contact.
    place      INTEGER NOT NULL DEFAULT 0,
    position   INTEGER NOT NULL DEFAULT -1,
    -- Contacts when it began; contacts done; notifications made.
    total      INTEGER NOT NULL,
    done       INTEGER NOT NULL DEFAULT 0,
    made       INTEGER NOT NULL DEFAULT 0,
    status     TEXT NOT NULL,
    actor      TEXT NOT NULL,
    due_us     INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
) STRICT;
CREATE INDEX push_jobs_project ON push_jobs (project_id, number);
CREATE INDEX push_jobs_open ON push_jobs (number) WHERE status IN ('scheduled', 'running');

-- Mail and push are claimed by loops of their own.
DROP INDEX messages_due;
CREATE INDEX messages_due ON messages (project_id, channel, kind, due_us)
    WHERE due_us IS NOT NULL;
