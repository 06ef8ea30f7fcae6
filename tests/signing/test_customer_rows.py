"""The page for each dialect: its example is granted, its signed text is what is signed, its words are the row's."""

import hashlib
import hmac
import os
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from clients.dialects import CASES, make_guard, path_of
from signing.test_customer import make_venue, parse, rows, section
from support import StillClock

from tradeguard.core.decision import Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.customer import CCXT, EXAMPLE_AT, EXAMPLE_PHRASE, EXAMPLE_SECRET, write_page
from tradeguard.signing.encoding import SPELLINGS
from tradeguard.signing.example import example_secret
from tradeguard.signing.material import HMACS
from tradeguard.signing.row import REQUIRED_COVERAGE, Row
from tradeguard.signing.rows import ROWS

ROW_CASES = [(row, algorithm) for row, algorithm in CASES if isinstance(row, Row)]
every_case = pytest.mark.parametrize(("row", "algorithm"), ROW_CASES, ids=lambda value: getattr(value, "name", value))
ccxt: Any = import_module("ccxt")
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
SHOWN: dict[str, Callable[[str], bytes]] = {  # those whose text has bytes of a hash in it, made by hand
    "kraken": lambda hashed: b"/v1/order" + hashlib.sha256(hashed.encode()).digest(),
    "kraken-futures": lambda hashed: hashlib.sha256(hashed.encode()).digest(),
    "kraken-futures-bare": lambda hashed: hashlib.sha256(hashed.encode()).digest(),
}


def page_of(row: Any, *operations: str) -> str:
    """The page of a venue that speaks this dialect."""
    known = operations or (f"POST {path_of(row)}", f"GET {path_of(row)}/{{id}}")
    return write_page(make_venue(dict.fromkeys(known, "orders:write"), rows=(row,)))


def example_of(row: Row, algorithm: str, *operations: str) -> tuple[str, str]:
    """The worked example: what stands before the request, and the request."""
    part = section(page_of(row, *operations), f"Example: `{row.name}` with {algorithm}")
    before, _, after = part.partition("```http\n")
    return before, after.partition("\n```")[0]


def decide(row: Row, algorithm: str, request: str) -> Any:
    """What the whole guard says, at the time of the example."""
    return drive(make_guard(row, algorithm, runtime=StillClock(EXAMPLE_AT)).admit(parse(request)))


def signature_in(row: Row, request: str) -> re.Match[str]:
    """The signature of a request, with what stands before it."""
    found = re.search(rf'({row.signature.name.decode()}(?:": ?"|: |=))([A-Za-z0-9+/=%_-]+)', request)
    assert found is not None
    return found


@every_case
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_example_is_granted_by_the_real_guard_and_with_another_signature_it_is_not(
    row: Row, algorithm: str, method: str
) -> None:
    operation = f"{method} {path_of(row)}"
    page = page_of(row, operation)
    if "can be signed in this dialect" in page:
        assert method == "GET"
        assert "### Example" not in page
        return
    _, request = example_of(row, algorithm, operation)
    decision = decide(row, algorithm, request)
    assert isinstance(decision, Grant), decision
    found = signature_in(row, request)
    other = ("b" if found[2][0] != "b" else "c") + found[2][1:]
    decision = decide(row, algorithm, request.replace(found[0], found[1] + other))
    assert isinstance(decision, Denial)
    assert decision.code == "signature.wrong"


@every_row
def test_the_text_on_the_page_has_the_signature_on_the_page(row: Row) -> None:
    """With HMAC from the standard library, and nothing else of ours but the spelling."""
    algorithm = next(name for name in row.algorithms if name in HMACS)
    before, request = example_of(row, algorithm)
    if row.name in SHOWN:
        [hashed] = [line[1].strip("`") for line in rows(before) if line[0].startswith("hashed for")]
        text = SHOWN[row.name](hashed)
        [digest] = [line[1].strip("`") for line in rows(before) if line[0].endswith(", in hex")]
        assert text.hex().endswith(digest)
    else:
        [shown] = re.findall(r"```text\n(.*?)\n```", before, re.DOTALL)
        text = shown.encode()
    mac = hmac.digest(EXAMPLE_SECRET, text, algorithm.removeprefix("hmac-"))
    spelt = SPELLINGS[row.algorithms[algorithm]].encode(mac).decode()
    assert signature_in(row, request)[2].replace("%2B", "+").replace("%2F", "/").replace("%3D", "=") == spelt
    assert f"`{example_secret(row).decode()}`" in before
    assert (EXAMPLE_PHRASE in before) is (row.passphrase is not None)


