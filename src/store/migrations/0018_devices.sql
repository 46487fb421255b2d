-- What a person's phone last vouched for: its signed list of companions, and those of them that are known. Lists of
-- devices that were fetched before there was such a check are fetched again.
CREATE TABLE device_vouch (
    user       TEXT PRIMARY KEY,  -- without device; the LID wherever one is known
    raw_id     INTEGER NOT NULL,  -- of the account's registration
    ts         INTEGER NOT NULL,  -- when the phone signed, Unix seconds by its clock
    current    INTEGER NOT NULL,  -- the highest key index ever given away
    valid      TEXT NOT NULL,     -- key indexes, separated by commas
    companions TEXT NOT NULL      -- device:index, separated by commas
) STRICT, WITHOUT ROWID;
DELETE FROM device_list;
