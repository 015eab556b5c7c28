-- What people need to sign in to the backoffice, and what they may do there. An operator is named by
-- address: the id is the public part of a token and changes with it.

-- Owners of the whole instance may do everything in every project; the operator API is theirs too.
ALTER TABLE operators ADD COLUMN is_owner INTEGER NOT NULL DEFAULT 1;
-- Argon2id in its encoded form; NULL until a sign-in link was used.
ALTER TABLE operators ADD COLUMN password_hash TEXT;

-- Links that set a password and sign in, once; only a hash of the token in them is kept.
CREATE TABLE sign_in_links (
    token_hash BLOB PRIMARY KEY,
    -- NULL: whoever comes first with it becomes the first owner and says who that is.
    email      TEXT,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Only a hash of the token in the cookie is kept. A row is gone when the session is over.
CREATE TABLE sessions (
    token_hash          BLOB PRIMARY KEY,
    -- Names it in lists; opens nothing.
    id                  TEXT NOT NULL UNIQUE,
    email               TEXT NOT NULL,
    created_us          INTEGER NOT NULL,
    seen_us             INTEGER NOT NULL,
    address             TEXT NOT NULL,
    browser             TEXT NOT NULL,
    -- Where personal data is shown unmasked, and until when.
    revealed_project_id INTEGER,
    revealed_until_us   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_email ON sessions (email);

-- Tries to sign in, by account and by address, in the window that began at `since_us`.
CREATE TABLE sign_in_tries (
    subject  TEXT PRIMARY KEY,
    since_us INTEGER NOT NULL,
    tries    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_tries_since ON sign_in_tries (since_us);

-- role: viewer, operator, owner.
CREATE TABLE members (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    email      TEXT NOT NULL,
    role       TEXT NOT NULL,
    added_us   INTEGER NOT NULL,
    PRIMARY KEY (project_id, email)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_email ON members (email);

-- When a key was last seen, to the minute; apart from the keys, whose every change is told to all.
CREATE TABLE api_key_uses (
    public_id TEXT PRIMARY KEY,
    used_us   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
