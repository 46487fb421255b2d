-- Hooks that users configure.

-- JSON list of the kinds that a user's hook is told of; ["*"]: all. The platform has its own rule.
ALTER TABLE hook ADD COLUMN events TEXT NOT NULL DEFAULT '["*"]';
-- Why nothing is delivered for the moment, though everything is kept: 'requested', or 'gone' (the receiver said 410).
ALTER TABLE hook ADD COLUMN paused TEXT;
-- Counts what was done to the hook from outside its delivery: what was posted before that says nothing of it any more.
ALTER TABLE hook ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
-- One outgoing webhook per instance.
CREATE UNIQUE INDEX hook_user ON hook (kind) WHERE kind = 'user';

-- How often the event after `done` failed although others arrived.
ALTER TABLE hook_lane ADD COLUMN strikes INTEGER NOT NULL DEFAULT 0;

-- Events put aside so that their chats go on; kept here, because the log forgets them.
CREATE TABLE dead_letter (
    hook     INTEGER NOT NULL REFERENCES hook (id) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    at       INTEGER NOT NULL,  -- of the event
    kind     TEXT NOT NULL,
    lane     TEXT NOT NULL,
    data     TEXT NOT NULL,
    aside    INTEGER NOT NULL,  -- when it was put aside
    attempts INTEGER NOT NULL,
    error    TEXT NOT NULL,
    again    INTEGER NOT NULL DEFAULT 0,  -- to be sent once more
    PRIMARY KEY (hook, seq)
) STRICT, WITHOUT ROWID;
