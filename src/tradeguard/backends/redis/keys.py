"""RedisKeys: rows of keys in a Redis or Valkey server, so that several hosts work with the same keys.

Guarantee: a put is stored wholly or not at all, and all hosts find it at once. It is as durable as the server is: with
`appendfsync always` before `put` returns, with `everysec` a second later. After a restart or a failover, whoever
follows the changes is told that anything may have changed. A writer to the server can change rows; the `mac` in each
says so to whoever made it.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar

from tradeguard.backends.redis.client import Address
from tradeguard.backends.redis.pipeline import Pipeline
from tradeguard.backends.redis.pool import Pool
from tradeguard.backends.redis.script import Script, read
from tradeguard.backends.redis.settlement import Names, Ticks, decode, encode
from tradeguard.core.errors import BackendDown, KeyConflict
from tradeguard.core.key import Changes, KeyRow, Mark
from tradeguard.core.ports import Colour

T = TypeVar("T")
_CHANGES: Final = 10_000  # more changed ids than this are told as "anything"
_FIELDS: Final = 6
_LATEST: Final = 10**20 - 1


class _Rows:
    """What the two colours share: everything but how a call is made."""

    scripts: ClassVar[dict[str, Script]] = {
        name: Script(read(f"keys_{name}.lua")) for name in ("put", "page", "changes", "read", "touch", "keep")
    }
    """What is run there."""

    _line: Pipeline | Pool

    def __init__(
        self,
        url: str,
        *,
        name: str = "main",
        deadline: float = 1.0,
        opening: float = 1.0,
        accept_unknown_server: bool = False,
    ) -> None:
        self._address = Address(url, opening=opening, deadline=deadline, accept_unknown_server=accept_unknown_server)
        self._names, self._salt = Names(name), secrets.token_hex(8).encode() + b"."
        self._row = self._names.key(b"key:")

    async def get(self, id: str, /) -> KeyRow | None:
        """Return the row of a key id, or None."""
        exact = b"[" + encode(id)
        return next(iter(await self._rows(exact, exact, 1)), None)

    async def put(self, rows: Sequence[KeyRow], /) -> None:
        """Store new rows (version 1) and next versions of known ones: all of them, or none.

        Raises:
            KeyConflict: an id or a secret is taken, or the version before is not the stored one.
            BackendDown: not stored; or `unknown`, and it may be.
        """
        if rows:
            keys = [self._row + encode(row.id) for row in rows]
            asked = [part for row in rows for part in (encode(row.id), b"%d" % row.version, *row[2:])]
            told = await self._run("put", [b"ids", b"prints", b"changed"], asked, keys)
            if told:
                versions = {row.id: row.version for row in reversed(rows)}
                raise self._read(lambda: _conflict(versions, *map(decode, told)))

    async def page(self, after: str, limit: int, /) -> list[KeyRow]:
        """Return at most `limit` rows by id, after one."""
        return await self._rows(b"(" + encode(after) if after else b"-", b"+", max(0, limit))

    async def holder(self, fingerprint: bytes, /) -> str | None:
        """Return the id of the row that has this fingerprint, or None."""
        told = await self._run("read", [b"prints"], [fingerprint])
        return self._read(lambda: _text(*told))

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell which ids have changed since a mark; None for ids where it may be any.

        It may be any where the mark is of another epoch (another store; this one after a restart or a failover) or of a
        later state (a copy was restored), where there is no mark yet, and where there are more than 10,000.
        """
        since = [b"", b""] if mark is None else [encode(mark.epoch), b"%d" % min(mark.number, 2**53)]
        reply = await self._call("changes", [b"changed"], [*since, b"%d" % _CHANGES], [])
        return self._read(lambda: _changes(*reply))

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used, ns UTC by id; an earlier time than the kept one changes nothing."""
        if uses:
            asked = [part for id, at in uses.items() for part in (encode(id), b"%020d" % max(0, min(at, _LATEST)))]
            await self._run("touch", [b"uses"], asked)

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, ns UTC; those that never were are left out."""
        told = await self._run("read", [b"uses"], [encode(id) for id in ids])
        return self._read(lambda: {id: int(at) for id, at in zip(ids, told, strict=True) if at is not None})

    async def keep(self, name: str, value: bytes | None = None, /) -> bytes | None:
        """Return what is kept under a name; where nothing is, keep `value` first. All callers get the same."""
        asked = [encode(name)] if value is None else [encode(name), value]
        told = await self._run("read" if value is None else "keep", [b"kept"], asked)
        return self._read(lambda: _bytes(*told))

    def close(self) -> None:
        """Let go of the connections; the next use opens them again."""
        self._line.close()

    async def _rows(self, start: bytes, end: bytes, limit: int) -> list[KeyRow]:
        told = await self._run("page", [b"ids"], [start, end, b"%d" % limit, self._row])
        return self._read(lambda: [_row(*told[at : at + _FIELDS]) for at in range(0, len(told), _FIELDS)])

    async def _run(
        self, script: str, names: Sequence[bytes], asked: Sequence[bytes], keys: Sequence[bytes] = ()
    ) -> Sequence[Any]:
        """Run a script; return what it answers behind the head."""
        reply = await self._call(script, names, asked, keys)
        return self._read(lambda: _tail(*reply))

    async def _call(self, script: str, names: Sequence[bytes], asked: Sequence[bytes], keys: Sequence[bytes]) -> Any:
        declared = [self._names.key(b"keys:" + name) for name in (b"store", *names)]
        return await self._line.call(self.scripts[script].call([*declared, *keys], [self._salt, *asked]))

    def _read(self, parse: Callable[[], T]) -> T:
        """Read an answer; one that makes no sense is no answer, though something may have been done."""
        try:
            return parse()
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BackendDown(f"{self._address.name}: it answers what no script of ours says", unknown=True) from error


