-- Windows of quotas: how full one is, and what it takes. The caller holds the quota's lock.

-- Say how full a window is; drop what has run out.
CREATE OR REPLACE FUNCTION weigh(
    p_key bytea, p_shadow boolean, p_amount bigint, p_period bigint, p_burst bigint, p_cost bigint, p_now bigint
) RETURNS gauge LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    never constant bigint := 9223372036854775807;
    v_meter meter%ROWTYPE;
    v_gone bigint;
    v_free bigint;
    v_entry record;
    v gauge;
BEGIN
    SELECT * INTO v_meter FROM meter
    WHERE key = p_key AND shadow = p_shadow AND period = p_period AND paces = (p_burst > 0);
    IF p_burst > 0 THEN
        v.tick := p_now / 1000;
        v.level := greatest(0, coalesce(v_meter.level, 0)
                               - greatest(0, v.tick - coalesce(v_meter.tick, 0))::numeric * p_amount);
        RETURN pace(v, p_amount, p_period / 1000, p_burst, p_cost, p_now);
    END IF;
    v.used := coalesce(v_meter.used, 0);
    v.first := v_meter.first;
    v.last := v_meter.last;
    IF v.used > 0 AND v.first <= p_now - p_period THEN
        WITH gone AS (
            DELETE FROM spent
            WHERE key = p_key AND shadow = p_shadow AND period = p_period AND edge <= p_now - p_period
            RETURNING units
        ) SELECT coalesce(sum(units), 0) INTO v_gone FROM gone;
        v.used := v.used - v_gone;
        IF v.used > 0 THEN
            SELECT edge INTO STRICT v.first FROM spent
            WHERE key = p_key AND shadow = p_shadow AND period = p_period ORDER BY edge LIMIT 1;
        END IF;
        UPDATE meter SET used = v.used, first = v.first
        WHERE key = p_key AND shadow = p_shadow AND period = p_period AND NOT paces;
    END IF;
    v.fewer := CASE WHEN v.used > 0 THEN v.first + p_period ELSE 0 END;
    v_free := p_amount - v.used;
    v.ready := CASE WHEN v_free >= p_cost THEN p_now ELSE never END;
    IF v_free < p_cost AND p_cost <= p_amount THEN
        FOR v_entry IN
            SELECT edge, units FROM spent
            WHERE key = p_key AND shadow = p_shadow AND period = p_period ORDER BY edge
        LOOP
            v_free := v_free + v_entry.units;
            IF v_free >= p_cost THEN
                v.ready := v_entry.edge + p_period;
                EXIT;
            END IF;
        END LOOP;
    END IF;
    RETURN v;
END
$$;

-- What a level means: units, and when there are fewer or enough room. Whole numbers only: div() cuts, so -div(-a, b) does not.
CREATE OR REPLACE FUNCTION pace(
    p gauge, p_amount bigint, p_micros bigint, p_burst bigint, p_cost bigint, p_now bigint
) RETURNS gauge LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    never constant bigint := 9223372036854775807;
    v_excess numeric;
BEGIN
    p.used := div(p.level + p_micros - 1, p_micros);
    v_excess := p.level - (p.used - 1)::numeric * p_micros;
    p.fewer := CASE WHEN p.used > 0
        THEN least((p.tick + div(v_excess + p_amount - 1, p_amount)) * 1000, never) ELSE 0 END;
    v_excess := p.level + (p_cost - p_burst)::numeric * p_micros;
    p.ready := CASE
        WHEN p_cost > p_burst THEN never
        WHEN v_excess > 0 THEN least((p.tick + div(v_excess + p_amount - 1, p_amount)) * 1000, never)
        ELSE p_now END;
    RETURN p;
END
$$;

-- Count units in a window that was weighed; return how full it is then.
CREATE OR REPLACE FUNCTION spend(
    p gauge, p_key bytea, p_shadow boolean, p_amount bigint, p_period bigint, p_grain bigint, p_burst bigint,
    p_cost bigint, p_now bigint
) RETURNS gauge LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    hour constant bigint := 3600000000000;
    v_idle bigint;
    v_edge bigint := 0;
