-- commit: settle all conditions of one request in one transaction, as tradeguard/core/conditions.py says.
--
-- 1. Locks first, in one order for everybody: owners and quotas by the number of their lock, then all room, then the row
--    of a slot. What is read afterwards is what those we waited for have left (READ COMMITTED: each statement looks anew).
-- 2. Whoever adds to what is held does so under the shared lock of all room. Near the end of the room it is taken alone:
--    the sum is then exact, and the last place is given once.
-- 3. The version is read before the numbers, so a node never believes that it has seen more than it has.

CREATE OR REPLACE FUNCTION commit(
    p_patience bigint,        -- ms, most for one lock
    p_seen_epoch text,        -- null: the node has seen nothing
    p_seen_version bigint,
    p_seen_written bigint,    -- the highest position of the log that the node has heard of
    p_request bytea,
    p_denied boolean,
    p_reserve boolean,
    p_room bigint[],          -- capacity, per_key
    p_once_owner bytea[], p_once_item bytea[], p_once_until bigint[],
    p_top_owner bytea[], p_top_item bytea[], p_top_value bytea[], p_top_width bigint[],
    p_belows bigint,                           -- how many `Below`
    p_below_key bytea[], p_below bigint[],     -- per key: which of them, value
    p_quota_key bytea[], p_quota bigint[],     -- per quota: cost, binding, shadow
    p_window bigint[],                         -- per window: which quota, amount, period, grain, burst
    OUT epoch text, OUT behind boolean, OUT first bytea, OUT is_full boolean,
    OUT figures bigint[],     -- time, version, ready, position of the log
    OUT failed bigint[],      -- numbers of conditions: those of Once, then Advance, Below, Quota
    OUT uses bigint[]         -- per window: used, fewer
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    v_onces constant integer := coalesce(array_length(p_once_owner, 1), 0);
    v_tops constant integer := coalesce(array_length(p_top_owner, 1), 0);
    v_quotas constant integer := coalesce(array_length(p_quota_key, 1), 0);
    v_windows constant integer := coalesce(array_length(p_window, 1), 0);
    v_now bigint;
    v_version bigint;
    v_ready bigint := 0;
    v_nonces bigint;          -- held in all
    v_counters bigint;
    v_new_nonces bigint := 0; -- added and dropped by this commit
    v_new_counters bigint := 0;
    v_near bigint;            -- from so many on the room is taken alone
    v_alone boolean := false;
    v_shut boolean := false;
    v_wrote boolean := false;
    v_row record;
    v_owner bytea;
    v_values bytea[];
    v_gauges gauge[];
    v_gauge gauge;
    v_fits boolean;
    v_inserted boolean;
BEGIN
    PERFORM enter(p_patience);
    is_full := false;
    failed := '{}';
    uses := '{}';

    IF v_onces + v_tops + v_quotas > 0 THEN
        PERFORM pg_advisory_xact_lock(ids.id) FROM (
            SELECT DISTINCT lock_of(kind, name) AS id
            FROM unnest(array_fill(1, ARRAY[v_onces + v_tops]) || array_fill(2, ARRAY[v_quotas]),
                        p_once_owner || p_top_owner || p_quota_key) AS asked (kind, name)
            ORDER BY 1 OFFSET 0) AS ids;
    END IF;
    SELECT sum(nonces), sum(tops), greatest(clock(), max(time)) INTO v_nonces, v_counters, v_now FROM room;
    IF v_onces + v_tops > 0 THEN
        v_near := p_room[1] - p_room[1] / 10 - 16 * current_setting('max_connections')::bigint;
        v_alone := greatest(v_nonces, v_counters) >= v_near OR v_onces + v_tops > 16;
        IF v_alone THEN
            PERFORM pg_advisory_xact_lock(lock_of(3, ''));
        ELSE
            PERFORM pg_advisory_xact_lock_shared(lock_of(3, ''));
        END IF;
        SELECT sum(nonces), sum(tops), greatest(clock(), max(time)) INTO v_nonces, v_counters, v_now FROM room;
        v_shut := NOT v_alone AND greatest(v_nonces, v_counters) >= v_near;  -- it was filled meanwhile: refuse
    END IF;

    SELECT version, epoch() INTO v_version, epoch FROM store;
    figures := ARRAY[v_now, v_version, 0, pg_current_wal_flush_lsn() - '0/0'::pg_lsn];
    behind := p_seen_epoch IS NOT NULL
        AND (p_seen_epoch <> epoch OR p_seen_version > v_version OR p_seen_written > figures[4]);
    IF behind THEN
        RETURN;
    END IF;
    v_new_nonces := -purge(v_now, p_once_owner || p_top_owner);
    v_nonces := v_nonces + v_new_nonces;

    -- what holds

    FOR i IN 1 .. v_onces LOOP
        SELECT until, request INTO v_row FROM once WHERE owner = p_once_owner[i] AND item = p_once_item[i];
        IF FOUND AND v_row.until > v_now THEN
            failed := failed || (i - 1)::bigint;
            first := coalesce(first, v_row.request);
        ELSIF p_once_until[i] <= v_now THEN
            failed := failed || (i - 1)::bigint;
        ELSIF NOT FOUND THEN
            SELECT nonces INTO v_row FROM held WHERE owner = p_once_owner[i];
            IF v_shut OR NOT has_room(p_room, p_reserve, v_nonces, coalesce(v_row.nonces, 0)) THEN
                failed := failed || (i - 1)::bigint;
                is_full := true;
            END IF;
        END IF;
    END LOOP;
    FOR i IN 1 .. v_tops LOOP
        SELECT "values" INTO v_values FROM top WHERE owner = p_top_owner[i] AND item = p_top_item[i];
        IF NOT FOUND THEN
            SELECT tops INTO v_row FROM held WHERE owner = p_top_owner[i];
            IF v_shut OR NOT has_room(p_room, p_reserve, v_counters, coalesce(v_row.tops, 0)) THEN
                failed := failed || (v_onces + i - 1)::bigint;
                is_full := true;
            END IF;
        ELSIF p_top_value[i] = ANY (v_values)
            OR (cardinality(v_values) >= p_top_width[i] AND p_top_value[i] <= v_values[p_top_width[i]])
        THEN
            failed := failed || (v_onces + i - 1)::bigint;
        END IF;
    END LOOP;
    IF array_length(p_below_key, 1) > 0 THEN
        failed := failed || ARRAY(
            SELECT DISTINCT v_onces + v_tops + p_below[i][1]
            FROM generate_subscripts(p_below_key, 1) AS i
            LEFT JOIN number ON key = p_below_key[i] AND (until IS NULL OR until > v_now)
            WHERE coalesce(value, 0) >= p_below[i][2]);
    END IF;
    FOR w IN 1 .. v_windows LOOP
        v_gauges[w] := weigh(p_quota_key[p_window[w][1]], p_quota[p_window[w][1]][3] = 1, p_window[w][2],
                             p_window[w][3], p_window[w][5], p_quota[p_window[w][1]][1], v_now);
    END LOOP;
    FOR q IN 1 .. v_quotas LOOP
        CONTINUE WHEN p_quota[q][1] = 0 OR p_quota[q][3] = 1;
        v_fits := true;
        FOR w IN 1 .. v_windows LOOP
            v_fits := v_fits AND (p_window[w][1] <> q OR (v_gauges[w]).ready = v_now);
        END LOOP;
        CONTINUE WHEN v_fits;
        failed := failed || (v_onces + v_tops + p_belows + q - 1)::bigint;
        FOR w IN 1 .. v_windows LOOP
            IF p_window[w][1] = q THEN
                v_ready := greatest(v_ready, (v_gauges[w]).ready);
            END IF;
        END LOOP;
    END LOOP;
    figures[3] := v_ready;

    -- what takes effect

    FOR i IN 1 .. v_onces LOOP
        CONTINUE WHEN (i - 1) = ANY (failed);
        INSERT INTO once VALUES (p_once_owner[i], p_once_item[i], p_once_until[i], p_request)
        ON CONFLICT (owner, item) DO UPDATE SET until = excluded.until, request = excluded.request
        RETURNING xmax = 0 INTO v_inserted;
        v_wrote := true;
        IF v_inserted THEN
            INSERT INTO held VALUES (p_once_owner[i], 1, 0)
            ON CONFLICT (owner) DO UPDATE SET nonces = held.nonces + 1;
            v_new_nonces := v_new_nonces + 1;
        END IF;
    END LOOP;
    FOR i IN 1 .. v_tops LOOP
        CONTINUE WHEN (v_onces + i - 1) = ANY (failed);
        v_values := (SELECT "values" FROM top WHERE owner = p_top_owner[i] AND item = p_top_item[i]);
        INSERT INTO top VALUES (p_top_owner[i], p_top_item[i], ARRAY(
            SELECT value FROM unnest(v_values || p_top_value[i]) AS value ORDER BY 1 DESC LIMIT p_top_width[i]))
        ON CONFLICT (owner, item) DO UPDATE SET "values" = excluded."values";
        v_wrote := true;
        IF v_values IS NULL THEN
            INSERT INTO held VALUES (p_top_owner[i], 0, 1)
            ON CONFLICT (owner) DO UPDATE SET tops = held.tops + 1;
            v_new_counters := v_new_counters + 1;
        END IF;
    END LOOP;
    FOR w IN 1 .. v_windows LOOP
        v_gauge := v_gauges[w];
        IF p_quota[p_window[w][1]][1] > 0
            AND (v_onces + v_tops + p_belows + p_window[w][1] - 1) <> ALL (failed)
            AND (p_quota[p_window[w][1]][2] = 1 OR (failed = '{}' AND NOT p_denied))
        THEN
            v_gauge := spend(v_gauge, p_quota_key[p_window[w][1]], p_quota[p_window[w][1]][3] = 1, p_window[w][2],
                             p_window[w][3], p_window[w][4], p_window[w][5], p_quota[p_window[w][1]][1], v_now);
            v_wrote := true;
        END IF;
        uses := uses || v_gauge.used || v_gauge.fewer;
    END LOOP;
    IF v_wrote OR v_new_nonces <> 0 THEN
        PERFORM keep_time(v_now, v_new_nonces, v_new_counters);
    END IF;
END
$$;

-- Whether one more fits where so many are held in all, and so many by its owner. The last tenth is the reserve.
CREATE OR REPLACE FUNCTION has_room(p_room bigint[], p_reserve boolean, p_held bigint, p_owned bigint)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_reserve THEN
        RETURN p_held < p_room[1] AND p_owned < p_room[2];
    END IF;
    RETURN p_held < p_room[1] - p_room[1] / 10 AND p_owned < p_room[2] - p_room[2] / 10;
END
$$;

-- Drop some of what has run out, the oldest first: a bounded number, more than one commit can bring. Return how many
-- nonces. What is another's is dropped only where nobody holds his lock; and where there is something of our own to drop,
-- only one time in 16, so that busy owners do not wait for each other.
CREATE OR REPLACE FUNCTION purge(p_now bigint, p_mine bytea[]) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_old record;
    v_gone bigint;
    v_all bigint := 0;
    v_some boolean := false;
BEGIN
    FOR v_old IN
        SELECT owner, array_agg(item) AS items, owner = ANY (p_mine) AS mine
        FROM (SELECT owner, item FROM once WHERE until <= p_now ORDER BY until LIMIT 64) AS oldest
        GROUP BY owner ORDER BY 3 DESC
    LOOP
        v_some := v_some OR v_old.mine;
        EXIT WHEN NOT v_old.mine AND v_some AND random() >= 0.0625;
        CONTINUE WHEN NOT v_old.mine AND NOT pg_try_advisory_xact_lock(lock_of(1, v_old.owner));
        DELETE FROM once WHERE owner = v_old.owner AND item = ANY (v_old.items) AND until <= p_now;
        GET DIAGNOSTICS v_gone = ROW_COUNT;
        UPDATE held SET nonces = nonces - v_gone WHERE owner = v_old.owner;
        DELETE FROM held WHERE owner = v_old.owner AND nonces = 0 AND tops = 0;
        v_all := v_all + v_gone;
    END LOOP;
    FOR v_old IN SELECT key FROM meter WHERE idle <= p_now ORDER BY idle LIMIT 2 LOOP
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(lock_of(2, v_old.key));
        DELETE FROM spent USING meter
        WHERE meter.key = v_old.key AND idle <= p_now AND NOT paces
            AND spent.key = meter.key AND spent.shadow = meter.shadow AND spent.period = meter.period;
        DELETE FROM meter WHERE key = v_old.key AND idle <= p_now;
    END LOOP;
    RETURN v_all;
END
$$;
