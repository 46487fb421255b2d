-- Incoming calls, so that one that is told twice is reported once, and one can be rejected.
CREATE TABLE call (
    call_id  TEXT    NOT NULL,
    -- Who calls, bare, by LID where one is known.
    caller   TEXT    NOT NULL,
    -- The calling device, and whom a reject is sent to.
    creator  TEXT    NOT NULL,
    peer     TEXT    NOT NULL,
    video    INTEGER NOT NULL,
    of_group INTEGER NOT NULL,
    "group"  TEXT,
    at       INTEGER NOT NULL,
    -- 0: rings; 1: over.
    over     INTEGER NOT NULL,
    -- When the caller was sent a text instead.
    told_at  INTEGER,
    PRIMARY KEY (call_id, caller)
) STRICT, WITHOUT ROWID;
CREATE INDEX call_by_time ON call (at);
