"""From where this key may be used: v4-mapped addresses are v4, and an address that is not known matches no list."""

import pytest
from conftest import Run
from support import HOME, SECRET, TRADER, make_guard, make_request, sign

from tradeguard.backends.memory import MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.key import KeyRecord
from tradeguard.core.request import Peer
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer


def _from(run: Run, address: str | None) -> str:
    decision = run(make_guard().admit(sign(HOME, "POST", b"/v1/orders", address=address)))
    return "granted" if isinstance(decision, Grant) else f"{decision.code} {decision.members['address']}"


@pytest.mark.parametrize(
    "address",
    [
        "203.0.113.0", "203.0.113.9", "203.0.113.255", "::ffff:203.0.113.9", "::FFFF:CB00:7109", "2001:db8::",
        "2001:db8:0:ffff:ffff:ffff:ffff:ffff", "2001:DB8::1",
    ],
)  # fmt: skip
def test_an_address_in_the_list_passes(address: str, run: Run) -> None:
    assert _from(run, address) == "granted"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.112.255", "203.0.112.255"),
        ("203.0.114.0", "203.0.114.0"),
        ("::ffff:203.0.114.1", "203.0.114.1"),
        ("2001:db8:1::", "2001:db8:1::"),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("::203.0.113.9", "::cb00:7109"),
        ("64:ff9b::203.0.113.9", "64:ff9b::cb00:7109"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:db8::1%eth0", "unknown"),
        ("2001:db8::1%", "unknown"),
        ("::ffff:203.0.113.9%1", "unknown"),
        ("203.0.113.009", "unknown"),
        ("203.0.113.9:80", "unknown"),
        (" 203.0.113.9", "unknown"),
        ("[2001:db8::1]", "unknown"),
        ("unix:", "unknown"),
        ("testclient", "unknown"),
        ("3405803785", "unknown"),
        ("0xcb007109", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_outside_the_list_is_refused_and_shown(address: str | None, shown: str, run: Run) -> None:
    assert _from(run, address) == f"network.outside {shown}"


def test_the_refusal_is_a_403_after_the_proof(run: Run) -> None:
    decision = run(make_guard().admit(sign(HOME, "POST", b"/v1/orders", address="198.51.100.1")))
    assert isinstance(decision, Denial)
    assert (decision.status, decision.executed) == (403, False)
    forged = run(make_guard().admit(sign(Signer(TG1, "home", SECRET), "POST", b"/v1/orders", address="198.51.100.1")))
    assert forged.public == "unauthorized"


@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8::1", None])
def test_a_key_without_a_list_may_be_used_from_anywhere(address: str | None, run: Run) -> None:
    assert isinstance(run(make_guard().admit(sign(TRADER, address=address))), Grant)


@pytest.mark.parametrize(
    ("networks", "address", "granted"),
    [
        (["::ffff:203.0.113.0/120"], "203.0.113.9", True),
        (["::ffff:203.0.113.0/120"], "203.0.114.9", False),
        (["::ffff:0:0/96"], "8.8.8.8", True),
        (["::/0"], "8.8.8.8", False),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["0.0.0.0/0"], "::ffff:8.8.8.8", True),
        (["0.0.0.0/0", "::/0"], None, False),
        (["203.0.113.9"], "203.0.113.9", True),
        (["203.0.113.9"], "203.0.113.8", False),
        (["203.0.113.8/32", "2001:db8::1/128"], "2001:db8::1", True),
    ],
)
def test_a_list_means_exactly_its_networks(networks: list[str], address: str | None, granted: bool, run: Run) -> None:
    record = KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), scopes={"orders:read"}, networks=networks)
    checks = [Signature(MemoryKeys([record])), Freshness(), Network(), Scope(), Replay()]
    assert isinstance(run(make_guard(checks).admit(sign(TRADER, address=address))), Grant) == granted


def test_an_address_that_a_server_put_in_place_matches_no_list(run: Run) -> None:
    request = sign(HOME, "POST", b"/v1/orders")
    request.peer = Peer(None, rewritten="203.0.113.9")
    decision = run(make_guard().admit(request))
    assert (decision.code, decision.members) == ("network.outside", {"address": "unknown"})


def test_what_is_not_signed_is_held_to_no_list(run: Run) -> None:
    assert run(Network()(make_request())) is None
