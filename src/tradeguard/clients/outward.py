"""What goes out with a request of httpx and is not copied: a redirect is made from a copy, and must not have it."""

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

from tradeguard.core.errors import ConfigError


def add_fields(headers: Any, fields: tuple[tuple[bytes, bytes], ...]) -> Any:
    """Return header fields with more of them that only a transport sees, in `raw`."""
    outward = _mix(_Fields, headers.__class__)(headers)
    outward.added = fields
    return outward


def make_body(stream: Any, body: bytes) -> Any:
    """Return a stream like another, whose bytes can be read once."""
    return _mix(_Body, stream.__class__)(body)


class _Fields:
    added: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        copied: list[tuple[bytes, bytes]] = super().raw  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
        return [*copied, *self.added]


class _Body:
    def __init__(self, body: bytes) -> None:
        self._parts = iter([body])

    def __iter__(self) -> Iterator[bytes]:
        yield self._take()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._take()

    def _take(self) -> bytes:
        for part in self._parts:
            return part
        raise ConfigError("a signed form goes out once, and never with a redirect")


@cache
def _mix(part: type, kind: Any) -> Any:
    """Return a class of the client's own kind with that part over it; httpx and httpx2 each have theirs."""
    return kind if issubclass(kind, part) else type(part.__name__, (part, kind), {})
