-- When values happened, conflicts as a list, merges and erasures.

-- When the identifier was set or cleared; NULL: with the contact.
ALTER TABLE contacts ADD COLUMN external_id_us bigint;
ALTER TABLE contacts ADD COLUMN email_us bigint;
-- JSON of domain/property_times.py: when each property was set or removed.
ALTER TABLE contacts ADD COLUMN property_times text NOT NULL DEFAULT '{}';

-- Two contacts that events take for one, each pair once; `low_id` is the smaller of the two ids,
-- and `lane` is that of the contact id `low_id`.
-- resolved_by: the merge that made one of them, NULL while the pair waits for somebody.
CREATE TABLE contact_pairs (
    lane              smallint NOT NULL,
    low_id            text NOT NULL,
    high_id           text NOT NULL,
    -- Order of finding, for the lists.
    number            bigint NOT NULL,
    project_id        integer NOT NULL,
    -- Of the last event: whom it was resolved to, and who else has one of its identifiers.
    contact_id        text NOT NULL,
    other_contact_id  text NOT NULL,
    events            bigint NOT NULL,
    external_id_count bigint NOT NULL,
    email_count       bigint NOT NULL,
    last_event_id     uuid NOT NULL,
    first_us          bigint NOT NULL,
    last_us           bigint NOT NULL,
    resolved_by       text,
    PRIMARY KEY (lane, low_id, high_id)
);
CREATE INDEX contact_pairs_open ON contact_pairs (project_id, number) WHERE resolved_by IS NULL;
CREATE INDEX contact_pairs_low ON contact_pairs (low_id);
CREATE INDEX contact_pairs_high ON contact_pairs (high_id);
CREATE INDEX contact_pairs_resolved ON contact_pairs (resolved_by) WHERE resolved_by IS NOT NULL;

-- An identifier of a contact that was merged into another leads to that one. The id of the lost
-- contact is one of them: kind contact_id, in the lane of that identity.
ALTER TABLE contact_identifiers ADD COLUMN alias boolean NOT NULL DEFAULT false;
CREATE INDEX contact_identifiers_alias ON contact_identifiers (contact_id) WHERE alias;

-- snapshot: both sides as they were, JSON of store/rows/merges.py; NULL once nothing can be undone.
CREATE TABLE merges (
    number           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               text NOT NULL UNIQUE,
    project_id       integer NOT NULL,
    contact_id       text NOT NULL,
    other_contact_id text NOT NULL,
    actor            text NOT NULL,
    created_us       bigint NOT NULL,
    undone_us        bigint,
    undone_by        text,
    snapshot         text
);
CREATE INDEX merges_project ON merges (project_id, number);
CREATE INDEX merges_contact ON merges (contact_id);
CREATE INDEX merges_other ON merges (other_contact_id);

-- Jobs that forget a person. subject: by what the person is found, JSON of store/rows/erasures.py,
-- gone when the job is done; what stays is the receipt. status: running, wiping, done.
CREATE TABLE erasures (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,
    project_id  integer NOT NULL,
    contact_id  text NOT NULL,
    status      text NOT NULL,
    subject     text,
    -- Place -> rows, JSON.
    counts      text NOT NULL,
    actor       text NOT NULL,
    created_us  bigint NOT NULL,
    finished_us bigint
);
CREATE INDEX erasures_project ON erasures (project_id, number);
CREATE INDEX erasures_contact ON erasures (contact_id);
CREATE INDEX erasures_unfinished ON erasures (number) WHERE status <> 'done';
