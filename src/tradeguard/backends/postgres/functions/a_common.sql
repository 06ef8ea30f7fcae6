-- What all functions share: the clock, the epoch, what a transaction must be, and who waits for whom.

-- The time, ns UTC, by the server's clock. What uses it never goes below the highest time stored.
CREATE OR REPLACE FUNCTION clock() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 $$;

-- Which store this is. Other than before: a dump that was restored (the row was written again, or in another database
-- or cluster), a standby that was promoted, a recovery to a point in time (another timeline).
CREATE OR REPLACE FUNCTION epoch() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_birth text;
BEGIN
    SELECT concat_ws('-', left(id::text, 8), birth.xmin, pg_database.oid) INTO STRICT v_birth
    FROM birth, pg_database WHERE datname = current_database();
    RETURN concat_ws('-', v_birth, (pg_control_system()).system_identifier,
                     left(pg_walfile_name(pg_current_wal_insert_lsn()), 8));
END
$$;

-- What a transaction of ours must be. Waits for locks are bounded; what is committed is on the disk.
CREATE OR REPLACE FUNCTION enter(p_patience bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'this server is a standby; connect to the primary' USING ERRCODE = 'TG503';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN  -- it would not see what it waited for
        RAISE EXCEPTION 'default_transaction_isolation of this role must be "read committed"' USING ERRCODE = 'TG503';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM set_config('lock_timeout', p_patience::text, true);
    RETURN true;
END
$$;

-- The advisory lock of a partition: 1 for what an owner holds, 2 for a quota, 3 for all room. Two that share a lock by
-- chance wait for each other, nothing worse.
CREATE OR REPLACE FUNCTION lock_of(p_kind bigint, p_name bytea) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashtextextended(encode(p_name, 'hex'), 7450000 + p_kind) $$;

-- The time now: never below the highest that was stored.
CREATE OR REPLACE FUNCTION time_now() RETURNS bigint LANGUAGE plpgsql VOLATILE AS
$$ BEGIN RETURN greatest(clock(), (SELECT max(time) FROM room)); END $$;

-- Write down how much more is held and how far time has come. The last lock that a transaction takes, and only one.
CREATE OR REPLACE FUNCTION keep_time(p_now bigint, p_nonces bigint, p_tops bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE room SET nonces = nonces + p_nonces, tops = tops + p_tops, time = greatest(time, p_now)
    WHERE slot = pg_backend_pid() % 32;
    RETURN true;
END
$$;
