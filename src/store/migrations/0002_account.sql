-- The linked device: its own keys from the first start, its account from the pairing on.
CREATE TABLE device (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    noise_private     BLOB    NOT NULL,
    identity_private  BLOB    NOT NULL,
    registration_id   INTEGER NOT NULL,
    adv_secret        BLOB    NOT NULL,
    -- Whose network these keys belong to: the Noise root they were made for.
    server_root       BLOB    NOT NULL,
    next_pre_key_id   INTEGER NOT NULL DEFAULT 1,
    login_count       INTEGER NOT NULL DEFAULT 0,
    routing_info      BLOB,
    -- From pair-success; all null before.
    jid               TEXT,
    lid               TEXT,
    platform          TEXT,
    business_name     TEXT,
    device_identity   BLOB,
    account_key       BLOB,
    key_index         INTEGER,
    push_name         TEXT
) STRICT;

CREATE TABLE signed_pre_key (
    id         INTEGER PRIMARY KEY,
    private    BLOB    NOT NULL,
    signature  BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE pre_key (
    id       INTEGER PRIMARY KEY,
    private  BLOB    NOT NULL,
    -- 1 once the server has answered the upload, or the key travelled in a retry receipt.
    uploaded INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Peers by address: the device JID, under its LID wherever one is known.
CREATE TABLE session (
    address  TEXT PRIMARY KEY,
    record   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE identity (
    address  TEXT PRIMARY KEY,
    key      BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One person, two names.
CREATE TABLE lid_map (
    lid  TEXT PRIMARY KEY,
    pn   TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE device_list (
    user       TEXT    PRIMARY KEY,
    -- Device numbers, comma-separated.
    devices    TEXT    NOT NULL,
    fetched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What WhatsApp said of a number somebody typed; a null JID: not registered.
CREATE TABLE number (
    digits     TEXT    PRIMARY KEY,
    jid        TEXT,
    checked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE contact (
    jid        TEXT PRIMARY KEY,
    push_name  TEXT
) STRICT, WITHOUT ROWID;

-- A chat with a person is known by both names of that person.
CREATE TABLE chat (
    id   INTEGER PRIMARY KEY,
    jid  TEXT NOT NULL UNIQUE,
    alt  TEXT UNIQUE
) STRICT;

CREATE TABLE message (
    id           INTEGER PRIMARY KEY,
    chat         INTEGER NOT NULL REFERENCES chat (id),
    wa_id        TEXT    NOT NULL,
    from_me      INTEGER NOT NULL,
    -- Author in a group, else empty; part of the identity.
    participant  TEXT    NOT NULL DEFAULT '',
    -- The id that webhooks carry.
    uuid         TEXT    NOT NULL,
    -- Milliseconds; for received messages the server's time.
    at           INTEGER NOT NULL,
    push_name    TEXT,
    -- Serialized waE2E.Message, unwrapped.
    content      BLOB    NOT NULL,
    -- 0 failed … 5 played, for messages of the account.
    status       INTEGER NOT NULL DEFAULT 0,
    -- WhatsApp's code where it refused.
    refused      INTEGER,
    UNIQUE (chat, wa_id, from_me, participant)
) STRICT;
CREATE INDEX message_by_wa_id ON message (wa_id);

-- What WhatsApp has not acknowledged yet, in order.
CREATE TABLE outgoing (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    wa_id      TEXT    NOT NULL UNIQUE,
    -- A JID, or the digits of a number not looked up yet.
    recipient  TEXT    NOT NULL,
    -- Set with the recipient resolved.
    message    INTEGER REFERENCES message (id),
    at         INTEGER NOT NULL,
    content    BLOB    NOT NULL,
    -- Encoded stanza; the same bytes go out again after a reconnect. Null: not encrypted yet.
    stanza     BLOB
) STRICT;
CREATE INDEX outgoing_waiting ON outgoing (seq) WHERE stanza IS NULL;

-- Undecryptable so far.
CREATE TABLE inbound_pending (
    chat        INTEGER NOT NULL REFERENCES chat (id),
    wa_id       TEXT    NOT NULL,
    from_me     INTEGER NOT NULL,
    participant TEXT    NOT NULL DEFAULT '',
    attempts    INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (chat, wa_id, from_me, participant)
) STRICT, WITHOUT ROWID;

-- Which retry of which message was answered for which device.
CREATE TABLE resend (
    message INTEGER NOT NULL REFERENCES message (id),
    device  TEXT    NOT NULL,
    count   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    -- The answer's bytes, until the server has acknowledged it: asked for again, the same leaves again.
    stanza  BLOB,
    PRIMARY KEY (message, device, count)
) STRICT, WITHOUT ROWID;

-- The phone sends these once; nothing can be read of app state or history without them.
CREATE TABLE app_state_key (
    id   BLOB PRIMARY KEY,
    -- Serialized AppStateSyncKey.
    key  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE history_notification (
    wa_id        TEXT PRIMARY KEY,
    -- Serialized HistorySyncNotification.
    notification BLOB NOT NULL
) STRICT, WITHOUT ROWID;
