-- Messages that were taken and left no row among the messages: keys, history, what the own phone answered, and what was no
-- message at all. Whoever finds one of them again knows that it was read before. The newest ones only.
CREATE TABLE handled (
    seq    INTEGER PRIMARY KEY,
    wa_id  TEXT NOT NULL,
    -- The device that wrote it.
    author TEXT NOT NULL,
    UNIQUE (wa_id, author)
) STRICT;