BEGIN
    IF p.used > 4611686018427387904 THEN
        RETURN p;  -- only what is not enforced comes so far
    END IF;
    IF p_burst > 0 THEN
        p.level := p.level + p_cost::numeric * (p_period / 1000);
        p := pace(p, p_amount, p_period / 1000, p_burst, 0, p_now);
        v_idle := least((p.tick + div(p.level + p_amount - 1, p_amount)) * 1000, 9223372036854775807 - hour);
    ELSE
        v_edge := (p_now + p_grain - 1) / p_grain * p_grain;
        IF p.used > 0 THEN
            v_edge := greatest(v_edge, p.last);
        ELSE
            p.first := v_edge;
        END IF;
        INSERT INTO spent VALUES (p_key, p_shadow, p_period, v_edge, p_cost)
        ON CONFLICT (key, shadow, period, edge) DO UPDATE SET units = spent.units + excluded.units;
        p.used := p.used + p_cost;
        p.fewer := p.first + p_period;
        p.last := v_edge;
        v_idle := v_edge + p_period;
    END IF;
    v_idle := (v_idle / hour + 1) * hour;
    UPDATE meter SET used = p.used, first = coalesce(p.first, 0), last = v_edge,
                     level = coalesce(p.level, 0), tick = coalesce(p.tick, 0), idle = greatest(idle, v_idle)
    WHERE key = p_key AND shadow = p_shadow AND period = p_period AND paces = (p_burst > 0);
    IF NOT FOUND THEN
        INSERT INTO meter VALUES (p_key, p_shadow, p_period, p_burst > 0, p.used, coalesce(p.first, 0), v_edge,
                                  coalesce(p.level, 0), coalesce(p.tick, 0), v_idle);
    END IF;
    RETURN p;
END
$$;

-- Give units of a charge back: once per item, in all never more than it cost, and only where they still count.
-- p_window: (period, edge) of each window that rolls; p_until: when the last unit of the charge has run out.
CREATE OR REPLACE FUNCTION refund(
    p_patience bigint, p_request bytea, p_key bytea, p_shadow boolean, p_cost bigint, p_until bigint, p_item bytea,
    p_units bigint, p_window bigint[]
) RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    v_now bigint;
    v_back bigint;
BEGIN
    PERFORM enter(p_patience);
    PERFORM pg_advisory_xact_lock(lock_of(2, p_key));
    v_now := time_now();
    DELETE FROM given WHERE (request, key, item) IN (
        SELECT request, key, item FROM given WHERE until <= v_now ORDER BY until LIMIT 64 FOR UPDATE SKIP LOCKED);
    PERFORM keep_time(v_now, 0, 0);
    IF p_until <= v_now
        OR EXISTS (SELECT FROM given WHERE request = p_request AND key = p_key AND item = p_item)
        OR p_units > p_cost
            - (SELECT coalesce(sum(units), 0) FROM given WHERE request = p_request AND key = p_key)
    THEN
        RETURN false;
    END IF;
    INSERT INTO given VALUES (p_request, p_key, p_item, p_units, p_until);
    FOR i IN 1 .. coalesce(array_length(p_window, 1), 0) LOOP
        SELECT least(units, p_units) INTO v_back FROM spent
        WHERE key = p_key AND shadow = p_shadow AND period = p_window[i][1] AND edge = p_window[i][2];
        CONTINUE WHEN NOT FOUND;
        DELETE FROM spent
        WHERE key = p_key AND shadow = p_shadow AND period = p_window[i][1] AND edge = p_window[i][2]
            AND units = v_back;
        IF NOT FOUND THEN
            UPDATE spent SET units = units - v_back
            WHERE key = p_key AND shadow = p_shadow AND period = p_window[i][1] AND edge = p_window[i][2];
        END IF;
        UPDATE meter SET used = used - v_back, first = coalesce(low, 0), last = coalesce(high, 0)
        FROM (SELECT min(edge) AS low, max(edge) AS high FROM spent
              WHERE key = p_key AND shadow = p_shadow AND period = p_window[i][1]) AS bounds
        WHERE key = p_key AND shadow = p_shadow AND period = p_window[i][1] AND NOT paces;
    END LOOP;
    RETURN true;
END
$$;
