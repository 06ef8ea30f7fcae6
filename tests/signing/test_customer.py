"""The venue's authentication page: its example is what the real guard grants, its tables are what the guard has."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import OPERATIONS, StillClock, catalogue, make_checks, make_guard, make_request

from tradeguard.backends.memory import MemoryKeys
from tradeguard.core.decision import Decision, Denial, Entry, Grant
from tradeguard.core.drive import drive
from tradeguard.core.key import KeyRecord, Material
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.request import Request
from tradeguard.signing.customer import EXAMPLE_AT, EXAMPLE_KEY, EXAMPLE_SECRET, EXAMPLE_SEED, Venue, write_page
from tradeguard.signing.material import ED25519, HMAC_SHA256, Ed25519, Hmac
from tradeguard.signing.row import Row
from tradeguard.signing.rows import BINANCE, TG1

MATERIAL: dict[str, Material] = {
    HMAC_SHA256: Hmac(EXAMPLE_SECRET),
    ED25519: Ed25519(Ed25519PrivateKey.from_private_bytes(EXAMPLE_SEED).public_key().public_bytes_raw()),
}
MAPS: dict[str, Mapping[str, Any]] = {
    "orders": OPERATIONS,
    "a read": {"GET /v1/orders/{id}": "orders:read"},
    "a delete": {"GET /v1/time": {"lane": "public"}, "DELETE /v1/*/all/**": "orders:cancel"},
    "an OPTIONS": {"OPTIONS /v1/orders": "orders:read"},
    "no ASCII": {"PUT /v1/börse|x": "orders:write"},
}
every_row = pytest.mark.parametrize(
    ("row", "algorithm"),
    [(TG1, HMAC_SHA256), (TG1, ED25519), (BINANCE, HMAC_SHA256)],
    ids=lambda value: str(value)[:12],
)


def make_venue(operations: Mapping[str, Any] = OPERATIONS, **other: Any) -> Venue:
    known: dict[str, Any] = {"rows": (TG1, BINANCE), "policy": Policy(), "authority": "api.example"}
    return Venue(**{**known, "operations": Operations(operations).all, "catalogue": catalogue().values(), **other})


def section(page: str, title: str) -> str:
    """What stands under a heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The rows of a table, its head left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def example(page: str, row: Row, algorithm: str) -> tuple[str, str]:
    """The signed text and the request of the worked example, as a reader copies them."""
    part = section(page, f"Example: `{row.name}` with {algorithm}")
    [text] = re.findall(r"```text\n(.*?)\n```", part, re.DOTALL)
    [request] = re.findall(r"```http\n(.*?)\n```", part, re.DOTALL)
    return text, request


def parse(request: str) -> Request:
    head, _, body = request.partition("\n\n")
    first, *lines = head.split("\n")
    method, target, _ = first.split(" ")
    fields = [(name.lower().encode(), value.encode()) for name, _, value in (line.partition(": ") for line in lines)]
    path = unquote(target.partition("?")[0])
    return make_request(method, target.encode(), body=body.encode(), headers=fields, path=path, arrived=EXAMPLE_AT)


def decide(request: str, row: Row, algorithm: str, operations: Mapping[str, Any]) -> Decision:
    """Let the whole guard decide, at the time of the example."""
    key = KeyRecord(id=EXAMPLE_KEY, dialect=row.name, material=MATERIAL[algorithm], scopes={"orders:*"})
    checks = make_checks(MemoryKeys([key]))
    guard = make_guard(checks, operations=Operations(operations), runtime=StillClock(EXAMPLE_AT))
    decision: Decision = drive(guard.admit(parse(request)))
    return decision


@every_row
@pytest.mark.parametrize("operations", MAPS.values(), ids=MAPS)
def test_the_worked_example_is_granted_by_the_real_guard(
    row: Row, algorithm: str, operations: Mapping[str, Any]
) -> None:
    _, request = example(write_page(make_venue(operations)), row, algorithm)
    assert isinstance(decide(request, row, algorithm, operations), Grant)


@every_row
def test_the_worked_example_with_one_letter_changed_is_refused(row: Row, algorithm: str) -> None:
    _, request = example(write_page(make_venue()), row, algorithm)
    decision = decide(request.replace("BTC", "ETC"), row, algorithm, OPERATIONS)
    assert isinstance(decision, Denial)
    assert decision.code == "signature.wrong"


@every_row
@pytest.mark.parametrize("operations", MAPS.values(), ids=MAPS)
def test_the_signed_text_of_the_example_is_the_one_that_verifies(
    row: Row, algorithm: str, operations: Mapping[str, Any]
) -> None:
    text, request = example(write_page(make_venue(operations)), row, algorithm)
    [signature] = re.findall(r"signature[:=] ?([\w-]+)", request)
    raw = bytes.fromhex(signature) if row is BINANCE else _from_base64url(signature)
    assert drive(MATERIAL[algorithm].verify(text.encode(), raw))


