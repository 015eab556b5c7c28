-- Topics and who is subscribed to them; audiences and who is in them.

-- `deleted_us` is set at once when one is deleted. Nobody sees it from then on, its name is free, and
-- the worker removes what belongs to it bit by bit (pipeline/removals.py), the row itself last.
CREATE TABLE topics (
    id                 text PRIMARY KEY,
    project_id         integer NOT NULL,
    name               text NOT NULL,
    description        text NOT NULL,
    default_subscribed boolean NOT NULL,
    created_us         bigint NOT NULL,
    updated_us         bigint NOT NULL,
    deleted_us         bigint
);
CREATE UNIQUE INDEX topics_name ON topics (project_id, name) WHERE deleted_us IS NULL;
-- No two topics of a project are of the same microsecond, so lists are paged by it.
CREATE UNIQUE INDEX topics_project ON topics (project_id, created_us) WHERE deleted_us IS NULL;
CREATE INDEX topics_deleted ON topics (deleted_us) WHERE deleted_us IS NOT NULL;

-- What contacts have chosen; who has chosen nothing has the topic's default and no row. In the lane
-- of the contact, whose number is the order of the lists.
CREATE TABLE topic_subscriptions (
    lane           smallint NOT NULL,
    contact_id     text NOT NULL,
    topic_id       text NOT NULL,
    contact_number bigint NOT NULL,
    is_subscribed  boolean NOT NULL,
    changed_us     bigint NOT NULL,
    PRIMARY KEY (lane, contact_id, topic_id)
);
CREATE INDEX topic_subscriptions_topic
    ON topic_subscriptions (topic_id, is_subscribed, contact_number);

-- Contacts that have unsubscribed from everything: for them no default holds.
CREATE TABLE topic_opt_outs (
    lane       smallint NOT NULL,
    contact_id text NOT NULL,
    at_us      bigint NOT NULL,
    PRIMARY KEY (lane, contact_id)
);

CREATE TABLE audiences (
    id          text PRIMARY KEY,
    project_id  integer NOT NULL,
    name        text NOT NULL,
    description text NOT NULL,
    created_us  bigint NOT NULL,
    updated_us  bigint NOT NULL,
    deleted_us  bigint
);
CREATE UNIQUE INDEX audiences_name ON audiences (project_id, name) WHERE deleted_us IS NULL;
CREATE UNIQUE INDEX audiences_project ON audiences (project_id, created_us)
    WHERE deleted_us IS NULL;
CREATE INDEX audiences_deleted ON audiences (deleted_us) WHERE deleted_us IS NOT NULL;

CREATE TABLE audience_members (
    lane           smallint NOT NULL,
    contact_id     text NOT NULL,
    audience_id    text NOT NULL,
    contact_number bigint NOT NULL,
    entered_us     bigint NOT NULL,
    PRIMARY KEY (lane, contact_id, audience_id)
);
CREATE INDEX audience_members_audience ON audience_members (audience_id, contact_number);

-- Search by the beginning of an identifier, in the order of its characters and no language's.
CREATE INDEX contact_identifiers_search
    ON contact_identifiers (project_id, kind, value COLLATE "C", contact_id);
