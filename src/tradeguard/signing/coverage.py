"""Coverage: what the signature of a dialect covers, what it leaves out, and what makes up for that, as people ask it.

All of it follows from the row. What is said here of a dialect is what its verifier and the checks do:

1.  a part is covered where no byte of it can be changed without breaking the signature, whichever of the row's messages
    it is over;
2.  gaps are those parts without which nobody uses a dialect by accident: its name in `accept` takes them;
3.  compensations switch on by themselves, and no option switches them off.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from tradeguard.signing.bearer import BEARER, BEARER_SHA256
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED, CoinbaseAdvanced
from tradeguard.signing.place import Payload, Place, describe
from tradeguard.signing.row import REQUIRED_COVERAGE, Row
from tradeguard.signing.rows import ROWS

PARTS: Final = ("method", "host", "path", "query", "body", "time", "nonce", "key")
"""What a signature may cover, in the order of every table."""
_SECOND: Final = 1_000_000_000
_PLACES: Final = ("key", "time", "nonce", "signature", "width")
_RANDOM: Final = ("token", "uuid")
NonceRule = Literal["unique", "rises", "free", "none"]
RestartRule = Literal["barrier", "durable"]


class Timing(NamedTuple):
    """How new a message must be.

    Args:
        unit: of its time; None where it has none.
        past, future: how far that may be off, in ns. Without a time: how long a message is remembered.
        widest: the most that a client may give as its own past window, in ns; 0 where it cannot.
        expiry: how far ahead a client may put the end of a message, in ns; 0 where it says when it was made.
        nonce: "unique" is random and used once, "rises" a clock's reading above the last one, "free" whatever clients
            take, so that nothing goes by it.
        nonce_width: of one that rises: how many of the highest are kept apart.
        restart: "barrier": after a restart what was signed before it is refused, so nothing need be kept; "durable":
            nothing in a message tells when it was made, so what was used must be kept in a state that outlives it.
    """

    unit: str | None
    past: int
    future: int
    widest: int
    expiry: int
    nonce: NonceRule
    nonce_width: int
    restart: RestartRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What there is to know of a dialect before it is used.

    Args:
        name, title, docs, algorithms: as its row has them.
        message: the texts of which one is signed; none where nothing is.
        fields: where each field stands, in words.
        coverage: each of `PARTS`, and whether it is signed.
        timing: None where nothing says how new a message is.
        compensations: what is enforced because of what it is like, a sentence each.
        collision: within how many ns two equal messages look like one that was sent twice; 0 where a nonce tells them
            apart, None where nothing does.
    """

    name: str
    title: str
    docs: str
    algorithms: tuple[str, ...]
    message: tuple[str, ...]
    fields: Mapping[str, str]
    coverage: Mapping[str, bool]
    timing: Timing | None
    compensations: tuple[str, ...]
    collision: int | None

    @property
    def gaps(self) -> tuple[str, ...]:
        """The parts for which the dialect must be accepted by name; none for one that covers what it should."""
        return tuple(part for part in PARTS if part in REQUIRED_COVERAGE and not self.coverage[part])

    @property
    def uncovered(self) -> tuple[str, ...]:
        """All parts that are not signed."""
        return tuple(part for part in PARTS if not self.coverage[part])


def survey(dialect: Row | CoinbaseAdvanced) -> Survey:
    """Return what there is to know of a dialect."""
    return _survey_row(dialect) if isinstance(dialect, Row) else _survey_tokens(dialect)


def survey_all(own: Iterable[Row] = ()) -> tuple[Survey, ...]:
    """Return what there is to know of every dialect: the built-in ones, `bearer` among them, and one's own."""
    return (*map(survey, ROWS.values()), survey(COINBASE_ADVANCED), survey_bearer(), *map(survey, own))


