-- What events look like, and counters of what happened: kept by processing, so that no page scans.

-- One row a project: what its limits have left out.
CREATE TABLE catalog_totals (
    project_id INTEGER PRIMARY KEY,
    names      INTEGER NOT NULL DEFAULT 0,
    -- Events whose name found no room.
    names_over INTEGER NOT NULL DEFAULT 0,
    -- Events that could not be catalogued.
    failures   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE catalog_names (
    project_id INTEGER NOT NULL,
    event      TEXT NOT NULL,
    first_us   INTEGER NOT NULL,
    last_us    INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    -- Bits by number of the source.
    sources    INTEGER NOT NULL,
    -- Events whose payload was looked at; paths and shares count these.
    inspected  INTEGER NOT NULL,
    -- Bits of domain/personal_data.py over all paths.
    personal   INTEGER NOT NULL DEFAULT 0,
    paths      INTEGER NOT NULL DEFAULT 0,
    -- Sightings of paths that found no room.
    paths_over INTEGER NOT NULL DEFAULT 0,
    -- Drift entries ever made; the last of them is of `drift_us`.
    drifts     INTEGER NOT NULL DEFAULT 0,
    drift_us   INTEGER,
    -- JSON text with placeholders for values.
    example    TEXT,
    example_id BLOB,
    PRIMARY KEY (project_id, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE catalog_hours (
    project_id INTEGER NOT NULL,
    event      TEXT NOT NULL,
    -- Hours since 1970, by the time of receipt.
    hour       INTEGER NOT NULL,
    source     INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    PRIMARY KEY (project_id, event, hour, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX catalog_hours_age ON catalog_hours (hour);

CREATE TABLE catalog_paths (
    project_id  INTEGER NOT NULL,
    event       TEXT NOT NULL,
    path        TEXT NOT NULL,
    first_us    INTEGER NOT NULL,
    last_us     INTEGER NOT NULL,
    -- Bits of domain/catalog_types.py, and those that the last write added.
    types       INTEGER NOT NULL,
    types_added INTEGER NOT NULL DEFAULT 0,
    -- Bits of domain/personal_data.py and of the looks of values.
    looks       INTEGER NOT NULL,
    -- Events that have the path, of those looked at.
    present     INTEGER NOT NULL,
    -- The first event that has it, of those looked at.
    first_number INTEGER NOT NULL,
    -- The last event that has it: which one of those looked at, and its sequence.
    last_number INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    -- Whether the last write made the row.
    fresh       INTEGER NOT NULL DEFAULT 1,
    -- When its absence was noticed; NULL while it comes.
    gone_us     INTEGER,
    PRIMARY KEY (project_id, event, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE catalog_drift (
    project_id INTEGER NOT NULL,
    event      TEXT NOT NULL,
    number     INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    path       TEXT NOT NULL,
    -- Bit of the type that is new; 0 for other kinds.
    type       INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,
    -- The event that showed it first.
    event_id   BLOB,
    -- Events looked at before that one.
    before     INTEGER NOT NULL,
    PRIMARY KEY (project_id, event, number)
) STRICT, WITHOUT ROWID;

-- Counters and histograms by domain/rollups.py, a row for each minute, hour and day.
CREATE TABLE rollups (
    project_id INTEGER NOT NULL,
    -- Seconds that a row stands for: 60, 3600, 86400.
    grain      INTEGER NOT NULL,
    -- Start, in grains since 1970.
    at         INTEGER NOT NULL,
    -- A subscriber's id; empty for the project itself.
    subject    TEXT NOT NULL,
    -- JSON arrays.
    counts     TEXT NOT NULL,
    accept     TEXT,
    processing TEXT,
    delivery   TEXT,
    PRIMARY KEY (project_id, grain, at, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollups_age ON rollups (grain, at);
