-- Trusted-contact tokens, what WhatsApp lets the account do, and sends that are held back because of it.

-- One row a person, by LID wherever one is known. Times are Unix seconds.
CREATE TABLE privacy_token (
    person    TEXT    PRIMARY KEY,
    -- What lets the account reach the person; empty: only that the person was issued one is known.
    token     BLOB    NOT NULL DEFAULT x'',
    token_at  INTEGER NOT NULL DEFAULT 0,
    -- When the person was issued one; 0: never.
    issued_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- One row. NULL: not so.
CREATE TABLE standing (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    -- Reach-out time lock: its kind in WhatsApp's word, and its end.
    lock_kind  TEXT,
    lock_until INTEGER,
    -- Cap on new chats: WhatsApp's word, chats of this cycle allowed and started, and the cycle's end.
    cap_status TEXT,
    cap_total  INTEGER,
    cap_used   INTEGER,
    cap_until  INTEGER,
    -- Temporary ban: WhatsApp's number for why, and its end.
    ban_code   INTEGER,
    ban_until  INTEGER,
    -- The login was refused for good, with this reason.
    shut       INTEGER
) STRICT;

-- 1: a first contact while there may be none; 2: refused, again at `again_at`; 3: refused with `refusal`, to be judged
-- by what WhatsApp says of the account.
ALTER TABLE outgoing ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outgoing ADD COLUMN again_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outgoing ADD COLUMN refusal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outgoing ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outgoing_held ON outgoing (held, recipient) WHERE held > 0;
CREATE INDEX outgoing_refused ON outgoing (seq) WHERE refusals > 0;

-- People whose two names met after something was known under one of them alone: to be told.
CREATE TABLE identity_news (
    lid    TEXT    PRIMARY KEY,
    pn     TEXT    NOT NULL,
    -- The chat that went into the other one.
    merged INTEGER
) STRICT, WITHOUT ROWID;
