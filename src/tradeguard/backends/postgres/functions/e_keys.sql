-- Keys: rows that nobody here understands. Numbers of changes are given under the lock of one row, so that they are
-- seen in their order: who follows them misses none that was committed late.

CREATE OR REPLACE FUNCTION key_put(
    p_patience bigint, p_id bytea[], p_version bigint[], p_fingerprint bytea[], p_fields bytea[], p_sealed bytea[],
    p_mac bytea[]
) RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    v_number bigint;
    v_stored key%ROWTYPE;
    v_found boolean;
    v_holder bytea;
BEGIN
    PERFORM enter(p_patience);
    UPDATE keystore SET number = number + array_length(p_id, 1) RETURNING number - array_length(p_id, 1)
    INTO STRICT v_number;
    FOR i IN 1 .. array_length(p_id, 1) LOOP
        SELECT * INTO v_stored FROM key WHERE id = p_id[i];
        v_found := FOUND;
        SELECT id INTO v_holder FROM key WHERE fingerprint = p_fingerprint[i];
        PERFORM key_refuse(i - 1, CASE
            WHEN v_holder <> p_id[i] THEN 'holder ' || encode(v_holder, 'hex')
            WHEN NOT v_found AND p_version[i] <> 1 THEN 'unknown'
            WHEN v_found AND p_version[i] = 1 THEN 'exists'
            WHEN v_found AND v_stored.version <> p_version[i] - 1 THEN 'version ' || v_stored.version
            WHEN v_found AND v_holder IS NULL THEN 'secret' END);
        IF v_found THEN
            UPDATE key SET version = p_version[i], fields = p_fields[i], sealed = p_sealed[i], mac = p_mac[i],
                           number = v_number + i
            WHERE id = p_id[i];
        ELSE
            INSERT INTO key VALUES (p_id[i], p_version[i], p_fingerprint[i], p_fields[i], p_sealed[i], p_mac[i],
                                    v_number + i);
        END IF;
    END LOOP;
    RETURN v_number;
END
$$;

CREATE OR REPLACE FUNCTION key_refuse(p_place integer, p_why text) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_why IS NOT NULL THEN
        RAISE EXCEPTION '% %', p_place, p_why USING ERRCODE = 'TG409';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION key_get(p_patience bigint, p_id bytea)
RETURNS TABLE (id bytea, version bigint, fingerprint bytea, fields bytea, sealed bytea, mac bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS
$$ SELECT id, version, fingerprint, fields, sealed, mac FROM enter(p_patience), key WHERE id = p_id $$;

CREATE OR REPLACE FUNCTION key_page(p_patience bigint, p_after bytea, p_limit bigint)
RETURNS TABLE (id bytea, version bigint, fingerprint bytea, fields bytea, sealed bytea, mac bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS
$$ SELECT id, version, fingerprint, fields, sealed, mac FROM enter(p_patience), key WHERE id > p_after ORDER BY id LIMIT p_limit $$;

CREATE OR REPLACE FUNCTION key_holder(p_patience bigint, p_fingerprint bytea) RETURNS bytea
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS
$$ SELECT id FROM enter(p_patience), key WHERE fingerprint = p_fingerprint $$;

-- The ids that changed after a number, one more than p_most at most; of the latest number, in one look.
CREATE OR REPLACE FUNCTION key_changes(p_patience bigint, p_number bigint, p_most bigint)
RETURNS TABLE (epoch text, number bigint, ids bytea[])
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT epoch(), keystore.number, ARRAY(
        SELECT id FROM key WHERE p_number IS NOT NULL AND key.number > p_number ORDER BY key.number LIMIT p_most + 1)
    FROM enter(p_patience), keystore
$$;

CREATE OR REPLACE FUNCTION key_touch(p_patience bigint, p_id bytea[], p_at bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM enter(p_patience);
    INSERT INTO used SELECT * FROM unnest(p_id, p_at) AS asked (id, at) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET at = excluded.at WHERE used.at < excluded.at;
    RETURN 0;
END
$$;

CREATE OR REPLACE FUNCTION key_uses(p_patience bigint, p_id bytea[]) RETURNS TABLE (id bytea, at bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS
$$ SELECT id, at FROM enter(p_patience), used WHERE id = ANY (p_id) $$;

CREATE OR REPLACE FUNCTION key_keep(p_patience bigint, p_name bytea, p_value bytea) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM enter(p_patience);
    IF p_value IS NOT NULL THEN
        INSERT INTO kept VALUES (p_name, p_value) ON CONFLICT DO NOTHING;
    END IF;
    RETURN (SELECT value FROM kept WHERE name = p_name);
END
$$;
