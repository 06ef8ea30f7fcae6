"""How a dialect's own clients are refused: in the venue's words, and strangers always in the same ones."""

import json
from dataclasses import replace
from typing import Any

import pytest
from conftest import Run
from support import BINA, FORM, NOW, SECOND, TRADER, catalogue, make_checks, make_guard, make_keys, make_request, sign

from tradeguard.adapters.answer import Answer, refuse, shape_of
from tradeguard.checks.source import Source
from tradeguard.core.credential import Claim
from tradeguard.core.decision import UNAUTHORIZED, Denial
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.core.request import Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.rows import BINANCE, ROWS, TG1
from tradeguard.signing.signer import Signer
from tradeguard.signing.verifier import Verifier

ID = "0" * 31 + "1"
READERS = make_guard().dialects


def told(denial: Denial) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    answer = refuse(denial, ID, challenge="TG1", shape=BINANCE)
    fields = dict(answer.fields)
    assert fields[b"content-length"] == b"%d" % len(answer.body)
    return answer.status, fields, json.loads(answer.body)


@pytest.mark.parametrize(
    ("code", "status", "number"),
    [
        ("signature.wrong", 401, -1022),
        ("proof.unclaimed", 401, -1022),
        ("freshness.stale", 400, -1021),
        ("freshness.early", 400, -1021),
        ("replay.late", 400, -1021),
        ("replay.seen", 400, -2010),
        ("scope.missing", 403, -1002),
        ("network.outside", 403, -1002),
        ("guard.unmapped", 404, -1020),
        ("frame.path", 400, -1130),
        ("frame.body", 413, -1130),
        ("frame.method", 501, -1020),
        ("body.slow", 408, 0),
        ("source.pair", 429, -1003),
        ("outage.down", 503, 0),
        ("replay.full", 503, 0),
        ("commit.unsure", 503, -1007),
        ("commit.barrier", 503, -1007),
    ],
)
def test_a_refusal_is_said_as_binance_says_it(code: str, status: int, number: int) -> None:
    got, fields, body = told(Denial(code, retry_after=3))
    assert (got, body["code"], fields[b"content-type"]) == (status, number, b"application/json;charset=UTF-8")
    assert isinstance(body["msg"], str)
    assert (fields[b"retry-after"], fields[b"x-request-id"]) == (b"3", ID.encode())
    assert fields[b"tradeguard-code"].decode() == catalogue()[code].public
    assert (b"www-authenticate" in fields) is (got == 401)


def test_whatever_may_have_been_executed_says_so_and_nothing_else_does() -> None:
    for code, entry in catalogue().items():
        assert ("executed" in told(Denial(code))[2]) is (entry.executed == "unknown"), code
    status, _, body = told(Denial("outage.suspended", executed="unknown"))
    assert (status, body["code"], body["executed"]) == (503, -1007, "unknown")


@pytest.mark.parametrize(("status", "number"), [(400, -1130), (409, -1130), (418, -1003), (500, 0), (599, 0)])
def test_a_custom_check_is_understood_by_its_status(status: int, number: int) -> None:
    got, fields, body = told(Denial("elsewhere.closed", status=status))
    assert (got, body["code"], fields[b"tradeguard-code"]) == (status, number, b"elsewhere.closed")


def test_what_helps_a_proved_client_stands_beside_the_words_of_the_venue() -> None:
    body = told(Denial("freshness.stale", members={"server_time": 7, "offset_ms": -9}))[2]
    assert body == {
        "code": -1021,
        "msg": "Timestamp for this request is outside of the recvWindow.",
        "request_id": ID,
        "server_time": 7,
        "offset_ms": -9,
    }


def test_a_row_without_words_of_its_own_answers_with_problem_json() -> None:
    plain = refuse(Denial("scope.missing"), ID, challenge="")
    assert refuse(Denial("scope.missing"), ID, challenge="", shape=TG1) == plain
    assert dict(plain.fields)[b"content-type"] == b"application/problem+json"


# --- strangers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [None, *ROWS.values()], ids=lambda shape: shape.name if shape else "none")
def test_all_that_is_unproven_is_one_and_the_same_answer_but_for_the_id(shape: Any) -> None:
    unproven = [code for code, entry in catalogue().items() if entry.public == UNAUTHORIZED]
    assert len(unproven) > 10
    denials = [Denial(code, detail="who") for code in unproven]
    veiled = [Denial(code, members={"who": "x"}, retry_after=1).veil() for code in ("scope.missing", "commit.unsure")]
    answers = {_plain(refuse(d, ID, challenge="c", shape=shape)) for d in (*denials, *veiled)}
    assert len(answers) == 1


def _plain(answer: Answer) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    return answer.status, tuple(answer.fields), answer.body


