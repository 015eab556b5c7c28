-- Prefixes of suppressed addresses are found by suppressions_email, which compares bytes.
SELECT 1;
