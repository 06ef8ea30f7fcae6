"""Keys that are sent along, as a file describes them: named twice, with a last day; told in time that it ends."""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from config.home import Home
from support import SECOND, StillClock, make_request

from tradeguard.checks.bearer import Bearer
from tradeguard.checks.signature import Signature
from tradeguard.config import build_guard, check, load_settings, reload_guard
from tradeguard.config.rules import bearer_end
from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.signing.bearer import BearerDigest

DAY = 86_400 * SECOND
MAP = '[roles]\ntrader = ["orders:*"]\n[operations]\n"GET /v1/orders" = "orders:read"\n'
NAMED = '[signature]\ndialects = ["tg1", "bearer"]\naccept = ["bearer"]\n'
TOKEN = "tZ9-pq_0bYv7Kd3mWc5uRf1x"


def day(offset: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=offset)).isoformat()


def section(until: str, more: str = "") -> str:
    return f'{NAMED}[bearer]\nuntil = "{until}"\n{more}'


def built(home: Home, text: str, environ: dict[str, str] | None = None) -> Guard:
    home.write(text + MAP)
    return build_guard(home.path, environ or {})


def faults(home: Home, text: str) -> list[str]:
    home.write(text + MAP)
    with pytest.raises(ConfigError) as raised:
        load_settings(home.path, {})
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


def bearer_of(guard: Guard) -> Bearer:
    [found] = [check for check in guard.checks if isinstance(check, Bearer)]
    return found


def send(guard: Guard, value: bytes, **other: Any) -> str:
    """Decide about a request with a bearer key in the usual field, over TLS unless said otherwise; return the code."""
    given: dict[str, Any] = {"scheme": "https", "arrived": time.time_ns(), **other}
    decision = drive(guard.admit(make_request("GET", b"/v1/orders", headers=[(b"authorization", value)], **given)))
    return "granted" if isinstance(decision, Grant) else decision.code


def put_key(guard: Guard) -> None:
    record = KeyRecord(
        id="old", dialect="bearer", material=BearerDigest.of(TOKEN), scopes=(), roles={"trader"}, owner="acme"
    )
    [keys] = bearer_of(guard).ports
    drive(keys.put([record]))  # type: ignore[attr-defined]


# --- what the file has to say --------------------------------------------------------------------------------------


def test_without_the_section_there_is_no_such_check(home: Home) -> None:
    guard = built(home, "")
    assert not any(isinstance(check, Bearer) for check in guard.checks)
    assert "Bearer" not in guard.challenge
    guard.close()


def test_it_stands_beside_signatures_until_the_end_of_its_last_day(home: Home) -> None:
    guard = built(home, section("2099-03-31"))
    assert [type(check) for check in guard.checks[1:3]] == [Signature, Bearer]
    assert bearer_of(guard).until == int(datetime(2099, 4, 1, tzinfo=UTC).timestamp()) * SECOND
    assert guard.challenge == 'TG1 realm="api", Bearer realm="api"'
    guard.close()


def test_a_venue_that_has_nothing_else_has_it_alone(home: Home) -> None:
    guard = built(home, section(day(90)).replace('"tg1", ', ""))
    assert not any(isinstance(check, Signature) for check in guard.checks)
    assert send(guard, b"Bearer old." + TOKEN.encode()) == "bearer.wrong"
    guard.close()


def test_fields_and_lanes_are_those_of_the_file(home: Home) -> None:
    guard = built(home, section(day(90), 'header = "X-Api-Secret"\nkey = "X-Api-Key"\nlanes = ["order", "cancel"]\n'))
    assert bearer_of(guard).lanes == {"public", "read", "order", "cancel"}
    assert bearer_of(guard).fields == "x-api-secret x-api-key"
    guard.close()


@pytest.mark.parametrize("written", ["2099-03-31", '"2099-03-31"'])
def test_the_day_may_be_one_of_toml_or_a_text(home: Home, written: str) -> None:
    home.write(f"{NAMED}[bearer]\nuntil = {written}\n{MAP}")
    assert load_settings(home.path, {}).settings.bearer.until == "2099-03-31"


def test_the_day_comes_from_the_environment_too(home: Home) -> None:
    home.write(NAMED + MAP)
    loaded = load_settings(home.path, {"TRADEGUARD_BEARER__UNTIL": "2099-03-31"})
    assert bearer_end(loaded.settings) == int(datetime(2099, 4, 1, tzinfo=UTC).timestamp()) * SECOND