def test_a_guarded_venue_tells_strangers_of_a_dialect_the_same_whatever_is_wrong(run: Run) -> None:
    gone = b"gone" * 8
    record = KeyRecord(id="gone", dialect="binance", material=Hmac(gone), scopes={"orders:read"}, state="revoked")
    keys = make_keys()
    keys.put_now(record)
    guard = make_guard([Source(pair=99, address=99), *make_checks(keys)[1:]])
    attempts = [
        sign(Signer(BINANCE, "bina", b"wrong" * 9), "GET", b"/v1/orders"),
        sign(Signer(BINANCE, "nobody", b"wrong" * 9), "GET", b"/v1/orders"),
        sign(Signer(BINANCE, "gone", gone), "GET", b"/v1/orders"),
        sign(Signer(BINANCE, "trader", b"wrong" * 9), "GET", b"/v1/orders"),
        make_request("GET", b"/v1/orders", headers=[(b"x-mbx-apikey", b"bina")]),
        make_request("GET", b"/v1/orders?timestamp=1&signature=zz", headers=[(b"x-mbx-apikey", b"no key id!")]),
        make_request("GET", b"/v1/orders"),
        make_request("GET", b"/v1/nowhere"),
    ]
    answers, codes = set(), set()
    for request in attempts:
        denial = run(guard.admit(request))
        assert isinstance(denial, Denial)
        codes.add(denial.code)
        shape = shape_of(request, "binance", READERS)
        answers.add(_plain(refuse(denial, ID, challenge=guard.challenge, shape=shape)))
    assert len(codes) >= 5
    assert len(answers) == 1


# --- which shape ---------------------------------------------------------------------------------------------------


def _admitted(run: Run, request: Request) -> Request:
    run(make_guard().admit(request))
    return request


@pytest.mark.parametrize(
    ("request_", "default", "name"),
    [
        pytest.param(lambda: sign(BINA, "GET", b"/v1/orders"), "", "binance", id="signed"),
        pytest.param(lambda: sign(TRADER), "binance", "tg1", id="signed otherwise than the default"),
        pytest.param(make_request, "", None, id="unsigned"),
        pytest.param(make_request, "binance", "binance", id="unsigned at a venue of the dialect"),
        pytest.param(lambda: make_request(headers=[(b"x-mbx-apikey", b"?")]), "", "binance", id="malformed"),
        pytest.param(lambda: make_request(headers=[(b"x-mbx-apikey", b"a")] * 2), "", "binance", id="twice"),
        pytest.param(
            lambda: make_request("GET", b"/a//b", headers=[(b"x-mbx-apikey", b"a")]), "", "binance", id="malformed path"
        ),
        pytest.param(
            lambda: make_request(headers=[(b"x-mbx-apikey", b"a"), (b"tg-key", b"a")]), "", None, id="of two dialects"
        ),
    ],
)
def test_the_shape_is_that_of_the_dialect_which_the_request_speaks(
    run: Run, request_: Any, default: str, name: str | None
) -> None:
    shape = shape_of(_admitted(run, request_()), default, READERS)
    assert (shape.name if shape is not None else None) == name


def test_at_the_door_there_is_only_the_default() -> None:
    assert shape_of(None, "", READERS) is None
    assert shape_of(None, "binance", {}) is BINANCE


def test_a_claim_of_another_proof_gets_the_default() -> None:
    request = make_request(headers=[(b"authorization", b"Bearer x")])
    request.claim = Claim("bearer", "x")
    assert shape_of(request, "", READERS) is None
    assert shape_of(request, "binance", READERS) is BINANCE


def test_a_row_of_ones_own_is_answered_in_its_own_words(run: Run) -> None:
    ours = Refusal(
        media_type="application/json",
        codes={UNAUTHORIZED: Said({"error": ["EAPI:Invalid key"]}, 200)},
        unknown=Said({"error": ["EService:Unknown"]}),
        rejected=Said({"error": ["EGeneral:Invalid arguments"]}),
        down=Said({"error": ["EService:Unavailable"]}),
    )
    row = replace(BINANCE, name="kraken", refuse=ours)
    request = make_request(headers=[(b"x-mbx-apikey", b"a")])
    shape = shape_of(request, "", {"kraken": Verifier(row)})
    answer = refuse(Denial("signature.wrong"), ID, challenge="c", shape=shape)
    assert (answer.status, json.loads(answer.body)) == (200, {"error": ["EAPI:Invalid key"], "request_id": ID})
    assert refuse(Denial("scope.missing"), ID, challenge="c", shape=shape).status == 403


def test_a_refusal_that_says_nothing_to_strangers_is_refused() -> None:
    nothing = Said({})
    with pytest.raises(ConfigError, match="strangers"):
        Refusal(media_type="application/json", codes={}, unknown=nothing, rejected=nothing, down=nothing)


def test_nothing_of_a_default_that_is_no_row_is_guessed() -> None:
    assert shape_of(None, "bianance", READERS) is None


def test_a_form_of_the_dialect_is_answered_in_its_shape(run: Run) -> None:
    request = sign(BINA, "POST", b"/v1/orders", body=b"symbol=A", content_type=FORM, at=NOW - 9 * SECOND)
    denial = run(make_guard().admit(request))
    body = json.loads(refuse(denial, ID, challenge="", shape=shape_of(request, "", READERS)).body)
    assert (body["code"], body["offset_ms"]) == (-1021, -9_000)
