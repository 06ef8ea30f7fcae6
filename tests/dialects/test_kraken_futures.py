"""Kraken Futures: parameters, nonce, path in one hash without separators; and the form without a nonce."""

import base64
import hashlib
from typing import Any

import pytest
from dialects.clocked import KEY_ID, ORDERS, Asked, Venue, by_hand, mac
from support import FORM, MS, NOW, SECOND

from tradeguard.core.decision import Denial
from tradeguard.signing.signer import Outgoing

MOUNT = b"/derivatives"
SEND = b"/api/v3/sendorder"
NONCE = b"1795000000000"
BARE = "kraken-futures-bare"
HOME = ("127.0.0.0/8",)
TARGET = MOUNT + SEND


def sign(text: bytes, nonce: bytes = NONCE, path: bytes = SEND, **sent: Any) -> Outgoing:
    """A message by the recipe, whose parameters go out in the query; `sent` says what goes out instead."""
    digest = hashlib.sha256(text + nonce + path).digest()
    headers = {b"apikey": KEY_ID.encode(), b"authent": base64.b64encode(mac(digest, "sha512"))}
    headers |= {b"nonce": nonce} if nonce else {}
    asked = Asked(MOUNT + path + (b"?" + text if text else b""))
    return by_hand(headers, asked)._replace(**sent)


def as_form(text: bytes) -> dict[str, bytes]:
    return {"target": TARGET, "content_type": FORM, "body": text}


def bare(**more: Any) -> Venue:
    path = {f"POST {TARGET.decode()}": "orders:write", "GET /derivatives/api/v3/accounts": "orders:read"}
    return Venue(BARE, operations=path, **more)


def test_parameters_stand_in_the_query_or_in_a_form() -> None:
    venue = Venue("kraken-futures")
    assert venue.send(sign(b"symbol=PF_XBTUSD")) == "granted"
    assert venue.send(sign(b"symbol=PF_XBTUSD", b"1795000000001", **as_form(b"symbol=PF_XBTUSD"))) == "granted"


def test_never_in_both() -> None:
    out = sign(b"symbol=PF_XBTUSD", content_type=FORM, body=b"symbol=PF_XBTUSD")
    assert Venue("kraken-futures").send(out) == "source.boundary"


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v3/sendorder",
        b"/derivatives/api/v4/sendorder",
        b"/derivatives/api/v3sendorder",
        b"/x/derivatives/api/v3/a",
    ],
)
def test_only_paths_below_the_mount_are_signed(target: bytes) -> None:
    assert Venue("kraken-futures").send(sign(b"a=1"), target=target + b"?a=1") == "source.boundary"


def test_the_mount_is_not_signed_so_nothing_else_may_stand_for_it() -> None:
    """Whoever signs /api/v3/api/v3/sendorder could be taken for one who signs a parameter and /api/v3/sendorder."""
    doubled = sign(b"", path=b"/api/v3" + SEND)
    assert Venue("kraken-futures").send(doubled, target=TARGET) == "signature.wrong"


@pytest.mark.parametrize("text", [b"note=/api/v3/cancelallorders", b"a=1/api/v3", b"/api/v3/x=1"])
def test_parameters_do_not_hold_what_ends_them(text: bytes) -> None:
    assert Venue("kraken-futures").send(sign(text, **as_form(text))) == "source.boundary"
    assert bare(networks=HOME).send(sign(text, b"", **as_form(text))) == "source.boundary"


def test_an_order_cannot_be_cut_down_to_another_path() -> None:
    """text + nonce + path is one text: what stands behind the first /api/v3 is the path, whoever reads it."""
    operations = {f"POST {TARGET.decode()}": "orders:write", "POST /derivatives/api/v3/cancelallorders": "orders:write"}
    venue = Venue("kraken-futures", operations=operations)
    path = b"/api/v3/cancelallorders"
    honest = sign(b"a=" + NONCE + path, **as_form(b"a=" + NONCE + path))
    assert venue.send(honest) == "source.boundary"
    shifted = sign(b"a=", path=path + NONCE + SEND, target=MOUNT + path + b"?a=")
    assert venue.send(shifted) == "signature.wrong"


