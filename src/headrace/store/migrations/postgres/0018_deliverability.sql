-- The beginning of a suppressed address is searched by bytes, whatever the collation is.
CREATE INDEX suppressions_address ON suppressions (project_id, email COLLATE "C")
    WHERE email IS NOT NULL;
