-- Events are listed by deliveries that failed for good. Written only when one does.
CREATE INDEX deliveries_failed ON deliveries (project_id, sequence) WHERE state = 4;
-- How the dead letters of one replay went on. `reason` names the replay.
CREATE INDEX dead_letters_replayed ON dead_letters (project_id, reason, number)
    WHERE state = 1 AND reason IS NOT NULL;