def test_no_digit_moves_between_parameters_and_nonce() -> None:
    """Only where the digits before a nonce are the first of the time itself do both readings lie close together."""
    at = 1_795_321_795_328 * MS
    honest = sign(b"symbol=PF&size=179532", b"1795321795328")
    stolen = sign(b"symbol=PF&size=", b"1795321795321795328")
    assert dict(honest.headers)[b"authent"] == dict(stolen.headers)[b"authent"]
    for out in (honest, stolen, sign(b"symbol=PF&size=9179532", b"1795321795328")):
        assert Venue("kraken-futures", at=at).send(out) == "source.boundary"
    for size in (b"179531", b"17953", b"9"):
        assert Venue("kraken-futures", at=at).send(sign(b"size=" + size, b"1795321795328")) == "granted"


def test_a_query_moved_into_a_form_is_the_same_message_and_is_used_once() -> None:
    venue = Venue("kraken-futures")
    out = sign(b"symbol=PF_XBTUSD")
    assert venue.send(out) == "granted"
    assert venue.send(out, **as_form(b"symbol=PF_XBTUSD")) == "replay.behind"


# --- without a nonce -------------------------------------------------------------------------------------------------


def test_a_bare_key_without_networks_is_of_no_use() -> None:
    assert bare().send(sign(b"a=1", b"")) == "signature.unbound"
    assert bare(networks=("203.0.113.0/24",)).send(sign(b"a=1", b"")) == "network.outside"
    assert bare(networks=HOME).send(sign(b"a=1", b"")) == "granted"


def test_an_equal_order_within_a_day_is_refused_and_names_the_first() -> None:
    venue = bare(networks=HOME)
    out = sign(b"symbol=PF_XBTUSD&size=1", b"")
    first = venue.request(out)
    assert not isinstance(venue.decide(first), Denial)
    for later in (0, SECOND, 86_399 * SECOND):
        venue.clock.at = NOW + later
        again = venue.decide(venue.request(out))
        assert isinstance(again, Denial)
        assert (again.code, again.members) == ("replay.seen", {"first_request_id": first.id})
    assert venue.send(sign(b"symbol=PF_XBTUSD&size=1&cliOrdId=2", b"")) == "granted"


def test_after_a_day_it_is_good_again_which_is_why_its_key_is_held_to_networks() -> None:
    venue = bare(networks=HOME)
    out = sign(b"symbol=PF_XBTUSD&size=1", b"")
    assert venue.send(out) == "granted"
    venue.clock.at = NOW + 86_400 * SECOND
    assert venue.send(out) == "granted"
    venue.clock.at = NOW + 2 * 86_400 * SECOND
    assert venue.send(out, address="203.0.113.5") == "network.outside"


def test_equal_reads_are_honest() -> None:
    venue, read = bare(networks=HOME), sign(b"", b"", path=b"/api/v3/accounts", method="GET")
    assert [venue.send(read) for _ in range(3)] == ["granted"] * 3


def test_both_forms_live_side_by_side_and_a_key_has_one_of_them() -> None:
    both = ("kraken-futures", BARE)
    venue = Venue(*both)
    assert venue.send(sign(b"a=1")) == "granted"
    assert venue.send(sign(b"a=1", b"")) == "signature.mismatch"
    other = Venue(BARE, "kraken-futures", networks=HOME, operations={f"POST {TARGET.decode()}": "orders:write"})
    assert other.send(sign(b"a=1", b"")) == "granted"
    assert other.send(sign(b"a=1")) == "signature.wrong"
    assert ORDERS["kraken-futures"].target.startswith(TARGET)


def test_a_nonce_cannot_be_taken_off_a_message() -> None:
    """Then it would be one of the other form, whose text has no nonce."""
    venue = Venue(BARE, "kraken-futures", networks=HOME, operations={f"POST {TARGET.decode()}": "orders:write"})
    out = sign(b"a=1")
    stripped = out._replace(headers=tuple(field for field in out.headers if field[0] != b"nonce"))
    assert venue.send(stripped) == "signature.wrong"
    folded = stripped._replace(target=TARGET + b"?a=1" + NONCE)  # but as the end of a parameter it is signed
    assert venue.send(folded) == "granted"
    assert Venue("kraken-futures", BARE).send(folded) == "signature.mismatch"
