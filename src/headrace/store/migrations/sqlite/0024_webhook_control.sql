-- Since when the owner of a webhook keeps its deliveries waiting; NULL: they are made. After that
-- they are made at a rate, until none is due: deliveries a second, and the time from which the
-- next ones are counted (domain/deliveries/pace.py).
ALTER TABLE subscribers ADD COLUMN paused_us INTEGER;
ALTER TABLE subscribers ADD COLUMN resume_per_second INTEGER;
ALTER TABLE subscribers ADD COLUMN resume_from_us INTEGER;
CREATE INDEX subscribers_paused ON subscribers (id) WHERE paused_us IS NOT NULL;
CREATE INDEX subscribers_paced ON subscribers (id) WHERE resume_per_second IS NOT NULL;

-- Own headers of a webhook: their names, and their values sealed like its secret, JSON arrays.
ALTER TABLE subscribers ADD COLUMN header_names TEXT;
ALTER TABLE subscribers ADD COLUMN header_values TEXT;
