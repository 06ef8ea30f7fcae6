"""assert_denied: a refusal is the one that was expected, whatever client or layer it is seen through."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Final, NamedTuple, NoReturn, cast

from tradeguard import checks, core, signing
from tradeguard.backends.memory import MemoryJournal
from tradeguard.core.decision import CATALOGUE, UNAUTHORIZED, Denial, Entry, Grant
from tradeguard.testing.loopback import only_here

only_here()

_VEILED: Final = (
    f"before the proof a response only says {UNAUTHORIZED!r}: ask for that, or let the guard write into tg_journal"
)


class Answer(NamedTuple):
    """A whole response; the names of its fields in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def assert_denied(response: object, code: str, journal: MemoryJournal | None = None) -> None:
    """Raise `AssertionError` unless it is the refusal with this code.

    Args:
        response: of httpx, requests, Starlette, Flask or Django; a `Denial` or `Grant`; or (status, headers, body).
        code: as `docs/denials.md` lists them. Before the proof a response says `unauthorized` for all of them: ask for
            that, or give the journal that knows more.
        journal: of the guard.
    """
    if isinstance(response, Grant):
        _fail(code, f"the request was granted to {response.principal}")
    elif isinstance(response, Denial):
        if code not in (response.code, response.public):
            _fail(code, f"it is {response.code}")
    else:
        _check_answer(read_answer(response), code, journal)


def _check_answer(answer: Answer, code: str, journal: MemoryJournal | None) -> None:
    found, public = _codes(answer, journal)
    wanted = _catalogue().get(code)
    if answer.status < 400:
        _fail(code, f"the answer is {answer.status}: {answer.body[:200]!r}")
    if code not in (found, public):
        veiled = wanted is not None and wanted.public == public == UNAUTHORIZED and not found
        _fail(code, _VEILED if veiled else f"it is {found or public or f'no refusal of the guard: {answer.status}'}")
    if wanted is not None and answer.status != wanted.status:
        _fail(code, f"the status is {answer.status}, not {wanted.status}")


@cache
def _catalogue() -> Mapping[str, Entry]:
    """Return the whole catalogue: a refusal is entered by the file that issues it, when that is loaded."""
    for package in (checks, core, signing):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    return CATALOGUE


def _fail(code: str, reason: str) -> NoReturn:
    raise AssertionError(f"expected {code}, but {reason}")


def _codes(answer: Answer, journal: MemoryJournal | None) -> tuple[str, str]:
    """Return the code that the journal has for a response, and the one that the response shows."""
    id = answer.fields.get("x-request-id", "")
    events = [] if journal is None else [event for event in journal.events if event.request_id == id and event.code]
    public = ""
    if answer.fields.get("content-type", "").startswith("application/problem+json"):
        public = str(json.loads(answer.body).get("code", ""))
    return events[-1].code if events and id else "", public


def read_answer(response: object) -> Answer:
    """Read a response of any client.

    Raises:
        TypeError: it is none.
    """
    if isinstance(response, tuple):
        given, fields, content = cast("tuple[int, Any, bytes]", response)
        return Answer(int(given), _read_fields(fields), bytes(content))
    status = getattr(response, "status_code", None)
    bodies = [getattr(response, name, None) for name in ("content", "data", "body")]
    body = next((body for body in bodies if isinstance(body, bytes)), None)
    if not isinstance(status, int) or body is None:
        kind = type(response).__qualname__
        raise TypeError(f"{kind} is no response that can be read at once; give (status, headers, body) of it")
    return Answer(status, _read_fields(getattr(response, "headers", ())), body)


def _read_fields(fields: Any) -> dict[str, str]:
    """Read pairs, or what has `items` without being a mapping: the headers of Flask and of Django."""
    pairs: Iterable[tuple[Any, Any]] = fields.items() if hasattr(fields, "items") else fields
    return {_text(name).lower(): _text(value) for name, value in pairs}


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
