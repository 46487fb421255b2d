-- What became of one message, where nothing else says it.

-- When it left encrypted, and for how many devices of their own.
ALTER TABLE message ADD COLUMN left_at INTEGER;
ALTER TABLE message ADD COLUMN devices INTEGER;

-- Messages that could be decrypted in the end: how often not, why the last time, since when. Goes with the log of events.
CREATE TABLE late (
    chat        INTEGER NOT NULL,
    wa_id       TEXT    NOT NULL,
    from_me     INTEGER NOT NULL,
    participant TEXT    NOT NULL DEFAULT '',
    attempts    INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (chat, wa_id, from_me, participant)
) STRICT, WITHOUT ROWID;
CREATE INDEX late_at ON late (at);

-- Posts to hooks: the first of an event and its latest. Goes with the event.
CREATE TABLE delivery (
    seq     INTEGER NOT NULL,
    hook    INTEGER NOT NULL REFERENCES hook (id) ON DELETE CASCADE,
    -- When it began.
    at      INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- Milliseconds to its end.
    took    INTEGER NOT NULL,
    -- 'delivered', or why not: 'http 500', 'timeout' …
    result  TEXT    NOT NULL,
    next_at INTEGER,
    PRIMARY KEY (seq, hook, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_hook ON delivery (hook);
