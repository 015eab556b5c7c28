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

-- Form of the body: headrace or cloudevents.
ALTER TABLE subscribers ADD COLUMN format TEXT NOT NULL DEFAULT 'headrace';

-- Counts changes of what the requests of a webhook depend on (URL, own headers, format), and what
-- it was before, a JSON array: so an attempt needs no copy of it.
ALTER TABLE subscribers ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE subscribers ADD COLUMN earlier TEXT;
-- Version of the webhook, seconds in the signature, and the first headers of the response. NULL:
-- no request was made, or by an earlier release.
ALTER TABLE delivery_attempts ADD COLUMN version INTEGER;
ALTER TABLE delivery_attempts ADD COLUMN signed_s INTEGER;
ALTER TABLE delivery_attempts ADD COLUMN response_headers TEXT;
