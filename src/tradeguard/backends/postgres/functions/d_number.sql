-- Numbers for `Below`: halts, bans, versions. Whoever sets one holds the row of the version until it is on the disk.

CREATE OR REPLACE FUNCTION set(
    p_patience bigint, p_key bytea, p_value bigint, p_until bigint, p_record bytea, p_lift boolean
) RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    v_version bigint;
    v_now bigint;
    v_value bigint := p_value;
BEGIN
    PERFORM enter(p_patience);
    UPDATE store SET version = version + 1 RETURNING version INTO STRICT v_version;
    v_now := time_now();
    IF p_lift THEN
        SELECT greatest(p_value, max(value)) INTO v_value FROM number
        WHERE key = p_key AND (until IS NULL OR until > v_now);
    END IF;
    DELETE FROM number WHERE key IN (SELECT key FROM number WHERE until <= v_now LIMIT 64);
    INSERT INTO number VALUES (p_key, v_value, p_until, p_record)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, until = excluded.until, record = excluded.record;
    PERFORM keep_time(v_now, 0, 0);
    RETURN v_version;
END
$$;

-- The numbers whose key begins with a prefix; p_end: the first key that no longer does, null where there is none.
CREATE OR REPLACE FUNCTION look(
    p_patience bigint, p_begin bytea, p_end bytea,
    OUT epoch text, OUT figures bigint[], OUT keys bytea[], OUT stored bigint[], OUT records bytea[]
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    v_now bigint;
BEGIN
    PERFORM enter(p_patience);
    v_now := time_now();
    SELECT epoch(), ARRAY[v_now, version] INTO look.epoch, figures FROM store;
    SELECT coalesce(array_agg(key), '{}'), coalesce(array_agg(record), '{}'),
           coalesce(array_agg(ARRAY[value, coalesce(until, 0), (until IS NOT NULL)::integer]), '{}')
    INTO keys, records, stored FROM number
    WHERE key >= p_begin AND (p_end IS NULL OR key < p_end) AND (until IS NULL OR until > v_now);
END
$$;

-- How many nonces are held.
CREATE OR REPLACE FUNCTION size(p_patience bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS
$$ SELECT sum(nonces)::bigint FROM enter(p_patience), room $$;
