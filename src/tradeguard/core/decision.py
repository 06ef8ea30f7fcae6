"""What the guard decides: Grant or Denial; and the catalogue of every denial there is.

The code of a denial is `<file>.<reason>`: the file that registers it is the file that issues it. Before the proof all
denials that depend on who is asking look alike from outside (`unproven`): one status, one public code, one text.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tradeguard.core.conditions import Charge
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.principal import Principal
from tradeguard.core.receipt import make_receipt

if TYPE_CHECKING:
    from tradeguard.core.policy import Operation

Member = str | int | Sequence[str]
_NONE: Final[Mapping[str, Member]] = MappingProxyType({})
Executed = Literal[False, "unknown"]
Face = tuple[str, int, str, Executed, int | None]
UNAUTHORIZED: Final = "unauthorized"
_UNAUTHORIZED_TEXT: Final = "The request is not signed by a known key, or its signature does not verify."


class Entry(NamedTuple):
    """A row of the catalogue. `public`, `status` and `text` are for the caller, `hint` is the operator's cure.

    `executed` tells a caller whether the operation may have been carried out: never (False), or "unknown".
    """

    code: str
    public: str
    status: int
    text: str
    hint: str
    executed: Executed


_catalogue: dict[str, Entry] = {}
CATALOGUE: Final[Mapping[str, Entry]] = MappingProxyType(_catalogue)


def register(
    code: str,
    *,
    hint: str,
    status: int = 401,
    text: str = _UNAUTHORIZED_TEXT,
    unproven: bool = False,
    executed: Executed = False,
) -> str:
    """Enter a denial into the catalogue and return its code; a custom check does this once, at import.

    Args:
        code: `<file>.<reason>`.
        hint: what the operator should look at.
        status: the HTTP status, 400 to 599.
        text: one sentence for the caller; it must not tell what the caller may not know.
        unproven: issued before the proof: the one 401 that all such denials share.
        executed: whether the operation may have been carried out.

    Raises:
        ConfigError: the code is malformed or taken, or the status is not one of a refusal.
    """
    file, _, reason = code.partition(".")
    if not (file.isidentifier() and reason.isidentifier()):
        raise ConfigError(f"{code!r} is no denial code; write <file>.<reason>, for example 'hours.closed'")
    if not 400 <= status <= 599:
        raise ConfigError(f"denial {code}: status {status} is no refusal; use 400 to 599")
    public = UNAUTHORIZED if unproven else code
    entry = Entry(code, public, status, text, hint, executed)
    if _catalogue.setdefault(code, entry) != entry:
        raise ConfigError(f"denial {code} is registered already, with another meaning")
    return code


class Denial:
    """A refusal. The catalogue knows its status and texts; what is given here belongs to the one request.

    Args:
        code: a registered code, or one of your own together with `status`.
        status: only for a code that is not registered.
        retry_after: seconds until it makes sense to ask again.
        detail: for the journal only.
        members: further public members of the answer (RFC 9457, 3.2), such as the time of the server.
        executed: overrides the catalogue's word on whether the operation may have been carried out.

    Raises:
        ConfigError: an unknown code without a status, or a status for a known one.
    """

    __slots__ = ("code", "detail", "executed", "members", "public", "retry_after", "status", "text")

    def __init__(
        self,
        code: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        detail: str = "",
        members: Mapping[str, Member] = _NONE,
        executed: Executed | None = None,
    ) -> None:
        entry = _catalogue.get(code)
        if entry is None and status is not None and 400 <= status <= 599:
            entry = Entry(code, code, status, "The operator's own rule refuses this request.", "", False)
        elif entry is None or status is not None:
            raise ConfigError(f"Denial({code!r}): register the code, or give an own code a status of 400 to 599")
        self.code, self.public, self.status, self.text = code, entry.public, entry.status, entry.text
        self.executed: Executed = entry.executed if executed is None else executed
        self.retry_after, self.detail, self.members = retry_after, detail, members

    @property
    def face(self) -> "Face":
        """What all denials of this kind show to the caller alike."""
        return self.public, self.status, self.text, self.executed, self.retry_after

    def veil(self) -> "Denial":
        """Return the denial as a stranger may see it: unchanged if its face is the one 401, else with that face."""
        if self.public == UNAUTHORIZED:
            return self
        veiled = copy(self)
        veiled.public, veiled.status, veiled.text = UNAUTHORIZED, 401, _UNAUTHORIZED_TEXT
        veiled.executed, veiled.retry_after, veiled.members = False, None, _NONE
        return veiled

    def __repr__(self) -> str:
        return f"Denial({self.code!r}, status={self.status})"


class Refused(Exception):
    """An expected refusal on its way up from deep inside a parser.

    Args:
        denial: what to answer.
    """

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.code)
        self.denial = denial


Vouch = Callable[[Principal], Coroutine[Any, Any, Denial | None]]


class Grant:
    """The request may pass. The host finds it beside the request. `operation` is the row of the map that it matched.

    `principal` is None on a public operation that was asked for without a signature, and where `coexists` says that
    the host's own authentication decides. `shadow` are denials of checks that only watch. `charges` are what it took
    from quotas.
    """

    __slots__ = ("_recheck", "_vouch", "charges", "operation", "principal", "request_id", "shadow")

    def __init__(
        self,
        request_id: str,
        principal: Principal | None,
        recheck: Callable[[], Denial | None],
        *,
        operation: "Operation | None" = None,
        vouch: Vouch | None = None,
        shadow: Sequence[Denial] = (),
        charges: Sequence[Charge] = (),
    ) -> None:
        self.request_id, self.principal, self._recheck = request_id, principal, recheck
        self.operation, self._vouch, self.shadow = operation, vouch, tuple(shadow)
        self.charges = tuple(charges)

    @property
    def receipt(self) -> str:
        """What the request took from quotas, in one line: kept with an order, it gives units back when that is filled.

        See `Guard.refund`.
        """
        return make_receipt(self.charges)

    @property
    def coexists(self) -> bool:
        """Whether the request carries no credential of ours and its operation leaves it to the host."""
        return self._vouch is not None

    async def vouch(self, principal: Principal) -> Denial | None:
        """Say who the host's own authentication found, before the handler acts.

        Args:
            principal: made by the host; `kind` "host", the scopes and networks that it may use.

        Returns:
            None where it may pass: it is judged by scope, network and the host's checks, and on record. Else why not:
            the handler answers with it and does nothing.

        Raises:
            ConfigError: the request was proved by a key, so there is nothing to vouch for.
        """
        if self._vouch is None:
            raise ConfigError("this request was proved, or is public; the host vouches where `coexist` leaves it to it")
        denial = await self._vouch(principal)
        if denial is None:
            self.principal = principal
        return denial

    def vouch_now(self, principal: Principal) -> Denial | None:
        """Do what `vouch` does, in a host without an event loop."""
        return drive(self.vouch(principal))

    def recheck(self) -> Denial | None:
        """Ask again, at once and from this node's own memory, just before an order is handed on.

        Returns:
            None while the grant still stands, else why it no longer does: an order that waited in a queue must not
            outlive its key.
        """
        return self._recheck()


Decision = Grant | Denial