@every_row
def test_the_page_says_what_the_row_has(row: Row) -> None:
    part = section(page_of(row), f"Signing: `{row.name}`")
    fields = {cells[0]: (cells[1], cells[2]) for cells in rows(part) if len(cells) == 3}
    for name, place in (("key", row.key), ("time", row.time), ("nonce", row.nonce), ("signature", row.signature)):
        assert (name in fields) is (place is not None)
        assert place is None or f"`{place.name.decode()}`" in fields[name][0]
    assert ("passphrase" in fields) is (row.passphrase is not None)
    assert ("is base64: the key of the HMAC" in part) is (row.secret == "base64")
    missing = " and ".join(sorted(REQUIRED_COVERAGE - row.coverage))
    assert (f"does not cover {missing}:" in part) is bool(missing)
    assert ("* there is no query\n" in part) is ("query" not in row.coverage)
    assert ("No time is signed" in part) is row.timeless
    assert ("until when the request is good" in part) is (row.lifetime > 0)
    if len(row.messages) > 1:
        assert "understood too" in part


@every_row
def test_refusals_are_told_in_the_words_of_the_venue(row: Row) -> None:
    page = page_of(row)
    assert (f"### Errors: `{row.name}`" in page) is (row.refuse is not None)
    if row.refuse is not None:
        told = {name.strip("`"): status for name, status, *_ in rows(section(page, f"Errors: `{row.name}`"))}
        assert told["unauthorized"] == str(row.refuse.codes["unauthorized"].status or 401)


@pytest.mark.parametrize("dialect", [*ROWS.values(), COINBASE_ADVANCED], ids=lambda dialect: dialect.name)
def test_how_ccxt_is_pointed_here_is_told_where_it_carries_the_exchange(
    dialect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of(dialect)
    assert (f"### ccxt: `{dialect.name}`" in page) is (dialect.name in CCXT)
    if dialect.name not in CCXT or CCXT[dialect.name] not in ccxt.exchanges:
        assert dialect.name in {"tg1", "kraken-futures", "bitmex"}
        return
    [program] = re.findall(r"```python\n(.*?)\n```", section(page, f"ccxt: `{dialect.name}`"), re.DOTALL)
    monkeypatch.setattr(os, "environ", {"API_KEY": "k", "API_SECRET": "c2VjcmV0", "API_PASSPHRASE": "p"})
    names: dict[str, Any] = {}
    exec(program, names)
    exchange = names["exchange"]
    assert exchange.id == CCXT[dialect.name]
    for url in _texts(exchange.urls["api"]):
        assert url.startswith("https://api.example")
    assert {*_texts(exchange.urls.get("hostnames", {}))} <= {"api.example"}


def _texts(value: Any) -> list[str]:
    return [text for inner in value.values() for text in _texts(inner)] if isinstance(value, dict) else [value]


def test_every_name_that_ccxt_has_is_a_dialect_of_ours() -> None:
    assert CCXT.keys() <= {*ROWS, COINBASE_ADVANCED.name}


def test_a_dialect_of_tokens_is_described_without_an_example() -> None:
    part = section(page_of(COINBASE_ADVANCED), "Signing: `coinbase-advanced`")
    assert "does not cover body and query" in part
    assert "`uri`" in part
    assert "### Example" not in part


def test_a_venue_that_a_dialect_cannot_sign_for_has_no_example() -> None:
    assert "so there is no example" in page_of(ROWS["cryptocom"], "POST /elsewhere")
    assert "so there is no example" in page_of(ROWS["kraken"], "GET /v1/order")
