-- What events look like, and counters of what happened: kept by processing, so that no page scans.
--
-- Rows carry a lane of the worker that keeps them, the lowest one it holds: so no two workers write
-- one row. Readers add them up.

-- One row a project: what its limits have left out.
CREATE TABLE catalog_totals (
    lane       smallint NOT NULL,
    project_id integer NOT NULL,
    names      bigint NOT NULL DEFAULT 0,
    -- Events whose name found no room.
    names_over bigint NOT NULL DEFAULT 0,
    -- Events that could not be catalogued.
    failures   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (lane, project_id)
);

CREATE TABLE catalog_names (
    lane       smallint NOT NULL,
    project_id integer NOT NULL,
    event      text COLLATE "C" NOT NULL,
    first_us   bigint NOT NULL,
    last_us    bigint NOT NULL,
    events     bigint NOT NULL,
    -- Bits by number of the source.
    sources    integer NOT NULL,
    -- Events whose payload was looked at; paths and shares count these.
    inspected  bigint NOT NULL,
    -- Bits of domain/personal_data.py over all paths.
    personal   integer NOT NULL DEFAULT 0,
    paths      integer NOT NULL DEFAULT 0,
    -- Sightings of paths that found no room.
    paths_over bigint NOT NULL DEFAULT 0,
    -- Drift entries ever made; the last of them is of `drift_us`.
    drifts     integer NOT NULL DEFAULT 0,
    drift_us   bigint,
    -- JSON text with placeholders for values.
    example    text,
    example_id uuid,
    PRIMARY KEY (lane, project_id, event)
);
CREATE INDEX catalog_names_list ON catalog_names (project_id, event);

CREATE TABLE catalog_hours (
    lane       smallint NOT NULL,
    project_id integer NOT NULL,
    event      text COLLATE "C" NOT NULL,
    -- Hours since 1970, by the time of receipt.
    hour       integer NOT NULL,
    source     smallint NOT NULL,
    events     bigint NOT NULL,
    PRIMARY KEY (lane, project_id, event, hour, source)
);
CREATE INDEX catalog_hours_list ON catalog_hours (project_id, event, hour);
CREATE INDEX catalog_hours_age ON catalog_hours (hour);

CREATE TABLE catalog_paths (
    lane        smallint NOT NULL,
    project_id  integer NOT NULL,
    event       text COLLATE "C" NOT NULL,
    path        text COLLATE "C" NOT NULL,
    first_us    bigint NOT NULL,
    last_us     bigint NOT NULL,
    -- Bits of domain/catalog_types.py, and those that the last write added.
    types       integer NOT NULL,
    types_added integer NOT NULL DEFAULT 0,
    -- Bits of domain/personal_data.py and of the looks of values.
    looks       integer NOT NULL,
    -- Events that have the path, of those looked at.
    present     bigint NOT NULL,
    -- The first event that has it, of those looked at.
    first_number bigint NOT NULL,
    -- The last event that has it: which one of those looked at, and its sequence.
    last_number bigint NOT NULL,
    sequence    bigint NOT NULL,
    -- Whether the last write made the row.
    fresh       boolean NOT NULL DEFAULT true,
    -- When its absence was noticed; NULL while it comes.
    gone_us     bigint,
    PRIMARY KEY (lane, project_id, event, path)
);
CREATE INDEX catalog_paths_list ON catalog_paths (project_id, event, path);

CREATE TABLE catalog_drift (
    lane       smallint NOT NULL,
    project_id integer NOT NULL,
    event      text COLLATE "C" NOT NULL,
    number     integer NOT NULL,
    kind       text NOT NULL,
    path       text COLLATE "C" NOT NULL,
    -- Bit of the type that is new; 0 for other kinds.
    type       integer NOT NULL,
    at_us      bigint NOT NULL,
    -- The event that showed it first.
    event_id   uuid,
    -- Events looked at before that one.
    before     bigint NOT NULL,
    PRIMARY KEY (lane, project_id, event, number)
);
CREATE INDEX catalog_drift_list ON catalog_drift (project_id, event);

-- Sum of two arrays, element by element; what one of them lacks counts as 0.
CREATE FUNCTION counts_added(one bigint[], other bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(coalesce(a, 0) + coalesce(b, 0) ORDER BY place)
    FROM unnest(one, other) WITH ORDINALITY AS pairs (a, b, place)
$$;

-- Counters and histograms by domain/rollups.py, a row for each minute, hour and day.
CREATE TABLE rollups (
    lane       smallint NOT NULL,
    project_id integer NOT NULL,
    -- Seconds that a row stands for: 60, 3600, 86400.
    grain      integer NOT NULL,
    -- Start, in grains since 1970.
    at         integer NOT NULL,
    -- A subscriber's id; empty for the project itself.
    subject    text NOT NULL,
    counts     bigint[] NOT NULL,
    accept     bigint[],
    processing bigint[],
    delivery   bigint[],
    PRIMARY KEY (lane, project_id, grain, at, subject)
);
CREATE INDEX rollups_list ON rollups (project_id, grain, at);
CREATE INDEX rollups_age ON rollups (grain, at);