class RedisKeys(_Rows):
    """A `KeyTable` in Redis or Valkey, for hosts with an event loop.

    Args:
        url: as in `Redis`, and so are the other options but the limits of nonces.
        deadline: seconds until a call is given up: longer than that of a state, for keys are cached.

    Raises:
        ConfigError: that is no URL. At the first use: the server evicts keys, is too old, or does not say what it is.
    """

    colour: Colour = "async"

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._line = Pipeline(self._address)


class BlockingRedisKeys(_Rows):
    """`RedisKeys` for hosts without an event loop.

    Args:
        url: as in `RedisKeys`, and so are the options.
    """

    colour: Colour = "blocking"

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._line = Pool(self._address)


def _tail(head: bytes, *told: Any) -> Sequence[Any]:
    Ticks(1).head(head.split(b" "))
    return told


def _changes(head: bytes, kind: bytes, *ids: bytes) -> Changes:
    told = Ticks(1).head(head.split(b" "))
    if kind not in (b"any", b"ids"):
        raise ValueError("neither ids nor any")
    return Changes(Mark(told.epoch, told.version), None if kind == b"any" else tuple(map(decode, ids)))


def _row(id: bytes, version: bytes, *rest: bytes) -> KeyRow:
    return KeyRow(decode(id), int(version), *map(bytes, rest))


def _text(value: bytes | None) -> str | None:
    return None if value is None else decode(value)


def _bytes(value: bytes | None) -> bytes | None:
    return None if value is None else bytes(value)


def _conflict(versions: Mapping[str, int], kind: str, id: str, stored: str) -> KeyConflict:
    reasons = {
        "exists": f"key {id} exists; give the new one an id of its own",
        "secret": f"key {id} has the secret of key {stored}: what one signed, the other would accept",
        "unknown": f"key {id} is not known, so there is no version {versions[id] - 1} to follow",
        "changed": f"key {id} was changed meanwhile: version {stored} is stored; look again",
        "keeps": f"key {id} keeps the secret that it was made with; rotate it instead",
    }
    return KeyConflict(reasons[kind])