WRONG = [
    (NAMED, "bearer.until: missing; write the last day on which keys may be sent along, such as 2027-03-31"),
    (section("2027-02-30"), "bearer.until: is no day; write the last day on which keys"),
    (section("tomorrow"), "bearer.until: must be a day, such as 2027-03-31"),
    (section("2027-03-31T00:00:00Z"), "bearer.until: must be a day, such as 2027-03-31"),
    (section("2099-03-31").replace('accept = ["bearer"]', ""), "signature: dialect bearer signs nothing of a request"),
    ('[bearer]\nuntil = "2099-03-31"\n', 'bearer: unused; name "bearer" in signature.dialects and signature.accept'),
    ('[signature]\naccept = ["bearer"]\n', "signature.accept[0]: 'bearer' is none of signature.dialects"),
    (section("2099-03-31", 'lanes = ["orders"]\n'), "bearer: accept names 'orders'; use some of admin, cancel"),
    (section("2099-03-31", 'header = "cookie"\n'), "bearer: 'cookie' is no place for a key"),
    (section("2099-03-31", 'header = "x api key"\n'), "bearer: 'x api key' is no place for a key"),
    (section("2099-03-31", 'header = "x-key"\nkey = "X-Key"\n'), "bearer: key id and secret stand in two fields"),
    (section("2099-03-31", 'token = "x"\n'), "bearer.token: no such key"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_what_is_left_out_or_wrong_stops_the_start_with_one_sentence(home: Home, text: str, says: str) -> None:
    [fault] = faults(home, text)
    assert fault.startswith(says)


def test_lanes_and_fields_are_part_of_the_mark_of_the_policy(home: Home) -> None:
    marks = set[str]()
    for more in ("", 'lanes = ["order"]\n', 'lanes = ["cancel"]\n', 'header = "x-key"\n', 'key = "x-id"\n'):
        guard = built(home, section("2099-03-31", more))
        marks.add(guard.policy_mark)
        guard.close()
    assert len(marks) == 5


# --- its end -------------------------------------------------------------------------------------------------------


def test_a_key_passes_until_the_last_nanosecond_of_its_last_day_and_no_longer(home: Home) -> None:
    guard = built(home, section(day(0)))
    put_key(guard)
    end = bearer_of(guard).until
    guard.bind(clock := StillClock(end - 1))
    assert send(guard, b"Bearer old." + TOKEN.encode(), arrived=end - 1) == "granted"
    clock.at = end
    assert send(guard, b"Bearer old." + TOKEN.encode(), arrived=end) == "bearer.ended"
    assert send(guard, b"Bearer old.wrong", arrived=end) == "bearer.wrong"
    guard.close()


@pytest.mark.parametrize(("left", "said"), [(30 * DAY, 1), (30 * DAY + 1, 0), (1, 1), (0, 0)])
def test_in_its_last_30_days_the_first_request_makes_the_log_say_so_and_no_other(
    home: Home, left: int, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    guard = built(home, section(day(60)))
    put_key(guard)
    at = bearer_of(guard).until - left
    guard.bind(StillClock(at))
    caplog.clear()
    for _ in range(3):
        send(guard, b"Bearer old." + TOKEN.encode(), arrived=at)
    warnings = [record.getMessage() for record in caplog.records if "refused from" in record.getMessage()]
    assert len(warnings) == said
    assert all(day(61) in text and TOKEN not in text for text in warnings)
    guard.close()


def test_strangers_do_not_make_the_log_speak_of_the_end(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    guard = built(home, section(day(1)))
    guard.bind(StillClock(time.time_ns()))
    caplog.clear()
    send(guard, b"Bearer old." + TOKEN.encode())
    assert caplog.records == []
    guard.close()


def test_a_server_says_at_its_start_what_it_takes_and_looking_at_the_file_does_not(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tradeguard")
    home.write(section(day(90)) + MAP)
    check(load_settings(home.path, {}), {})
    assert caplog.records == []
    guard = build_guard(home.path, {})
    [record] = caplog.records
    assert "for public, read" in record.getMessage()
    guard.close()


@pytest.mark.parametrize(
    ("offset", "says"),
    [
        (-1, "bearer.until: it is over, and keys that are sent along are refused"),
        (0, "bearer.until: days left in which keys may be sent along: 1;"),
        (29, "bearer.until: days left in which keys may be sent along: 30;"),
        (30, ""),
        (365, ""),
        (366, "bearer.until: more than a year away"),
    ],
)
def test_config_check_finds_an_end_that_is_near_over_or_none(home: Home, offset: int, says: str) -> None:
    home.write(section(day(offset)) + MAP)
    found = check(load_settings(home.path, {}), {})
    assert [line[: len(says)] for line in found] == ([says] if says else [])


def test_config_check_finds_a_field_that_the_hosts_own_tokens_may_use(home: Home) -> None:
    coexisting = MAP.replace('= "orders:read"', f'= {{scopes = "orders:read", coexist = "{day(9)}"}}')
    home.write(section(day(90)) + coexisting)
    [line] = check(load_settings(home.path, {}), {})
    assert line.startswith("bearer.header: operations coexist")
    home.write(section(day(90), 'header = "x-api-key"\n') + coexisting)
    assert check(load_settings(home.path, {}), {}) == []


def test_it_is_taken_in_and_out_while_the_server_runs(home: Home) -> None:
    guard = built(home, section(day(90)))
    put_key(guard)
    guard.bind(StillClock(time.time_ns()))
    assert send(guard, b"Bearer old." + TOKEN.encode()) == "granted"
    home.write(MAP)
    reload_guard(guard)
    assert send(guard, b"Bearer old." + TOKEN.encode()) == "proof.unclaimed"
    home.write(section(day(90)) + MAP)
    reload_guard(guard)
    assert send(guard, b"Bearer old." + TOKEN.encode()) == "granted"
    guard.close()


# --- plain HTTP ----------------------------------------------------------------------------------------------------

FORWARDED = [(b"x-forwarded-for", b"203.0.113.7")]


@pytest.mark.parametrize(
    ("environ", "given", "code"),
    [
        ({}, {}, "bearer.plain"),
        ({}, {"scheme": "https"}, "granted"),
        ({"TRADEGUARD_DEVELOPMENT": "1"}, {}, "granted"),
        ({"TRADEGUARD_DEVELOPMENT": "1"}, {"address": "::1"}, "granted"),
        ({"TRADEGUARD_DEVELOPMENT": "0"}, {}, "bearer.plain"),
        ({"TRADEGUARD_DEVELOPMENT": "1"}, {"address": "203.0.113.7"}, "bearer.plain"),
        ({"TRADEGUARD_DEVELOPMENT": "1"}, {"address": None}, "bearer.plain"),
        ({"TRADEGUARD_DEVELOPMENT": "1"}, {"more": FORWARDED}, "bearer.plain"),
        ({"TRADEGUARD_DEVELOPMENT": "1"}, {"more": [(b"forwarded", b"for=203.0.113.7")]}, "bearer.plain"),
    ],
)
def test_over_plain_http_it_is_refused_but_in_development_on_this_machine(
    home: Home, environ: dict[str, str], given: dict[str, Any], code: str
) -> None:
    guard = built(home, section(day(90)), environ)
    put_key(guard)
    guard.bind(StillClock(time.time_ns()))
    more = given.pop("more", [])
    headers = [(b"authorization", b"Bearer old." + TOKEN.encode()), *more]
    request = make_request("GET", b"/v1/orders", headers=headers, **{"arrived": time.time_ns(), **given})
    decision = drive(guard.admit(request))
    assert ("granted" if isinstance(decision, Grant) else decision.code) == code
    guard.close()


def test_over_plain_http_a_known_key_and_a_stranger_hear_the_same(home: Home) -> None:
    guard = built(home, section(day(90)))
    put_key(guard)
    guard.bind(StillClock(time.time_ns()))
    faces = set[Any]()
    for value in (b"Bearer old." + TOKEN.encode(), b"Bearer nobody." + TOKEN.encode(), b"Bearer old." + b"w" * 24):
        request = make_request("GET", b"/v1/orders", headers=[(b"authorization", value)], arrived=time.time_ns())
        decision = drive(guard.admit(request))
        assert not isinstance(decision, Grant)
        faces.add((decision.face, tuple(decision.members)))
    assert [(face[0], face[1]) for face, _ in faces] == [("bearer.plain", 403)]
    guard.close()
