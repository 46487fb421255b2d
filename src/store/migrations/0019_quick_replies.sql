-- Texts that the account's user keeps for answers.
CREATE TABLE quick_reply (
    id       TEXT PRIMARY KEY,
    shortcut TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    -- JSON array of texts.
    keywords TEXT    NOT NULL,
    -- How often it was used, as the apps count.
    used     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The place of a chat among the favourites, from 1; 0: it is none.
ALTER TABLE chat ADD COLUMN favorite INTEGER NOT NULL DEFAULT 0;
