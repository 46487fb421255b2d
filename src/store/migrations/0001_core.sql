-- Times are milliseconds since 1970, UTC.

-- Small facts by name.
CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The event log. AUTOINCREMENT: numbers have no gaps (it rolls back with the row) and are never used again.
CREATE TABLE event (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    at   INTEGER NOT NULL,
    kind TEXT NOT NULL,
    lane TEXT NOT NULL,  -- the chat whose order it belongs to; '': the instance's own
    data TEXT NOT NULL,  -- JSON, as in outgoing webhooks and GET /events
    path TEXT,           -- what the platform is posted: last path segment …
    body TEXT            -- … and exact bytes; NULL: not for the platform
) STRICT;
CREATE INDEX event_lane ON event (lane, seq);

-- Who is told. Every event up to the cursor has been delivered, but for lanes with a row of their own below.
CREATE TABLE hook (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- part of every delivery's id: never used again
    kind         TEXT NOT NULL,
    url          TEXT NOT NULL,
    secret       TEXT,
    active       INTEGER NOT NULL,
    cursor       INTEGER NOT NULL,
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    last_attempt INTEGER,
    last_success INTEGER,
    last_error   TEXT
) STRICT;
CREATE UNIQUE INDEX hook_platform ON hook (kind) WHERE kind = 'platform';

-- Lanes that stand elsewhere than their hook's cursor: ahead of it (delivered out of order), or behind (failing, or
-- catching up after that). All of the lane's events up to `done` have been delivered, and none after it.
CREATE TABLE hook_lane (
    hook     INTEGER NOT NULL REFERENCES hook (id) ON DELETE CASCADE,
    lane     TEXT NOT NULL,
    done     INTEGER NOT NULL,
    behind   INTEGER NOT NULL,
    attempts INTEGER NOT NULL,  -- of the event after `done`
    next_at  INTEGER NOT NULL,
    error    TEXT,
    PRIMARY KEY (hook, lane)
) STRICT, WITHOUT ROWID;

-- Bearer tokens: only a SHA-256 is kept.
CREATE TABLE token (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    hash      BLOB NOT NULL UNIQUE,
    name      TEXT NOT NULL,
    scopes    INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    last_used INTEGER,
    expires   INTEGER,
    revoked   INTEGER
) STRICT;

-- Who did what to the access of this instance.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- Idempotency-Key of a send, with what it led to.
CREATE TABLE idempotency (
    token      INTEGER NOT NULL,
    key        TEXT NOT NULL,
    body_hash  BLOB NOT NULL,
    message_id TEXT NOT NULL,
    queued     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);
