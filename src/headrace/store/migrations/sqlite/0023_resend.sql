-- Jobs that send events to a webhook again are kept with the replays: `subscriber_id` is the webhook,
-- NULL for a replay of dead letters, and the position is a sequence of events.
ALTER TABLE replays ADD COLUMN subscriber_id TEXT;

-- The last job that queued the delivery again, and when.
ALTER TABLE deliveries ADD COLUMN resend_number INTEGER;
ALTER TABLE deliveries ADD COLUMN resent_us INTEGER;
CREATE INDEX deliveries_resent ON deliveries (resend_number) WHERE resend_number IS NOT NULL;
