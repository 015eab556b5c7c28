-- Topics and who is subscribed to them; audiences and who is in them.

-- `deleted_us` is set at once when one is deleted. Nobody sees it from then on, its name is free, and
-- the worker removes what belongs to it bit by bit (pipeline/removals.py), the row itself last.
CREATE TABLE topics (
    id                 TEXT PRIMARY KEY,
    project_id         INTEGER NOT NULL,
    name               TEXT NOT NULL,
    description        TEXT NOT NULL,
    default_subscribed INTEGER NOT NULL,
    created_us         INTEGER NOT NULL,
    updated_us         INTEGER NOT NULL,
    deleted_us         INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX topics_name ON topics (project_id, name) WHERE deleted_us IS NULL;
-- No two topics of a project are of the same microsecond, so lists are paged by it.
CREATE UNIQUE INDEX topics_project ON topics (project_id, created_us) WHERE deleted_us IS NULL;
CREATE INDEX topics_deleted ON topics (deleted_us) WHERE deleted_us IS NOT NULL;

-- What contacts have chosen; who has chosen nothing has the topic's default and no row. Contacts are
-- named by their number, the order of the lists: so a list of subscribers is a walk along the key.
CREATE TABLE topic_subscriptions (
    topic_id       TEXT NOT NULL,
    contact_number INTEGER NOT NULL,
    is_subscribed  INTEGER NOT NULL,
    changed_us     INTEGER NOT NULL,
    PRIMARY KEY (topic_id, is_subscribed, contact_number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX topic_subscriptions_contact ON topic_subscriptions (contact_number, topic_id);

-- Contacts that have unsubscribed from everything: for them no default holds.
CREATE TABLE topic_opt_outs (
    contact_number INTEGER PRIMARY KEY,
    at_us          INTEGER NOT NULL
) STRICT;

CREATE TABLE audiences (
    id          TEXT PRIMARY KEY,
    project_id  INTEGER NOT NULL,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    deleted_us  INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX audiences_name ON audiences (project_id, name) WHERE deleted_us IS NULL;
CREATE UNIQUE INDEX audiences_project ON audiences (project_id, created_us)
    WHERE deleted_us IS NULL;
CREATE INDEX audiences_deleted ON audiences (deleted_us) WHERE deleted_us IS NOT NULL;

CREATE TABLE audience_members (
    audience_id    TEXT NOT NULL,
    contact_number INTEGER NOT NULL,
    entered_us     INTEGER NOT NULL,
    PRIMARY KEY (audience_id, contact_number)
) STRICT, WITHOUT ROWID;
CREATE INDEX audience_members_contact ON audience_members (contact_number);
