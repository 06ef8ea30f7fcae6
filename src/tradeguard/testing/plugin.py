"""The pytest plugin: fixtures for whoever tests an API that tradeguard guards. It loads nothing until one is used.

    def test_an_order_needs_its_scope(tg_guard, tg_signer, tg_client):
        app = make_app(tg_guard({"POST /orders": "orders:write"}))
        client = tg_client(TestClient(app), tg_signer("orders:read"))
        assert_denied(client.post("/orders", json={}), "scope.missing")

There is no mark that turns the guard off: a test that needs one tests another program than the one that is shipped.
Sign the request instead, which is as short.
"""

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tradeguard.backends.memory import MemoryJournal, MemoryKeys
    from tradeguard.core.policy import Policy
    from tradeguard.signing.signer import Signer
    from tradeguard.testing.client import SignedClient
    from tradeguard.testing.still import StillClock, StillGuard


class MakeGuard(Protocol):
    """What `tg_guard` is."""

    def __call__(
        self,
        operations: "Mapping[str, Any]",
        *,
        keys: Any = None,
        also: "Iterable[object]" = (),
        checks: "Iterable[object] | None" = None,
        **parts: Any,
    ) -> "StillGuard":
        """Return a guard with every check in it.

        Args:
            operations: the rows of the map.
            keys: where keys are found; those of `tg_signer` by default.
            also: checks of one's own, behind the usual ones.
            checks: all checks, instead of the usual ones.
            parts: `state`, `journal`, `policy` or `without`, in place of the usual ones.
        """
        ...


class MakeSigner(Protocol):
    """What `tg_signer` is."""

    def __call__(self, *scopes: str, **fields: Any) -> "Signer":
        """Make a key with a random secret, known to the guards of the test; return what signs with it.

        Args:
            scopes: what it may do.
            fields: of its `KeyRecord`, such as networks=["203.0.113.0/24"] or state="revoked".
        """
        ...


class MakeClient(Protocol):
    """What `tg_client` is."""

    def __call__(self, client: Any, signer: "Signer | None" = None) -> "SignedClient":
        """Return what signs requests and sends them through the test client of Starlette, Flask or Django."""
        ...


class AssertDenied(Protocol):
    """What the fixture `assert_denied` is: the function of that name, which knows the journal of the test."""

    def __call__(self, response: object, code: str) -> None:
        """Raise `AssertionError` unless it is the refusal with this code."""
        ...


@pytest.fixture
def tg_clock() -> "StillClock":
    """A clock that stands still; `tg_clock.move(seconds=31)`."""
    from tradeguard.testing.still import StillClock

    return StillClock()


@pytest.fixture
def tg_journal() -> "MemoryJournal":
    """The journal of the test: `tg_journal.events`."""
    from tradeguard.backends.memory import MemoryJournal

    return MemoryJournal()


@pytest.fixture
def tg_policy() -> "Policy":
    """Limits and scopes of the guards; define a fixture of this name where scopes of your own are declared."""
    from tradeguard.core.policy import Policy

    return Policy()


@pytest.fixture
def tg_keys(tg_policy: "Policy") -> "MemoryKeys":
    """The keys of the test; `tg_signer` puts its own there."""
    from tradeguard.backends.memory import MemoryKeys

    return MemoryKeys(scopes=tg_policy.vocabulary)


@pytest.fixture
def tg_signer(tg_keys: "MemoryKeys") -> MakeSigner:
    """A factory of signers, each with a key of its own."""
    import secrets

    from tradeguard.core.key import KeyRecord
    from tradeguard.signing.material import Hmac
    from tradeguard.signing.rows import TG1
    from tradeguard.signing.signer import Signer
    from tradeguard.testing.loopback import only_here

    only_here()

    def make(*scopes: str, **fields: Any) -> Signer:
        secret = secrets.token_bytes(32)
        id = fields.pop("id", f"test-{secrets.token_hex(4)}")
        tg_keys.put_now(KeyRecord(id=id, dialect=TG1.name, material=Hmac(secret), scopes=scopes, **fields))
        return Signer(TG1, id, secret)

    return make


@pytest.fixture
def tg_guard(
    tg_keys: "MemoryKeys", tg_clock: "StillClock", tg_journal: "MemoryJournal", tg_policy: "Policy"
) -> MakeGuard:
    """A factory of guards over memory: every check, the still clock, the keys and the journal of the test."""
    from tradeguard.backends.memory import Memory
    from tradeguard.checks.freshness import Freshness
    from tradeguard.checks.network import Network
    from tradeguard.checks.replay import Replay
    from tradeguard.checks.scope import Scope
    from tradeguard.checks.signature import Signature
    from tradeguard.checks.source import Source
    from tradeguard.core.policy import Operations
    from tradeguard.testing.still import StillGuard

    def make(
        operations: "Mapping[str, Any]",
        *,
        keys: Any = None,
        also: "Iterable[object]" = (),
        checks: "Iterable[object] | None" = None,
        **parts: Any,
    ) -> StillGuard:
        proof = Signature(tg_keys if keys is None else keys)
        usual = [Source(), proof, Freshness(), Network(), Scope(), *also, Replay()]
        given = {"state": Memory(since=1), "journal": tg_journal, "policy": tg_policy, **parts}
        return StillGuard(
            usual if checks is None else list(checks), tg_clock, operations=Operations(operations), **given
        )

    return make


@pytest.fixture
def tg_client(tg_clock: "StillClock") -> MakeClient:
    """A factory of clients that sign by the still clock."""
    from tradeguard.testing.client import SignedClient

    return lambda client, signer=None: SignedClient(client, signer, tg_clock)


@pytest.fixture
def assert_denied(tg_journal: "MemoryJournal") -> AssertDenied:
    """`assert_denied(response, "replay.seen")`."""
    from tradeguard.testing.verdict import assert_denied

    return lambda response, code: assert_denied(response, code, tg_journal)
