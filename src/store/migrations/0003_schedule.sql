-- How long messages of a chat stay, in seconds; 0: they stay. And when that was set, in Unix seconds: the later word wins.
ALTER TABLE chat ADD COLUMN timer INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chat ADD COLUMN timer_set_at INTEGER NOT NULL DEFAULT 0;

-- Many sends of one request.
CREATE TABLE batch (
    id       TEXT    PRIMARY KEY,
    at       INTEGER NOT NULL,
    -- Milliseconds between two of its sends.
    pace     INTEGER NOT NULL,
    -- JSON: what was not accepted, each with its place in the request and why.
    rejected TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Sends that wait for their time. Once it has come the send is handed to `outgoing`, and its row here only says so.
CREATE TABLE scheduled (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    wa_id     TEXT    NOT NULL UNIQUE,
    -- A JID, or the digits of a number not looked up yet.
    recipient TEXT    NOT NULL,
    -- Serialized waE2E.Message; empty once it has left or will not.
    content   BLOB    NOT NULL,
    due       INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    -- 0 waiting, 1 handed over, 2 cancelled, 3 given up.
    state     INTEGER NOT NULL DEFAULT 0,
    batch     TEXT REFERENCES batch (id),
    -- In the request.
    position  INTEGER NOT NULL DEFAULT 0,
    -- The caller's own words for the kind of the send: `text`, `location` …
    kind      TEXT    NOT NULL
) STRICT;
CREATE INDEX scheduled_due ON scheduled (due, seq) WHERE state = 0;
CREATE INDEX scheduled_done ON scheduled (due) WHERE state <> 0;
CREATE INDEX scheduled_batch ON scheduled (batch, position) WHERE batch IS NOT NULL;
