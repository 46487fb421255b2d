-- What a newsletter's server says of a post that is kept as a message: its number, and what became of it.
CREATE TABLE newsletter_post (
    message   INTEGER PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE,
    chat      INTEGER NOT NULL,
    server_id INTEGER NOT NULL,
    views     INTEGER,
    -- JSON: [["👍", 3], …]
    reactions TEXT    NOT NULL DEFAULT '[]',
    UNIQUE (chat, server_id)
) STRICT;
