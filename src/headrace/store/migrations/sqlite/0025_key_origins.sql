-- Origins of the pages that may use a key, separated by blanks; * for every origin.

ALTER TABLE api_keys ADD COLUMN origins TEXT NOT NULL DEFAULT '';
