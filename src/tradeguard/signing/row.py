"""Row: one dialect as data: what is signed, where its fields are, how it refuses. What it covers follows from that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from tradeguard.core.credential import Window
from tradeguard.core.errors import ConfigError
from tradeguard.signing.algorithm import signature_sizes
from tradeguard.signing.guards import BODIES, NO_QUERY, SAY_BODIES, Guard
from tradeguard.signing.message import Part, bare, flatten, read_message
from tradeguard.signing.place import AuthParam, Field, Header, Parameter, Payload, Place
from tradeguard.signing.refusal import Refusal
from tradeguard.signing.shift import Shape, find_guards, leans_on_time
from tradeguard.signing.stamp import STAMPS, Stamp, Unit

__all__ = ["REQUIRED_COVERAGE", "AuthParam", "Field", "Header", "Parameter", "Passphrase", "Payload", "Place", "Row"]

REQUIRED_COVERAGE: Final = frozenset({"method", "path", "query", "body", "time"})
"""What a signature must cover unless the operator accepts a row by name."""

Encoding = Literal["hex", "upper-hex", "base64", "base64url", "hex-in-base64"]
Nonce = Literal["token", "uuid", "free", "clock"]
_DAY: Final = 86_400_000_000_000  # ns
_TAKEN: Final = frozenset({
    b"host", b"content-length", b"content-type", b"transfer-encoding", b"connection", b"cookie", b"forwarded",
    b"x-forwarded-for",
})  # fmt: skip
_COVERS: Final[Mapping[str, frozenset[str]]] = {
    "key": frozenset({"key"}),
    "time": frozenset({"time"}),
    "nonce": frozenset({"nonce"}),
    "method": frozenset({"method"}),
    "authority": frozenset({"host"}),
    "target": frozenset({"path", "query"}),
    "path": frozenset({"path"}),
    "query": frozenset({"query"}),
    "text": frozenset({"query", "body"}),
    "content_type": frozenset({"content-type"}),
    "body": frozenset({"body"}),
    "form": frozenset({"body"}),
    "flat": frozenset({"body"}),
}
_HOLDERS: Final[Mapping[type, frozenset[str]]] = {  # by the kind of a place: the parts that it stands in
    Parameter: frozenset({"query", "text", "target"}),
    Field: frozenset({"body", "text", "form"}),
    Payload: frozenset({"body", "payload"}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Passphrase:
    """A second secret that is sent along.

    Args:
        place: where it stands.
        version: the header that says how it is sent: "2" and "3" for base64 of its HMAC-SHA256 under the secret; plain
            with "1", without the header, and where the row names none.
    """

    place: Header
    version: Header | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One dialect: where its fields are and what is signed.

    Args:
        name: as key records and operators call it.
        title: as people call it. docs: where the venue describes it.
        challenge: as WWW-Authenticate says it; made from the name where it is empty.

        algorithms: the algorithms a key may have, each with the spelling of its signature.
        message: the signed text, see `tradeguard.signing.message`; or several, of which one must verify.
        secret: how the text that a client holds becomes the HMAC key: its UTF-8, or what it is the base64 of.

        key, time, nonce, signature: where the fields are. A signature in a signed query or form is the last parameter,
            unless the query is sorted. Without a time, a nonce that is a clock's reading is the time as well; without
            either, a request has no time.
        prefix: what stands before the key id; it is signed with it.
        unit: of the time and of the client's window.
        window: how far the signed time may be off, in ns. Without a time: how long a message is remembered.
        lifetime: the time is when the message expires, at most so far ahead, in ns; 0 where it is when it was made.
        form: of the nonce: "token" (16 to 64 of A-Za-z0-9_-) or "uuid" where it is random, so single-use goes by it;
            "free" where clients take what they like; "clock" where it is a clock's reading that rises each time.
        nonce_width: of a nonce that rises: how many of the highest are kept apart, for requests in flight together.
        width: where a client may give its own past window. widest: its cap, in ns.
        passphrase: a second secret that is sent along.
        scheme: of the Authorization field, where fields are its parameters.
        payload: the header that carries a JSON object in base64, where fields are its members.
        binds: fields that must say the same as the request: its "path", the "tail" of that (without its first slash),
            or the "nonce".
        constants: further fields that clients send, for the signer.
        mount: where the venue's signed paths begin; they are signed without it, and where it ends in / without that.

        body: what a body is: "json" begins with { or [, "form" is one, "both" is either, "none" must be empty,
            a "repeat" is empty or says what the payload says, whose fields it may leave out.
        bodyless: methods that carry no body.
        foreign: parameters that no request has, since they belong to another message that the same key signs.
        logins: paths that no request has: their text is what clients sign to log in to a WebSocket.

        refuse: how a refusal looks to clients of this dialect; problem+json (RFC 9457) by default.
        clock: what the ready operation `time` answers; see `tradeguard.signing.refusal.fill`.

    `messages` are the parts that are signed, `guards` what is refused so that they cannot shift into each other,
    `coverage` what the signature covers; `exact` says that times must have their usual length, `parts` names all that
    is signed, `places` are those of its fields, the key first; `in_text` says that the signature is a parameter of the
    signed text itself, `sorted` that the parameters of the query are signed in one order, however they are sent.

    Raises:
        ConfigError: the row contradicts itself.
    """

    name: str
    title: str = ""
    docs: str = ""
    challenge: str = ""

    algorithms: Mapping[str, Encoding]
    message: str | tuple[str, ...]
    secret: Literal["text", "base64"] = "text"  # noqa: S105 - how it is spelt

    key: Place
    prefix: str = ""
    signature: Place
    time: Place | None = None
    nonce: Place | None = None
    unit: Unit = "ms"
    window: Window
    lifetime: int = 0
    form: Nonce = "token"
    nonce_width: int = 64
    width: Header | Parameter | None = None
    widest: int = 0
    passphrase: Passphrase | None = None
    scheme: bytes = b""
    payload: Header | None = None
    binds: tuple[tuple[Place, Literal["path", "tail", "nonce"]], ...] = ()
    constants: tuple[tuple[Place, bytes], ...] = ()
    mount: str = ""

    body: Literal["any", "json", "form", "both", "none", "repeat"] = "any"
    bodyless: frozenset[str] = frozenset({"GET", "HEAD", "DELETE"})
    foreign: frozenset[bytes] = frozenset()
    logins: frozenset[str] = frozenset()

    refuse: Refusal | None = None
    clock: Mapping[str, Any] = field(default_factory=dict[str, Any])

    messages: tuple[tuple[Part, ...], ...] = field(init=False, repr=False)
    guards: tuple[Guard, ...] = field(init=False, repr=False)
    exact: bool = field(init=False, repr=False)
    parts: frozenset[str] = field(init=False, repr=False)
    places: tuple[Place, ...] = field(init=False, repr=False)
    in_text: bool = field(init=False, repr=False)
    sorted: bool = field(init=False, repr=False)
    coverage: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        asked = (self.key, self.time, self.nonce, self.signature, self.width, *(place for place, _ in self.binds))
        self._derive(
            places=tuple(place for place in asked if place is not None),
            in_text=isinstance(self.signature, Parameter),
            challenge=self.challenge or f'{self.name} realm="api"',
        )
        texts = (self.message,) if isinstance(self.message, str) else tuple(self.message)
        try:
            messages = tuple(read_message(text) for text in texts)
            self._check(messages)
            coverage = _cover(self, messages)
            exact = any(leans_on_time(message, self._shape(exact=False)) for message in messages)
            guards = find_guards(messages, self._shape(exact=exact))
            if "time" not in coverage and self.window.past < _DAY:
                raise ConfigError(
                    "nothing says when a message was made, so it is good again once it is forgotten: remember each for "
                    'a day, window = { past = "1d" }'
                )
        except ConfigError as error:
            raise ConfigError(f"dialect {self.name}: {error}") from None
        parts = [part for message in messages for part in flatten(message)]
        self._derive(
            messages=messages,
            coverage=coverage,
            exact=exact,
            parts=frozenset(bare(part.name) for part in parts),
            sorted=any("sorted" in part.forms for part in parts),
            guards=_with_gaps_closed(guards, coverage, self.body),
        )

    @property
    def stamp(self) -> Stamp:
        """How its times are read and written."""
        return STAMPS[self.unit]

    @property
    def timeless(self) -> bool:
        """Whether nothing says when a message was made: then a captured one is as good as new for ever."""
        return "time" not in self.coverage

    @property
    def bound(self) -> bool:
        """Whether its keys must be held to networks, because bodies or times are not signed."""
        return self.timeless or ("body" not in self.coverage and self.body != "none")

    @property
    def collision(self) -> int:
        """Within how many ns two equal messages look like one sent twice; 0 where a nonce tells them apart."""
        if self.timeless:
            return self.window.past
        return 0 if self.nonce is not None and self.form != "free" else self.stamp.grain

    def _derive(self, **values: Any) -> None:
        """Set what follows from the rest; once, while the row is made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _shape(self, *, exact: bool) -> Shape:
        fixed = {"time"} if exact and self.stamp.size else set[str]()
        return Shape(
            body=self.body,
            fixed=frozenset(fixed | ({"nonce"} if self.form == "uuid" else set())),
            rising=self.form == "clock",
            fractions=not self.stamp.size,
            rootless=self.mount.endswith("/"),
        )

    def _check(self, messages: tuple[tuple[Part, ...], ...]) -> None:
        names = {bare(part.name) for message in messages for part in flatten(message)}
        unknown = [name for name in self.algorithms if not signature_sizes(name)]
        if unknown or not self.algorithms:
            raise ConfigError(f"there is no algorithm {unknown[0] if unknown else ''}".rstrip())
        if not names - {"literal"}:
            raise ConfigError("nothing is signed")
        for name in ("nonce", "time", "width"):
            place: Place | None = getattr(self, name)
            if place is not None and name not in names and not _is_signed(place, names):
                raise ConfigError(f"the {name} is not signed, so a replay could carry any")
        if (self.form == "clock") != (self.nonce is not None and self.time is None):
            raise ConfigError('a nonce is the only time exactly where its form is "clock"')
        self._check_places(names)

    def _check_places(self, names: set[str]) -> None:
        if "form" in names and not (self.in_text and "query" in names):
            raise ConfigError("{form} stands beside {query}, and the signature is a parameter")
        if self.in_text and "query" not in names:
            raise ConfigError("a signature that is a parameter stands in a signed query")
        if len({place.name for place in self.places}) < len(self.places):
            raise ConfigError("two fields have one name")
        kinds = {type(place) for place in self.places}
        if bool(self.scheme) != (AuthParam in kinds):
            raise ConfigError("fields in Authorization need scheme=, and nothing else does")
        if (self.payload is not None, "payload" in names) != (Payload in kinds,) * 2:
            raise ConfigError("fields in a payload need payload=, and {payload} in the message; nothing else does")
        if self.body == "repeat" and self.payload is None:
            raise ConfigError('body="repeat" holds a body against the payload, so it needs payload=')
        self._check_spelling(names)

    def _check_spelling(self, names: set[str]) -> None:
        """Refuse what no client could ever send."""
        inside = names & _HOLDERS.get(type(self.signature), frozenset())
        if inside and not self.in_text:
            raise ConfigError(f"the signature stands inside of {{{min(inside)}}}, which it signs")
        if self.mount.endswith("/") and any(what == "tail" for _, what in self.binds):
            raise ConfigError('a path has no slash for "tail" to take away where mount ends in one: bind it to "path"')
        if self.body == "none" and any(isinstance(place, Field) for place in self.places):
            raise ConfigError('a field stands in the body, and body="none" has none')
        if any(isinstance(place, Header | AuthParam) and place.name != place.name.lower() for place in self.places):
            raise ConfigError("names of headers and of parameters of Authorization are given in lower case")
        taken = [place.name.decode() for place in self.places if isinstance(place, Header) and place.name in _TAKEN]
        if taken:
            raise ConfigError(f"no field stands in {taken[0]}, which has another meaning to servers and proxies")


def _is_signed(place: Place, names: set[str]) -> bool:
    """Tell whether a field is part of what is signed because of where it stands."""
    return bool(names & _HOLDERS.get(type(place), frozenset()))


def _cover(row: Row, messages: tuple[tuple[Part, ...], ...]) -> frozenset[str]:
    """Return the parts of a request that cannot be changed without breaking the signature, whichever message it is."""
    covered: frozenset[str] | None = None
    for message in messages:
        names = {bare(part.name) for part in flatten(message)}
        found = set[str]().union(*(_COVERS.get(name, frozenset()) for name in names))
        found |= {"key"} if _is_signed(row.key, names) else set()
        found |= {"path"} if {"path", "tail"} & {what for _, what in row.binds} else set()
        found |= {"body"} if row.body == "repeat" else set()
        if row.time is not None and _is_signed(row.time, names):
            found.add("time")
        if row.nonce is not None and ("nonce" in names or _is_signed(row.nonce, names)):
            found |= {"nonce", "time"} if row.form == "clock" else {"nonce"}
        covered = frozenset(found) if covered is None else covered & found
    return cast("frozenset[str]", covered)


def _with_gaps_closed(guards: tuple[Guard, ...], coverage: frozenset[str], body: str) -> tuple[Guard, ...]:
    """Add what makes up for parts that are not covered, and what bodies are, where no guard says that yet."""
    added = [NO_QUERY] if "query" not in coverage else []
    if body in BODIES and not any(guard in SAY_BODIES for guard in guards):
        added.append(BODIES[body])
    return tuple(dict.fromkeys((*guards, *added)))
