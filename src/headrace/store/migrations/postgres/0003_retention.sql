-- What retention and the operator API look for.

-- Each project has a clock of its own for its dead letters.
CREATE INDEX dead_letters_age ON dead_letters (project_id, dead_lettered_us);

CREATE INDEX audit_project ON audit (project_id, id);

-- How full the store was, once an hour, to tell when the disk will be. Kept for a month.
CREATE TABLE store_growth (
    -- Hours since 1970.
    hour       bigint PRIMARY KEY,
    used_bytes bigint NOT NULL
);
