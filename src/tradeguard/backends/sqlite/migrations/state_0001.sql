-- oldest: 1
-- What requests have used up, what numbers stand, and how far time has come.

CREATE TABLE migration (
    number INTEGER PRIMARY KEY,
    oldest INTEGER NOT NULL,  -- the oldest schema whose library may go on using the file
    at     INTEGER NOT NULL   -- ns UTC
) STRICT;

CREATE TABLE store (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    epoch   TEXT    NOT NULL,
    version INTEGER NOT NULL, -- grows with each number set
    time    INTEGER NOT NULL, -- the highest seen by a commit that stored something, ns UTC
    since   INTEGER NOT NULL, -- from when on it remembers, ns UTC
    boot    TEXT,             -- the boot id of the machine that `since` is good for; null in a new file
    nonces  INTEGER NOT NULL, -- rows in `once`
    tops    INTEGER NOT NULL  -- rows in `advance`
) STRICT;

INSERT INTO store VALUES (1, lower(hex(randomblob(16))), 0, 0, 0, NULL, 0, 0);

CREATE TABLE once (
    owner   TEXT    NOT NULL,
    item    BLOB    NOT NULL,
    until   INTEGER NOT NULL, -- ns UTC
    request TEXT    NOT NULL, -- the id of the request that used it
    PRIMARY KEY (owner, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX once_until ON once (until);

CREATE TABLE advance (
    owner TEXT NOT NULL,
    item  BLOB NOT NULL,
    top   BLOB NOT NULL,      -- the top accepted values, ascending, 16 bytes big-endian each
    PRIMARY KEY (owner, item)
) STRICT, WITHOUT ROWID;

CREATE TABLE held (
    owner  TEXT    PRIMARY KEY,
    nonces INTEGER NOT NULL,  -- this owner's rows in `once`
    tops   INTEGER NOT NULL   -- and in `advance`
) STRICT, WITHOUT ROWID;

CREATE TABLE number (
    key   TEXT    PRIMARY KEY,
    value INTEGER NOT NULL,
    until INTEGER             -- ns UTC; null: for good
) STRICT, WITHOUT ROWID;

CREATE INDEX number_until ON number (until) WHERE until IS NOT NULL;
