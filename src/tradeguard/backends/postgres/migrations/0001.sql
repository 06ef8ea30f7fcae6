-- oldest: 1
-- What requests have used up, what numbers stand, keys as rows that nobody here understands. Times are ns UTC.

CREATE TABLE birth (
    one   boolean PRIMARY KEY CHECK (one),
    id    uuid    NOT NULL    -- written once; who restores the row writes it again, which its xmin tells
);

CREATE TABLE store (
    one     boolean PRIMARY KEY CHECK (one),
    version bigint  NOT NULL  -- grows with each number set
) WITH (fillfactor = 50);

-- How much is held in all, and the highest time stored: the sum and the maximum over all slots. A backend has a slot of
-- its own (nearly), so that commits do not queue for one row.
CREATE TABLE room (
    slot   integer PRIMARY KEY,
    nonces bigint  NOT NULL,  -- rows in `once`
    tops   bigint  NOT NULL,  -- rows in `top`
    time   bigint  NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE held (
    owner  bytea  PRIMARY KEY,
    nonces bigint NOT NULL,   -- this owner's rows in `once`
    tops   bigint NOT NULL    -- and in `top`
) WITH (fillfactor = 50);

CREATE TABLE once (
    owner   bytea  NOT NULL,
    item    bytea  NOT NULL,
    until   bigint NOT NULL,
    request bytea  NOT NULL,  -- the id of the request that used it
    PRIMARY KEY (owner, item)
);

CREATE INDEX once_until ON once (until);

CREATE TABLE top (
    owner  bytea   NOT NULL,
    item   bytea   NOT NULL,
    "values" bytea[] NOT NULL,  -- the top accepted ones, descending, 16 bytes big-endian each
    PRIMARY KEY (owner, item)
) WITH (fillfactor = 50);

CREATE TABLE number (
    key    bytea  PRIMARY KEY,
    value  bigint NOT NULL,
    until  bigint,            -- null: for good
    record bytea  NOT NULL
);

CREATE INDEX number_until ON number (until) WHERE until IS NOT NULL;

-- One window of one quota. A rolling one has its running total here and its entries in `spent`.
CREATE TABLE meter (
    key    bytea   NOT NULL,
    shadow boolean NOT NULL,  -- counted apart: not enforced
    period bigint  NOT NULL,
    paces  boolean NOT NULL,
    used   bigint  NOT NULL,  -- rolls: units in `spent`
    first  bigint  NOT NULL,  -- rolls: the lowest edge there, where `used` is not 0
    last   bigint  NOT NULL,  -- rolls: the highest edge there, where `used` is not 0
    level  numeric NOT NULL,  -- paces: units times period in microseconds; it may pass 64 bits
    tick   bigint  NOT NULL,  -- paces: the microsecond of that level
    idle   bigint  NOT NULL,  -- from then on nothing counts; to the next hour, so that the index seldom changes
    PRIMARY KEY (key, shadow, period, paces)
) WITH (fillfactor = 50);

CREATE INDEX meter_idle ON meter (idle);

CREATE TABLE spent (
    key    bytea   NOT NULL,
    shadow boolean NOT NULL,
    period bigint  NOT NULL,
    edge   bigint  NOT NULL,  -- when they were spent, rounded up to the window's grain
    units  bigint  NOT NULL,
    PRIMARY KEY (key, shadow, period, edge)
);

CREATE TABLE given (
    request bytea  NOT NULL,
    key     bytea  NOT NULL,
    item    bytea  NOT NULL,
    units   bigint NOT NULL,
    until   bigint NOT NULL,  -- when the charge has run out
    PRIMARY KEY (request, key, item)
);

CREATE INDEX given_until ON given (until);

CREATE TABLE keystore (
    one    boolean PRIMARY KEY CHECK (one),
    number bigint  NOT NULL   -- of the latest change
) WITH (fillfactor = 50);

CREATE TABLE key (
    id          bytea  PRIMARY KEY,
    version     bigint NOT NULL CHECK (version >= 1),
    fingerprint bytea  NOT NULL UNIQUE,
    fields      bytea  NOT NULL,
    sealed      bytea  NOT NULL,
    mac         bytea  NOT NULL,
    number      bigint NOT NULL  -- of its latest change
);

CREATE INDEX key_number ON key (number);

CREATE TABLE used (
    id bytea  PRIMARY KEY,
    at bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE kept (
    name  bytea PRIMARY KEY,
    value bytea NOT NULL
);

-- How full a window is, and from when on it has room for what is asked.
CREATE TYPE gauge AS (used bigint, fewer bigint, ready bigint, first bigint, last bigint, level numeric, tick bigint);

INSERT INTO birth VALUES (true, gen_random_uuid());
INSERT INTO store VALUES (true, 0);
INSERT INTO keystore VALUES (true, 0);
INSERT INTO room SELECT slot, 0, 0, 0 FROM generate_series(0, 31) AS slot;
