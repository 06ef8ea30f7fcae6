-- oldest: 1
-- How much of each quota is used up, what was given back, and what belongs to a number. A library that knows schema 1
-- goes on with nonces and numbers beside it. It knows no quotas, and a number that it writes has no record.

ALTER TABLE store ADD COLUMN meters INTEGER NOT NULL DEFAULT 0;  -- rows in `meter`
ALTER TABLE store ADD COLUMN refunds INTEGER NOT NULL DEFAULT 0; -- rows in `refund`

CREATE TABLE meter (
    id       INTEGER PRIMARY KEY,
    key      TEXT    NOT NULL, -- the quota
    enforced INTEGER NOT NULL,
    idle     INTEGER NOT NULL, -- nothing of it counts from then on, ns UTC; rounded up: it seldom changes
    UNIQUE (key, enforced)
) STRICT;

CREATE INDEX meter_idle ON meter (idle);

CREATE TABLE counter (
    meter  INTEGER NOT NULL,
    period INTEGER NOT NULL,   -- ns
    paced  INTEGER NOT NULL,
    held   ANY     NOT NULL,   -- the units that count; paced: units times period. Text from 2**63 on
    first  INTEGER NOT NULL,   -- the edge of the first entry that counts, ns UTC
    last   INTEGER NOT NULL,   -- the edge of the last entry, ns UTC; paced: when `held` was true, in microseconds
    until  INTEGER NOT NULL,   -- when nothing of it counts any more, ns UTC
    PRIMARY KEY (meter, period, paced)
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    meter  INTEGER NOT NULL,
    period INTEGER NOT NULL,   -- of a window that rolls
    edge   INTEGER NOT NULL,   -- when the units were spent, rounded up to the window's grain, ns UTC
    units  ANY     NOT NULL,   -- text from 2**63 on
    PRIMARY KEY (meter, period, edge)
) STRICT, WITHOUT ROWID;

CREATE TABLE refund (
    request TEXT    NOT NULL, -- the id of the request that was charged
    key     TEXT    NOT NULL, -- the quota
    item    TEXT    NOT NULL, -- what for, such as an order id
    units   INTEGER NOT NULL,
    until   INTEGER NOT NULL, -- when nothing of the charge counts any more, ns UTC
    PRIMARY KEY (request, key, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX refund_until ON refund (until);

CREATE TABLE record (
    key    TEXT PRIMARY KEY,
    record BLOB NOT NULL      -- what was written beside a number
) STRICT, WITHOUT ROWID;

-- An older library writes and drops numbers too: no record is left to one that it does not belong to.
CREATE TRIGGER number_written AFTER INSERT ON number BEGIN
    DELETE FROM record WHERE key = NEW.key;
END;

CREATE TRIGGER number_dropped AFTER DELETE ON number BEGIN
    DELETE FROM record WHERE key = OLD.key;
END;
