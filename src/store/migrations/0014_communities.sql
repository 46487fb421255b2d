-- Where a group stands among groups: it is a community, or belongs to one, perhaps as the group for its announcements.
ALTER TABLE group_info ADD COLUMN community INTEGER NOT NULL DEFAULT 0;
ALTER TABLE group_info ADD COLUMN parent TEXT;
ALTER TABLE group_info ADD COLUMN announcements INTEGER NOT NULL DEFAULT 0;
-- What is known of groups does not say.
UPDATE group_info SET fetched_at = 0;
