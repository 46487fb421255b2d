-- What was done to a message after it was sent. A person stands by LID where one was known, as sessions do.
CREATE TABLE reaction (
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    author  TEXT    NOT NULL,
    emoji   TEXT    NOT NULL,
    -- Milliseconds, by the author's clock: a later one replaces an earlier one; empty: taken back.
    at      INTEGER NOT NULL,
    PRIMARY KEY (message, author)
) STRICT, WITHOUT ROWID;

CREATE TABLE poll_vote (
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    voter   TEXT    NOT NULL,
    -- SHA-256 of each chosen option's name, one behind the other; empty: withdrawn.
    options BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (message, voter)
) STRICT, WITHOUT ROWID;

-- Earlier texts are in the message and in older rows.
CREATE TABLE revision (
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    -- Serialized waE2E.Message.
    content BLOB    NOT NULL,
    PRIMARY KEY (message, at)
) STRICT, WITHOUT ROWID;

-- Since when a message of the account stands at a level (3 delivered, 4 read, 5 played) with one of its recipients.
CREATE TABLE receipt (
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    person  TEXT    NOT NULL,
    level   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (message, person, level)
) STRICT, WITHOUT ROWID;

-- Taken back by its author (or an admin); the content stays what it was.
ALTER TABLE message ADD COLUMN deleted_at INTEGER;

-- A chat's newest messages, and its pages.
CREATE INDEX message_by_chat ON message (chat, at, id);

-- What messages say now, for searching; by the row of the message.
CREATE VIRTUAL TABLE message_text USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2');
CREATE TRIGGER message_text_removed AFTER DELETE ON message BEGIN
    DELETE FROM message_text WHERE rowid = old.id;
END;

-- 1: for the own phone only, and no message of any chat.
ALTER TABLE outgoing ADD COLUMN peer INTEGER NOT NULL DEFAULT 0;