def _from_base64url(text: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_each_line_of_the_signed_text_is_described_in_its_place() -> None:
    page = write_page(make_venue())
    text, _ = example(page, TG1, HMAC_SHA256)
    lines = [row[1] for row in rows(section(page, "Signing: `tg1`")) if row[0].isdigit()]
    assert len(lines) == len(text.split("\n")) == 9
    for content, word in zip(
        lines, ["algorithm", "key", "time", "nonce", "method", "host", "path", "Content-Type", "SHA-256"], strict=True
    ):
        assert word in content


def test_the_fields_are_where_the_row_has_them() -> None:
    page = write_page(make_venue())
    fields = {name: where for name, where, _ in rows(section(page, "Signing: `binance`"))}
    assert fields == {
        "key": "header `x-mbx-apikey`",
        "time": "parameter `timestamp`",
        "window": "parameter `recvWindow`",
        "signature": "parameter `signature`",
    }
    assert "header `tg-nonce`" in section(page, "Signing: `tg1`")


@pytest.mark.parametrize(("row", "says"), [(TG1, False), (BINANCE, True)])
def test_what_a_dialect_leaves_unprotected_is_said(row: Row, says: bool) -> None:
    part = section(write_page(make_venue()), f"Signing: `{row.name}`")
    assert ("does not cover method and path" in part) is says
    assert "5 s before and 1 s after" in part
    assert ("nonce is used once" in part) is (row is TG1)


def test_every_operation_stands_with_its_scopes_and_lane() -> None:
    page = write_page(make_venue({**OPERATIONS, **MAPS["no ASCII"]}, prefix="/api"))
    known = {(method.strip("`"), path.strip("`")): rest for method, path, *rest in rows(section(page, "Operations"))}
    assert known["GET", "/api/v1/time"] == ["none: public, a signature is not needed", "public"]
    assert known["POST", "/api/v1/withdraw"] == ["`funds:withdraw`", "funds"]
    assert known["PUT", "/api/v1/börse|x"] == ["`orders:write`", "order"]
    assert len(known) == len(OPERATIONS) + 1


def test_every_public_code_stands_once_with_its_status_and_what_was_done() -> None:
    table = rows(section(write_page(make_venue()), "Errors"))
    executed = {False: "no", "unknown": "unknown"}
    expected = {(str(e.status), f"`{e.public}`", executed[e.executed], e.text) for e in catalogue().values()}
    assert {tuple(row) for row in table} == expected
    assert len(table) == len(expected)
    assert not any("signature.wrong" in cell for row in table for cell in row)


def test_what_a_dialect_says_in_its_own_words_is_what_it_sends() -> None:
    refusal = BINANCE.refuse
    assert refusal is not None
    page = write_page(make_venue())
    table = {name.strip("`"): rest for name, *rest in rows(section(page, "Errors: `binance`"))}
    assert set(table) == {entry.public for entry in catalogue().values()}
    for entry in catalogue().values():
        body, status = refusal.say((entry.public, entry.status, entry.text, entry.executed, None))
        assert table[entry.public][0] == str(status)
        assert json.loads(table[entry.public][1].strip("`")) == body
    assert "-1022" in table["unauthorized"][1]
    assert "Errors: `tg1`" not in page


def test_a_code_of_the_venues_own_is_on_the_page() -> None:
    own = Entry("hours.closed", "hours.closed", 403, "The market is | closed.", "", False)
    table = rows(section(write_page(make_venue(catalogue=[own])), "Errors"))
    assert table == [["403", "`hours.closed`", "no", "The market is | closed."]]


def test_the_hint_for_operators_is_not_shown_to_customers() -> None:
    page = write_page(make_venue())
    assert [entry.code for entry in catalogue().values() if len(entry.hint) > 40 and entry.hint in page] == []


def test_the_limits_are_those_of_the_policy() -> None:
    policy = Policy(body_bytes=1234, head_bytes=2345, head_fields=17, target_bytes=3456, body_seconds=4.5)
    limits = section(write_page(make_venue(policy=policy)), "Limits")
    for value in ("1234 bytes", "2345 bytes", "17,", "3456 bytes", "4.5 s"):
        assert value in limits


def test_only_the_dialects_of_the_venue_are_described() -> None:
    page = write_page(make_venue(rows=(TG1,)))
    assert "binance" not in page
    assert "x-mbx" not in page


def test_a_venue_with_nothing_but_public_operations_has_a_page() -> None:
    assert "GET /?limit=10 HTTP/1.1" in write_page(make_venue({"GET /v1/time": {"lane": "public"}}))


def test_the_page_is_the_same_each_time() -> None:
    assert write_page(make_venue()) == write_page(make_venue())
