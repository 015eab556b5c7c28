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
    id                text PRIMARY KEY,
    project_id        integer NOT NULL,
    name              text NOT NULL,
    -- JSON array of origins whose pages may use the app; empty: every origin.
    origins           text NOT NULL,
    -- Uncompressed point of P-256 in base64url; the private key as PEM, sealed.
    vapid_public_key  text NOT NULL,
    vapid_private_key text NOT NULL,
    -- Where a website serves the service worker, and its scope.
    worker_path       text NOT NULL,
    worker_scope      text NOT NULL,
    -- JSON of the public settings of Firebase, which Android needs; NULL: none.
    fcm_app           text,
    created_us        bigint NOT NULL,
    updated_us        bigint NOT NULL
);
CREATE UNIQUE INDEX push_apps_name ON push_apps (project_id, name);
CREATE UNIQUE INDEX push_apps_project ON push_apps (project_id, created_us);

CREATE TABLE push_devices (
    lane             smallint NOT NULL,
    app_id           text NOT NULL,
    id               text NOT NULL,
    project_id       integer NOT NULL,
    -- NULL: anonymous.
    contact_id       text,
    platform         text NOT NULL,
    environment      text NOT NULL,
    -- Whether it can be sent to; why not, and since when.
    state            text NOT NULL,
    reason           text,
    state_us         bigint NOT NULL,
    -- As the client reports them.
    subscribed       boolean NOT NULL,
    permission       text,
    -- Token of FCM or APNs (in hexadecimal digits), or the endpoint of Web Push.
    address          text,
    -- SHA-256 of the address: one that moves to another device leaves the earlier one.
    address_hash     bytea,
    -- Of Web Push: keys of the browser in base64url, and when the subscription ends.
    p256dh           text,
    auth             text,
    expires_us       bigint,
    apns_environment text,
    -- JSON of what the client reports about itself: locale, time zone, versions, model.
    facts            text NOT NULL,
    -- JSON object of tags that wait for a contact.
    tags             text NOT NULL DEFAULT '{}',
    -- Rows of push_device_events, and the bytes of their payloads.
    kept_events      integer NOT NULL DEFAULT 0,
    kept_bytes       integer NOT NULL DEFAULT 0,
    created_us       bigint NOT NULL,
    -- When the client last sent anything.
    seen_us          bigint NOT NULL,
    updated_us       bigint NOT NULL,
    -- The last notification a service took, and the last failure.
    sent_us          bigint,
    failed_us        bigint,
    failure          text,
    PRIMARY KEY (lane, app_id, id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
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
    lane        smallint NOT NULL,
    app_id      text NOT NULL,
    device_id   text NOT NULL,
    -- Idempotency key of the event it becomes.
    id          text NOT NULL,
    project_id  integer NOT NULL,
    event       text NOT NULL,
    payload     text NOT NULL,
    received_us bigint NOT NULL,
    PRIMARY KEY (lane, app_id, device_id, id)
);
CREATE INDEX push_device_events_age ON push_device_events (project_id, received_us);

-- Requests. The id of one with an idempotency key follows from the key.
CREATE TABLE push_sends (
    lane         smallint NOT NULL,
    id           text NOT NULL,
    project_id   integer NOT NULL,
    app_id       text NOT NULL,
    -- Hash of the request, to distinguish a repeat from a reused key.
    request_hash bytea NOT NULL,
    -- JSON of the content.
    content      text NOT NULL,
    -- JSON of what was counted: targets, and those without a device.
    counts       text NOT NULL,
    created_us   bigint NOT NULL,
    PRIMARY KEY (lane, id)
);
CREATE INDEX push_sends_project ON push_sends (project_id, created_us, id);

CREATE TABLE push_notifications (
    lane           smallint NOT NULL,
    id             text NOT NULL,
    project_id     integer NOT NULL,
    app_id         text NOT NULL,
    platform       text NOT NULL,
    -- Of a direct send.
    send_id        text,
    -- The message to the contact, with the run and step that it is from.
    message_id     text,
    -- NULL: a raw token or subscription, or no known contact.
    device_id      text,
    contact_id     text,
    -- JSON of a raw token or subscription.
    target         text,
    state          text NOT NULL,
    reason         text,
    -- When the sending loop takes it; NULL: never automatically.
    due_us         bigint,
    horizon_us     bigint,
    -- Attempts begun; claims ever made, which fence every write of their holder.
    attempt        integer NOT NULL DEFAULT 0,
    claims         integer NOT NULL DEFAULT 0,
    crashes        integer NOT NULL DEFAULT 0,
    owner          text,
    lease_until_us bigint NOT NULL DEFAULT 0,
    sent_us        bigint,
    finished_us    bigint,
    opened_us      bigint,
    -- Button of the opening.
    action_id      text,
    -- When the event about the opening is emitted; NULL: it was, or nobody opened it.
    open_due_us    bigint,
    created_us     bigint NOT NULL,
    PRIMARY KEY (lane, id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
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
    lane            smallint NOT NULL,
    notification_id text NOT NULL,
    number          integer NOT NULL,
    claim           integer NOT NULL,
    -- Host of the service.
    service         text NOT NULL,
    started_us      bigint NOT NULL,
    ended_us        bigint,
    outcome         text,
    -- Status of HTTP, the code of the service, and its text.
    status          integer,
    code            text,
    detail          text,
    PRIMARY KEY (lane, notification_id, number)
);

-- What devices report. kind: delivery, foreground_display, open, click, dismiss and others.
CREATE TABLE push_engagement (
    lane            smallint NOT NULL,
    notification_id text NOT NULL,
    kind            text NOT NULL,
    -- Button of a click; empty: none.
    action_id       text NOT NULL,
    count           integer NOT NULL,
    first_us        bigint NOT NULL,
    last_us         bigint NOT NULL,
    PRIMARY KEY (lane, notification_id, kind, action_id)
);

-- Sends to audiences: durable, resumable, rate-limited. status: scheduled, running, done, stopped.
CREATE TABLE push_jobs (
    number     bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    -- Of its request in push_sends.
    id         text NOT NULL UNIQUE,
    project_id integer NOT NULL,
    -- JSON arrays of audiences.
    audiences  text NOT NULL,
    excluded   text NOT NULL,
    per_second integer,
    -- Position: index of the audience, and contact.
    place      integer NOT NULL DEFAULT 0,
    position   bigint NOT NULL DEFAULT -1,
    -- Contacts when it began; contacts done; notifications made.
    total      bigint NOT NULL,
    done       bigint NOT NULL DEFAULT 0,
    made       bigint NOT NULL DEFAULT 0,
    status     text NOT NULL,
    actor      text NOT NULL,
    due_us     bigint NOT NULL,
    created_us bigint NOT NULL,
    updated_us bigint NOT NULL
);
CREATE INDEX push_jobs_project ON push_jobs (project_id, number);
CREATE INDEX push_jobs_open ON push_jobs (number) WHERE status IN ('scheduled', 'running');

-- Mail and push are claimed by loops of their own.
DROP INDEX messages_due;
CREATE INDEX messages_due ON messages (project_id, channel, kind, due_us)
    WHERE due_us IS NOT NULL;
