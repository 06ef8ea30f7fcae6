"""What unmodified ccxt makes of every kind of refusal, at every venue: the tables of family_*.py say what it must.

Each refusal comes from a guard that is served, in the words of its row.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from dialects.families import ADJUSTED, CLOCKS, CODES, EXPECTED, STRANGERS
from dialects.recorder import Answer, recording
from dialects.sdk import BESIDE
from dialects.served import SITUATIONS, Served, dialect_of, serving
from dialects.venues import LATEST, VENUES, credentials_of, make_ccxt, outcome_of
from support import catalogue

import tradeguard
from tradeguard.core.decision import UNAUTHORIZED, Denial, Face
from tradeguard.signing.refusal import Refusal
from tradeguard.signing.row import Row

_SOURCES = Path(tradeguard.__file__).parent
TOLD = [(venue, situation) for venue, table in EXPECTED.items() for situation in table]


def need(venue: str) -> None:
    """Where `make` has not run, the interpreter beside may be missing; a CI machine has it."""
    if VENUES[venue].client != LATEST and not BESIDE.exists() and "CI" not in os.environ:
        pytest.skip(f"{BESIDE} is missing: make test")


def field(answer: Answer, name: str) -> str:
    return next((value for key, value in answer.headers if key.lower() == name), "")


def anonymous(answer: Answer) -> Answer:
    """An answer without what differs by request."""
    id = field(answer, "x-request-id")
    fields = tuple((name, value.replace(id, "")) for name, value in answer.headers)
    return Answer(answer.status, answer.body.replace(id.encode(), b""), fields)


def provoke(venue: str, situation: str) -> tuple[list[str], Served, Answer]:
    """Put a venue into a situation, and let ccxt place an order; what it raises, and what it was answered."""
    need(venue)
    with serving(venue, situation=situation) as served:
        (outcome,) = served.ask(("order",))
    return outcome["raised"], served, served.answers[-1]


@pytest.mark.parametrize(("venue", "situation"), TOLD)
def test_ccxt_raises_what_the_table_says_and_the_answer_is_that_of_the_row(venue: str, situation: str) -> None:
    raised, served, answer = provoke(venue, situation)
    assert raised[:1] == [EXPECTED[venue][situation]], answer
    assert raised[-1] == "BaseError"
    assert served.row.refuse is not None
    code = CODES.get(situation) or field(answer, "tradeguard-code")
    face = Denial(code).face
    assert field(answer, "tradeguard-code") == face[0]
    said, body = served.row.refuse.say(face), json.loads(answer.body)
    assert answer.status == said.status
    if isinstance(said.body, Mapping):
        assert said.body.items() <= body.items()
        assert body["request_id"] == field(answer, "x-request-id")
        assert body.get("executed", False) == face[3]
    else:
        assert body == list(said.body)
    assert bool(field(answer, "retry-after")) is (situation in ("rate", "maintenance", "outage", "unsure"))


@pytest.mark.parametrize("venue", EXPECTED)
def test_all_strangers_look_alike(venue: str) -> None:
    answers = [provoke(venue, situation)[2] for situation in STRANGERS if situation in EXPECTED[venue]]
    assert len({anonymous(answer) for answer in answers}) == 1
    assert field(answers[0], "tradeguard-code") == UNAUTHORIZED


@pytest.mark.parametrize(("venue", "situation"), TOLD)
def test_what_may_not_be_tried_again_is_not_and_what_may_is(venue: str, situation: str) -> None:
    """ccxt, and the bots on it, try an OperationFailed again."""
    table = EXPECTED[venue]
    again = is_kind(table[situation], "OperationFailed")
    if situation in ("rate", "maintenance", "outage"):
        assert again
    elif situation in (*STRANGERS, "permission", "network", "unmapped"):
        assert not again
    if situation in STRANGERS:
        assert table[situation] == "AuthenticationError"


def is_kind(name: str, kind: str) -> bool:
    ccxt: Any = import_module("ccxt")
    return issubclass(getattr(ccxt, name), getattr(ccxt, kind))


def faces() -> list[Face]:
    """What all refusals of the library show, each once."""
    for path in (_SOURCES).glob("*/*.py"):
        if "= register(" in path.read_text() and path.parent.name in ("core", "checks", "signing", "adapters"):
            import_module(f"tradeguard.{path.parent.name}.{path.stem}")
    return sorted({Denial(code, retry_after=1).face for code in catalogue()}, key=str)


def may_be_tried_again(face: Face) -> bool | None:
    """Whether a refusal goes away by itself, or by signing anew; None where clients may think what they like."""
    public, status, _, executed, _ = face
    if executed or status == 408:
        return None
    if public.startswith("freshness.") or public == "replay.late":
        return None  # where ccxt knows no clock that is off, it gives up
    return status in (418, 429) or (status >= 500 and status != 501)


@pytest.mark.parametrize("venue", [venue for venue in EXPECTED if VENUES[venue].client == LATEST])
def test_there_is_no_refusal_that_ccxt_does_not_understand_or_takes_for_another(venue: str) -> None:
    words: Refusal = dialect_of(venue).refuse
    method, parameters = VENUES[venue].calls["order"]
    wrong: list[Any] = []
    with recording() as recorder:
        key = credentials_of(venue)
        client = make_ccxt(venue, recorder.url, key.key_id, key.secret, key.passphrase)
        for face in faces():
            said = words.say(face)
            recorder.answer = Answer(said.status, json.dumps(said.body).encode())
            kinds = outcome_of("order", lambda: getattr(client, method)(dict(parameters)))["raised"]
            again = may_be_tried_again(face)
            if kinds[-1:] != ["BaseError"] or again not in (None, "OperationFailed" in kinds):
                wrong.append((face[:2], said, kinds))
    assert wrong == []


def test_every_venue_has_a_table_of_every_situation_it_can_be_in() -> None:
    assert sorted(EXPECTED) == sorted(VENUES)
    for venue, table in EXPECTED.items():
        row = dialect_of(venue)
        cannot = {"passphrase"} if not isinstance(row, Row) or row.passphrase is None else set[str]()
        cannot |= {"stale", "early"} if "time" not in row.coverage else set[str]()
        assert set(table) == {*SITUATIONS} - {"fine"} - cannot, venue


@pytest.mark.parametrize("venue", CLOCKS)
def test_ccxt_reads_our_clock(venue: str) -> None:
    """It is an hour ahead, so that no clock but ours can have been read."""
    with serving(venue, situation="stale", clock=CLOCKS[venue]) as served:
        (told, (before, after)) = timed(make_ccxt(venue, served.url, *keys(served)).fetch_time)
    assert before // 1000 * 1000 - 1000 <= told - 3_600_000 <= after + 1000


def timed(work: Callable[[], int]) -> tuple[int, tuple[int, int]]:
    before = time.time_ns() // 1_000_000
    return work(), (before, time.time_ns() // 1_000_000)


def keys(served: Served) -> tuple[str, str, str]:
    key = served.credentials
    return key.key_id, key.secret, key.passphrase


@pytest.mark.parametrize("venue", ADJUSTED)
def test_ccxt_signs_by_our_clock_once_it_is_told_to(venue: str) -> None:
    with serving(venue, situation="stale", clock=CLOCKS[venue]) as served:
        client = make_ccxt(venue, served.url, *keys(served))
        method, parameters = VENUES[venue].calls["order"]
        client.load_time_difference()
        getattr(client, method)(dict(parameters))
    assert served.answers[-1].status == 200
