"""Suggest the rows of a map from the routes of an application: guesses by method and name, made to be reviewed.

The rules, the first that fits:

1.  Words are those of path and name; `{id}` and the like say nothing.
2.  Something public is suggested in a comment only: whoever reviews the map takes it in.
3.  A request that changes something and that no word explains is left out, in a comment, and so refused.
4.  Whatever places something new in exchange for what it cancels is no cancel: that lane has less in its way.
5.  A WebSocket is suggested in a comment only: nothing tells what its messages do, and its row decides for all of them.
6.  A guess that the map refuses (lanes that are declared on exact paths only, rows that contradict each other) is left
    out, in a comment, with the reason.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import HANDSHAKE, Lane, Operations

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+[a-z]+", re.ASCII)
_READS: Final = frozenset({"GET", "HEAD"})
_ANY: Final = "*"


class Asks(NamedTuple):
    """What a row is guessed to take: scopes and, where it is not the usual one, the lane."""

    scopes: tuple[str, ...] = ()
    lane: Lane | None = None
    open: bool = False


class Suggestion(NamedTuple):
    """One row. `value` is its TOML; `left_out` says why it stands in a comment; `public` that anybody may be let in."""

    row: str
    value: str
    left_out: str
    public: bool
    about: str


class _Rule(NamedTuple):
    words: frozenset[str]
    read: Asks | None
    write: Asks | None


def _rule(words: str, read: Asks | None, write: Asks | None) -> _Rule:
    return _Rule(frozenset(words.split()), read, write)


def _admin(scope: str) -> Asks:
    return Asks((scope,), "admin")


def _funds(scope: str) -> Asks:
    return Asks((scope,), "funds")


_PUBLIC: Final = Asks((), "public")
_UNNAMED: Final = Asks(("to-be:named",))  # no scope: whoever takes the row in has to choose one
_BALANCES: Final = Asks(("balances:read",))
_ACCOUNT: Final = Asks(("account:read",))
_CANCEL: Final = Asks(("orders:cancel",), "cancel")
_REPLACE: Final = Asks(("orders:cancel", "orders:write"))
_RULES: Final = (
    _rule("killswitch halt", _admin("audit:read"), _admin("halt:set")),
    _rule("mfa totp 2fa", _admin("mfa:admin"), _admin("mfa:admin")),
    _rule("audit journal", _admin("audit:read"), None),
    _rule("apikey key credential", _admin("keys:read"), _admin("keys:admin")),
    _rule("risk", _admin("risk:admin"), _admin("risk:admin")),
    _rule("admin role permission", _admin("users:admin"), _admin("users:admin")),
    _rule("whitelist beneficiary", _BALANCES, _funds("funds:address:write")),
    _rule("withdraw withdrawal payout", _BALANCES, _funds("funds:withdraw")),
    _rule("transfer", _BALANCES, _funds("funds:transfer")),
    _rule("deposit", _BALANCES, _funds("funds:deposit")),
    _rule("ticker depth orderbook book candle kline ohlc ohlcv instrument symbol market quote price",
          Asks(("market:read",), open=True), None),
    _rule("order trade fill execution", Asks(("orders:read",)), Asks(("orders:write",))),
    _rule("balance wallet asset", _BALANCES, None),
    _rule("position", Asks(("positions:read",)), Asks(("orders:write",))),
    _rule("user", _admin("users:admin"), _admin("users:admin")),
    _rule("account profile whoami fee", _ACCOUNT, None),
    _rule("time health healthz livez readyz live ready ping status version doc redoc openapi swagger favicon static",
          _PUBLIC, None),
)  # fmt: skip
_EXCHANGES: Final = frozenset({"replace", "amend", "modify", "new", "place", "create", "submit"})
_ENDS: Final = frozenset({"order", "trade"})


def suggest(routes: Iterable[tuple[str, str, str, str]]) -> list[Suggestion]:
    """Guess a row for every route.

    Args:
        routes: method ("*" for any, "WS" for a WebSocket), path as the map writes it, name, and the first line of what
            it says about itself.

    Returns:
        The rows in the order of the routes; together, without those left out, they are a map.
    """
    rows: dict[str, Suggestion] = {}
    for method, path, name, about in routes:
        for row in _rows(method, path):
            rows.setdefault(row, _suggest(row, name, about, any_method=method == _ANY))
    return _settle(list(rows.values()))


def write_rows(suggestions: Sequence[Suggestion], unmapped: Iterable[str] = ()) -> str:
    """Write rows as the lines of `[operations]`; what could not be listed is said in comments.

    Args:
        suggestions: the rows.
        unmapped: what no row was written for, a line each.
    """
    lines = [line for suggestion in suggestions for line in _lines(suggestion)]
    lines += [f"# review: no row can be suggested for {_plain(text)}" for text in unmapped]
    return "".join(f"{line}\n" for line in lines)


def _rows(method: str, path: str) -> Iterable[str]:
    return (f"{one} {path}" for one in (("GET", "POST") if method == _ANY else (method,)))


def _suggest(row: str, name: str, about: str, *, any_method: bool) -> Suggestion:
    method, _, path = row.partition(" ")
    asks = _guess(method, _words(path, name))
    doubt = "" if asks is not None else "nothing in its name says what it changes"
    if method == HANDSHAKE:
        asks = (asks or _UNNAMED)._replace(lane=(asks and asks.lane) or "read")
        doubt = "what may its messages do? where they place orders it takes orders:write and the lane order"
    if any_method and method != "GET":
        doubt = "the route takes any method; name those that are meant"
    if asks is not None and asks.lane == "public":
        doubt = doubt or "may anybody ask this, without a key?"
    return Suggestion(row, _value(asks or _UNNAMED), doubt, asks is not None and asks.open, about)


def _guess(method: str, words: frozenset[str]) -> Asks | None:
    reads = method in _READS or method == HANDSHAKE
    named = [rule for rule in _RULES if not words.isdisjoint(rule.words)]
    ends = "cancel" in words or (method == "DELETE" and not words.isdisjoint(_ENDS))
    if ends and (not named or named[0].words >= _ENDS):
        return None if reads else _REPLACE if not words.isdisjoint(_EXCHANGES) else _CANCEL
    guesses = [rule.read if reads else rule.write for rule in named] + [_ACCOUNT if method in _READS else None]
    return next((guess for guess in guesses if guess is not None), None)


def _words(path: str, name: str) -> frozenset[str]:
    """Return the words in lower case, without the s of a plural."""
    text = " ".join([*(part for part in path.split("/") if "{" not in part), name])
    words = {word.lower() for word in _WORD.findall(text)}
    pairs = {"apikey"} if re.search(r"api[-_ ]?key", text, re.IGNORECASE) else set[str]()
    pairs |= {"killswitch"} if re.search(r"kill[-_ ]?switch", text, re.IGNORECASE) else set[str]()
    return frozenset(words | pairs | {word.removesuffix("s") for word in words})


def _value(asks: Asks) -> str:
    scopes: Any = list(asks.scopes) if len(asks.scopes) > 1 else "".join(asks.scopes)
    if asks.lane is None:
        return json.dumps(scopes)
    table = [f"scopes = {json.dumps(scopes)}"] if asks.scopes else []
    return f"{{ {', '.join([*table, f'lane = {json.dumps(asks.lane)}'])} }}"


def _settle(rows: list[Suggestion]) -> list[Suggestion]:
    """Leave out what the map refuses, the later row first, until the rest is one."""
    while True:
        held = {row.row: _read(row.value) for row in rows if not row.left_out}
        try:
            Operations(held)
        except ConfigError as error:
            refused = str(error)
        else:
            return rows
        place = next(place for place in reversed(range(len(rows))) if _is_named(rows[place], refused))
        rows[place] = rows[place]._replace(left_out=refused)


def _is_named(row: Suggestion, refused: str) -> bool:
    return not row.left_out and repr(row.row) in refused


def _read(value: str) -> Any:
    return tomllib.loads(f"value = {value}")["value"]


def _lines(suggestion: Suggestion) -> Iterable[str]:
    about = f": {_plain(suggestion.about)}" if suggestion.about else ""
    line = f"{json.dumps(suggestion.row, ensure_ascii=False)} = {suggestion.value}  # review{about}"
    if suggestion.left_out:
        yield f"# review: {_plain(suggestion.left_out)}"
        yield f"# {line}"
        return
    yield line
    if suggestion.public:
        yield f'# {json.dumps(suggestion.row, ensure_ascii=False)} = {{ lane = "public" }}  # review: for anybody'


def _plain(text: str) -> str:
    """Keep what somebody else wrote on one line of a comment."""
    return "".join(char if char.isprintable() else " " for char in text)[:200]
