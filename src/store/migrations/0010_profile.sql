-- What people show of themselves, as last asked; by number where it is known. Bounded: the oldest give way.
CREATE TABLE profile (
    jid           TEXT    PRIMARY KEY,
    -- Null: none, hidden, or never asked.
    about         TEXT,
    picture_url   TEXT,
    business      INTEGER NOT NULL,
    verified_name TEXT,
    -- Milliseconds; 0: something of it has changed since.
    fetched_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX profile_age ON profile (fetched_at);

-- What businesses say of themselves and sell: JSON, as answered. Bounded likewise.
CREATE TABLE business (
    jid        TEXT    PRIMARY KEY,
    body       TEXT    NOT NULL,
    fetched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Whom the account has blocked, by each name that is known.
CREATE TABLE blocked (
    jid TEXT PRIMARY KEY,
    pn  TEXT
) STRICT, WITHOUT ROWID;

-- Whose coming and going is followed, on every connection anew, and what was last seen of it.
CREATE TABLE watched (
    jid        TEXT    PRIMARY KEY,
    since      INTEGER NOT NULL,
    -- Null: nothing was told yet.
    available  INTEGER,
    -- Milliseconds; null: hidden, or never told.
    last_seen  INTEGER,
    changed_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE label_message (
    label   TEXT    NOT NULL,
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    PRIMARY KEY (label, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_message_of ON label_message (message);

-- The chat is behind the phone's lock.
ALTER TABLE chat ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
-- This person's statuses are not shown.
ALTER TABLE contact ADD COLUMN status_muted INTEGER NOT NULL DEFAULT 0;
