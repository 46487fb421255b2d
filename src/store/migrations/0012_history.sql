-- What the phone announced of its history, in order. A row stays when its work is done: the server may say it twice.
CREATE TABLE history_work (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    wa_id        TEXT    NOT NULL UNIQUE,
    -- Serialized HistorySyncNotification, which holds the only key of its blob; empty once the work is done.
    notification BLOB    NOT NULL,
    -- HistorySyncType, place among those of its type, and percent of them all.
    sync_type    INTEGER NOT NULL,
    chunk        INTEGER NOT NULL,
    progress     INTEGER,
    -- Of the request that it answers.
    request      TEXT,
    at           INTEGER NOT NULL,
    -- 0 waiting, 1 done, 2 given up.
    state        INTEGER NOT NULL DEFAULT 0,
    -- Pieces of it that are in the tables.
    taken        INTEGER NOT NULL DEFAULT 0,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      INTEGER NOT NULL DEFAULT 0,
    chats        INTEGER NOT NULL DEFAULT 0,
    -- Those that were not known before.
    messages     INTEGER NOT NULL DEFAULT 0,
    error        TEXT
) STRICT;
CREATE INDEX history_work_waiting ON history_work (seq) WHERE state = 0;
-- Of what earlier versions kept the type is not known; it is read when its turn comes.
INSERT INTO history_work (wa_id, notification, sync_type, chunk, at)
    SELECT wa_id, notification, 3, 0, 0 FROM history_notification;
DROP TABLE history_notification;

-- Older messages that somebody asked the phone for.
CREATE TABLE history_request (
    id       TEXT PRIMARY KEY,
    chat     INTEGER NOT NULL REFERENCES chat (id) ON DELETE CASCADE,
    count    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    -- 0 waiting, 1 answered, 2 not answered in time.
    state    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX history_request_waiting ON history_request (at) WHERE state = 0;

-- Messages that do something to one that has not come yet: history is told newest first.
CREATE TABLE history_late (
    chat    INTEGER NOT NULL REFERENCES chat (id) ON DELETE CASCADE,
    target  TEXT    NOT NULL,
    message INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    PRIMARY KEY (chat, target, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_late_message ON history_late (message);

-- As the phone calls the chat, where neither a subject nor the address book says it.
ALTER TABLE chat ADD COLUMN name TEXT;
-- Whether the phone has older messages than those that it sent: 0 no, 1 yes; null: it has not said.
ALTER TABLE chat ADD COLUMN history_more INTEGER;
-- When history told of it first, in milliseconds.
ALTER TABLE chat ADD COLUMN history_at INTEGER;
