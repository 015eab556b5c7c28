-- When values happened, conflicts as a list, merges and erasures.

-- When the identifier was set or cleared; NULL: with the contact.
ALTER TABLE contacts ADD COLUMN external_id_us INTEGER;
ALTER TABLE contacts ADD COLUMN email_us INTEGER;
-- JSON of domain/property_times.py: when each property was set or removed.
ALTER TABLE contacts ADD COLUMN property_times TEXT NOT NULL DEFAULT '{}';

-- Two contacts that events take for one, each pair once; `low_id` is the smaller of the two ids.
-- resolved_by: the merge that made one of them, NULL while the pair waits for somebody.
CREATE TABLE contact_pairs (
    number            INTEGER PRIMARY KEY,
    project_id        INTEGER NOT NULL,
    low_id            TEXT NOT NULL,
    high_id           TEXT NOT NULL,
    -- Of the last event: whom it was resolved to, and who else has one of its identifiers.
    contact_id        TEXT NOT NULL,
    other_contact_id  TEXT NOT NULL,
    events            INTEGER NOT NULL,
    external_id_count INTEGER NOT NULL,
    email_count       INTEGER NOT NULL,
    last_event_id     BLOB NOT NULL,
    first_us          INTEGER NOT NULL,
    last_us           INTEGER NOT NULL,
    resolved_by       TEXT,
    UNIQUE (low_id, high_id)
) STRICT;
CREATE INDEX contact_pairs_open ON contact_pairs (project_id, number) WHERE resolved_by IS NULL;
CREATE INDEX contact_pairs_high ON contact_pairs (high_id);
CREATE INDEX contact_pairs_resolved ON contact_pairs (resolved_by) WHERE resolved_by IS NOT NULL;

-- Conflicts of before this table: the pairs that they make.
INSERT INTO contact_pairs (project_id, low_id, high_id, contact_id, other_contact_id, events,
    external_id_count, email_count, last_event_id, first_us, last_us)
SELECT p.project_id, p.low_id, p.high_id, l.contact_id, l.other_contact_id, p.events,
    p.external_id_count, p.email_count, e.id, p.first_us, p.last_us
FROM (
    SELECT c.project_id, min(c.contact_id, c.other_contact_id) AS low_id,
        max(c.contact_id, c.other_contact_id) AS high_id, count(DISTINCT c.sequence) AS events,
        sum(c.field = 'external_id') AS external_id_count, sum(c.field = 'email') AS email_count,
        max(c.id) AS last_id, min(c.at_us) AS first_us, max(c.at_us) AS last_us
    FROM contact_conflicts c GROUP BY 1, 2, 3
) p
JOIN contact_conflicts l ON l.id = p.last_id
JOIN events e ON e.sequence = l.sequence
JOIN contacts a ON a.id = p.low_id
JOIN contacts b ON b.id = p.high_id;

-- Identifiers of a contact that was merged into another: they lead to that one.
-- kind: contact_id, external_id, email.
CREATE TABLE contact_aliases (
    project_id   INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    value        TEXT NOT NULL,
    contact_id   TEXT NOT NULL,
    PRIMARY KEY (project_id, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_aliases_contact ON contact_aliases (contact_id);

-- snapshot: both sides as they were, JSON of store/rows/merges.py; NULL once nothing can be undone.
CREATE TABLE merges (
    number           INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    project_id       INTEGER NOT NULL,
    contact_id       TEXT NOT NULL,
    other_contact_id TEXT NOT NULL,
    actor            TEXT NOT NULL,
    created_us       INTEGER NOT NULL,
    undone_us        INTEGER,
    undone_by        TEXT,
    snapshot         TEXT
) STRICT;
CREATE INDEX merges_project ON merges (project_id, number);
CREATE INDEX merges_contact ON merges (contact_id);
CREATE INDEX merges_other ON merges (other_contact_id);

-- Jobs that forget a person. subject: by what the person is found, JSON of store/rows/erasures.py,
-- gone when the job is done; what stays is the receipt. status: running, wiping, done.
CREATE TABLE erasures (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL,
    contact_id  TEXT NOT NULL,
    status      TEXT NOT NULL,
    subject     TEXT,
    -- Place -> rows, JSON.
    counts      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    finished_us INTEGER
) STRICT;
CREATE INDEX erasures_project ON erasures (project_id, number);
CREATE INDEX erasures_contact ON erasures (contact_id);
CREATE INDEX erasures_unfinished ON erasures (number) WHERE status <> 'done';
