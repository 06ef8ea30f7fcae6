-- oldest: 1
-- Keys as rows that the file does not understand, when they were last used, and a few small values.

CREATE TABLE migration (
    number INTEGER PRIMARY KEY,
    oldest INTEGER NOT NULL,  -- the oldest schema whose library may go on using the file
    at     INTEGER NOT NULL   -- ns UTC
) STRICT;

CREATE TABLE store (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    epoch  TEXT    NOT NULL,
    number INTEGER NOT NULL   -- of the latest change
) STRICT;

INSERT INTO store VALUES (1, lower(hex(randomblob(16))), 0);

CREATE TABLE key (
    id          TEXT    NOT NULL UNIQUE,
    version     INTEGER NOT NULL CHECK (version >= 1),
    fingerprint BLOB    NOT NULL UNIQUE,
    fields      BLOB    NOT NULL,
    sealed      BLOB    NOT NULL,
    mac         BLOB    NOT NULL,
    number      INTEGER NOT NULL  -- of its latest change
) STRICT;

CREATE INDEX key_number ON key (number);

CREATE TABLE use (
    id TEXT    PRIMARY KEY,
    at INTEGER NOT NULL       -- ns UTC
) STRICT, WITHOUT ROWID;

CREATE TABLE kept (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
