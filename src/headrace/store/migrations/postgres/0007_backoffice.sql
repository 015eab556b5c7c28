-- What people need to sign in to the backoffice, and what they may do there. An operator is named by
-- address: the id is the public part of a token and changes with it.

-- Owners of the whole instance may do everything in every project; the operator API is theirs too.
ALTER TABLE operators ADD COLUMN is_owner boolean NOT NULL DEFAULT true;
-- Argon2id in its encoded form; NULL until a sign-in link was used.
ALTER TABLE operators ADD COLUMN password_hash text;

-- Links that set a password and sign in, once; only a hash of the token in them is kept.
CREATE TABLE sign_in_links (
    token_hash bytea PRIMARY KEY,
    -- NULL: whoever comes first with it becomes the first owner and says who that is.
    email      text,
    created_us bigint NOT NULL,
    expires_us bigint NOT NULL
);

-- Only a hash of the token in the cookie is kept. A row is gone when the session is over.
CREATE TABLE sessions (
    token_hash          bytea PRIMARY KEY,
    -- Names it in lists; opens nothing.
    id                  text NOT NULL UNIQUE,
    email               text NOT NULL,
    created_us          bigint NOT NULL,
    seen_us             bigint NOT NULL,
    address             text NOT NULL,
    browser             text NOT NULL,
    -- Where personal data is shown unmasked, and until when.
    revealed_project_id integer,
    revealed_until_us   bigint NOT NULL DEFAULT 0
);
CREATE INDEX sessions_email ON sessions (email);

-- Tries to sign in, by account and by address, in the window that began at `since_us`.
CREATE TABLE sign_in_tries (
    subject  text PRIMARY KEY,
    since_us bigint NOT NULL,
    tries    integer NOT NULL
);
CREATE INDEX sign_in_tries_since ON sign_in_tries (since_us);

-- role: viewer, operator, owner.
CREATE TABLE members (
    project_id integer NOT NULL REFERENCES projects (id),
    email      text NOT NULL,
    role       text NOT NULL,
    added_us   bigint NOT NULL,
    PRIMARY KEY (project_id, email)
);
CREATE INDEX members_email ON members (email);

-- When a key was last seen, to the minute; apart from the keys, whose every change is told to all.
CREATE TABLE api_key_uses (
    public_id text PRIMARY KEY,
    used_us   bigint NOT NULL
);
