-- App state: where each collection stands, and the MAC of every record in force. No row: never read since the link.
CREATE TABLE app_state_version (
    collection TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    -- 128 bytes.
    hash       BLOB    NOT NULL,
    -- 1: another device counts otherwise, and reading everything again did not help.
    diverged   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE app_state_mac (
    collection TEXT NOT NULL,
    index_mac  BLOB NOT NULL,
    value_mac  BLOB NOT NULL,
    PRIMARY KEY (collection, index_mac)
) STRICT, WITHOUT ROWID;

-- Changes of ours that the server has not taken yet, in order.
CREATE TABLE app_state_write (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT    NOT NULL,
    removes    INTEGER NOT NULL,
    -- JSON array of texts.
    idx        BLOB    NOT NULL,
    -- Serialized SyncActionValue.
    value      BLOB    NOT NULL,
    version    INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

-- The address book. `listed` marks who is in the snapshot that is being read.
ALTER TABLE contact ADD COLUMN full_name TEXT;
ALTER TABLE contact ADD COLUMN first_name TEXT;
ALTER TABLE contact ADD COLUMN listed INTEGER NOT NULL DEFAULT 1;

-- Times are milliseconds; 0: not.
ALTER TABLE chat ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chat ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
-- Until then; -1: for ever.
ALTER TABLE chat ADD COLUMN muted_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chat ADD COLUMN marked_unread INTEGER NOT NULL DEFAULT 0;
-- What came until then is read.
ALTER TABLE chat ADD COLUMN read_at INTEGER NOT NULL DEFAULT 0;
-- What came until then is deleted, and the chat is not shown before something new comes.
ALTER TABLE chat ADD COLUMN deleted_at INTEGER NOT NULL DEFAULT 0;

ALTER TABLE message ADD COLUMN starred INTEGER NOT NULL DEFAULT 0;
-- On the own devices alone; the row stays, as whoever cannot read the message may still ask for it.
ALTER TABLE message ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
-- Says nothing by itself: a reaction, an edit, a deletion.
ALTER TABLE message ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;

CREATE TABLE label (
    id    TEXT PRIMARY KEY,
    name  TEXT    NOT NULL,
    color INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE label_chat (
    label TEXT    NOT NULL,
    chat  INTEGER NOT NULL REFERENCES chat (id) ON DELETE CASCADE,
    PRIMARY KEY (label, chat)
) STRICT, WITHOUT ROWID;
