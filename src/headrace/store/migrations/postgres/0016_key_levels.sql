-- Idempotency keys in two levels (docs/decisions/0015-flat-storage-postgresql.md). All that are stored
-- so far are in the large one from the start. Nothing is rewritten.
ALTER TABLE idempotency_keys RENAME TO sorted_keys;
ALTER INDEX idempotency_keys_pkey RENAME TO sorted_keys_pkey;

-- New keys: the authority on idempotency, together with `sorted_keys`, in the transaction of the
-- event itself. A key is in one of the two. `lane` is that of the key, not of the event.
CREATE TABLE recent_keys (
    lane           smallint NOT NULL,
    hash           uuid NOT NULL,
    event_lane     smallint NOT NULL,
    event_sequence bigint NOT NULL,
    PRIMARY KEY (lane, hash)
) WITH (
    -- Every row leaves it again, and the next ones are to take its place.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0
);

-- Removes from `recent_keys` the given keys, just inserted by the calling statement, that
-- `sorted_keys` has already, and returns their hashes. Because the function is volatile, its
-- statements see what other transactions have committed since the calling statement began, and what
-- that statement itself has inserted: a key that was moved meanwhile is found.
CREATE FUNCTION give_back_sorted(lanes smallint[], hashes uuid[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
    found uuid[];
BEGIN
    SELECT array_agg(s.hash) INTO found FROM unnest(lanes, hashes) AS k (lane, hash)
    CROSS JOIN LATERAL (
        SELECT i.hash FROM sorted_keys i WHERE i.lane = k.lane AND i.hash = k.hash LIMIT 1
    ) AS s;
    IF found IS NOT NULL THEN
        DELETE FROM recent_keys r USING unnest(lanes, hashes) AS k (lane, hash)
        WHERE r.lane = k.lane AND r.hash = k.hash AND k.hash = ANY(found);
    END IF;
    RETURN found;
END
$$;
