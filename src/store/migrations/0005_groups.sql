-- Sender keys by chat (a group, or status@broadcast) and device, under the device's LID wherever one is known. Sender '': our own.
CREATE TABLE sender_key (
    chat   TEXT NOT NULL,
    sender TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (chat, sender)
) STRICT, WITHOUT ROWID;

-- Which devices were told our own key of a chat, as the stanza named them.
CREATE TABLE sender_key_sent_to (
    chat   TEXT NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (chat, device)
) STRICT, WITHOUT ROWID;

-- Groups as the server last described them; notifications keep them true.
CREATE TABLE group_info (
    jid            TEXT    PRIMARY KEY,
    subject        TEXT    NOT NULL,
    description    TEXT,
    -- Names the present description; a new one must name what it replaces.
    description_id TEXT,
    owner          TEXT,
    -- Unix seconds.
    created        INTEGER NOT NULL,
    -- Members are addressed by LID, not by number.
    by_lid         INTEGER NOT NULL,
    -- Only admins write.
    announce       INTEGER NOT NULL,
    -- Only admins change subject, description and picture.
    locked         INTEGER NOT NULL,
    -- Seconds after which messages disappear; 0: never.
    ephemeral      INTEGER NOT NULL,
    -- Only admins add.
    admins_add     INTEGER NOT NULL,
    -- Admins approve who joins by link.
    approval       INTEGER NOT NULL,
    -- The account takes part.
    member         INTEGER NOT NULL,
    -- Milliseconds; 0: to be asked again before the next send.
    fetched_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE participant (
    chat  TEXT    NOT NULL REFERENCES group_info (jid) ON DELETE CASCADE,
    -- As the group names its members.
    jid   TEXT    NOT NULL,
    -- 0 member, 1 admin, 2 the one who made the group.
    role  INTEGER NOT NULL,
    -- Milliseconds; when the account learned of it. 0: it was there before the account looked.
    since INTEGER NOT NULL,
    PRIMARY KEY (chat, jid)
) STRICT, WITHOUT ROWID;

-- To whom a status of the account went; nobody else gets it again who asks.
CREATE TABLE status_audience (
    wa_id  TEXT NOT NULL,
    person TEXT NOT NULL,
    PRIMARY KEY (wa_id, person)
) STRICT, WITHOUT ROWID;
