-- Messages of the last moments that history told of, and nobody else: should one come by itself after all, it is reported.
CREATE TABLE untold (
    message INTEGER PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE
) STRICT;
