-- When it was noted, in milliseconds; 0: by an earlier version.
ALTER TABLE history_late ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
-- 1: came live, and is told once what it is about is there.
ALTER TABLE history_late ADD COLUMN live INTEGER NOT NULL DEFAULT 0;
CREATE INDEX history_late_at ON history_late (at);