def survey_bearer() -> Survey:
    """Return what there is to know of keys whose secret is sent along: nothing is signed."""
    return Survey(
        name=BEARER,
        title="Secrets that are sent along",
        docs="docs/howto/bearer.md",
        algorithms=(BEARER_SHA256,),
        message=(),
        fields={"secret": "header authorization; bearer.header and bearer.key name others"},
        coverage=_cells(()),
        timing=None,
        compensations=(
            "over TLS only",
            "an end: the day that bearer.until names",
            "reads only, unless bearer.lanes names more; what is sent again there is done again",
        ),
        collision=None,
    )


def _survey_row(row: Row) -> Survey:
    places: dict[str, Place | None] = {name: getattr(row, name) for name in _PLACES}
    places["passphrase"] = row.passphrase.place if row.passphrase is not None else None
    return Survey(
        name=row.name,
        title=row.title,
        docs=row.docs,
        algorithms=tuple(row.algorithms),
        message=(row.message,) if isinstance(row.message, str) else tuple(row.message),
        fields={name: _say_place(row, place) for name, place in places.items() if place is not None},
        coverage=_cells(row.coverage),
        timing=_time(row),
        compensations=tuple(_compensate(row)),
        collision=row.collision,
    )


def _survey_tokens(dialect: CoinbaseAdvanced) -> Survey:
    window = dialect.window
    return Survey(
        name=dialect.name,
        title=dialect.title,
        docs=dialect.docs,
        algorithms=tuple(dialect.algorithms),
        message=("a JWT whose claim uri is {method} {authority}{path}",),
        fields={
            "token": "header authorization, behind Bearer",
            "key": "kid of the token",
            "nonce": "nonce of the token",
        },
        coverage=_cells(dialect.coverage),
        timing=Timing("s", window.past, window.future, 0, window.past, "unique", 0, "barrier"),
        compensations=(
            "no body on GET, HEAD, DELETE but {}",
            *([_BOUND] if dialect.bound else []),
            _EXPIRY.format(seconds=window.past / _SECOND),
        ),
        collision=0,
    )


def _cells(coverage: Iterable[str]) -> Mapping[str, bool]:
    covered = frozenset(coverage)
    return {part: part in covered for part in PARTS}


def _say_place(row: Row, place: Place) -> str:
    if isinstance(place, Payload) and row.payload is not None:
        return f"member {place.name.decode()} of {describe(row.payload)}"
    return describe(place)


def _time(row: Row) -> Timing:
    rises = row.nonce is not None and row.form == "clock"
    unit = None if row.timeless else row.unit if row.time is not None else "s, ms, us or ns, by its digits"
    nonce: NonceRule = "none" if row.nonce is None else "rises" if rises else "unique"
    return Timing(
        unit,
        row.window.past,
        row.window.future,
        row.widest if row.width is not None else 0,
        row.lifetime,
        "free" if row.nonce is not None and row.form == "free" else nonce,
        row.nonce_width if rises else 0,
        "durable" if row.timeless else "barrier",
    )


_EXPIRY: Final = "an expiry at most {seconds:g} s ahead"
_BOUND: Final = "keys are held to networks: one without is refused"
_ONCE: Final = "single use by the digest of the message, in every lane but read"


def _compensate(row: Row) -> Iterator[str]:
    yield from (guard.text for guard in row.guards)
    if row.bodyless and row.body != "none":
        yield f"no body on {', '.join(sorted(row.bodyless, key=_by_use))}"
    if row.nonce is None or row.form not in (*_RANDOM, "clock"):
        yield _ONCE
    if row.bound:
        yield _BOUND
    if row.lifetime:
        yield _EXPIRY.format(seconds=row.lifetime / _SECOND)
    if row.width is not None:
        yield f"a client's own window is at most {row.widest / _SECOND:g} s"
    for path in sorted(row.logins):
        yield f"no request to {path}: what is signed for it is a login"
    for name in sorted(row.foreign):
        yield f"no parameter {name.decode()}: it belongs to another message that the key signs"


def _by_use(method: str) -> tuple[int, str]:
    usual = ("GET", "HEAD", "DELETE")
    return (usual.index(method) if method in usual else len(usual), method)
