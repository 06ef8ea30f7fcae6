"""Fuzz the operations map: any rows are a map or a ConfigError, and a match is the strongest row for the path."""

import re

from harness import join, main, split

from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations

# method, path, then rows
CORPUS = [
    join(b"GET", b"/v1/orders/7", b"GET /v1/orders/{id}", b"GET /v1/orders/open", b"GET /v1/**", b"GET /**"),
    join(b"GET", b"/v1/orders/7/fills", b"GET /v1/{what}/{id}/fills", b"GET /v1/*/7/*", b"GET /v1/orders/**"),
    join(b"POST", b"/v1/orders/", b"POST /v1/orders/", b"POST /v1/orders", b"POST /{a}/{b}", b"POST /*/*"),
    join(b"HEAD", b"/\xc3\xa9/a b", b"GET /\xc3\xa9/{x}", b"GET /**", b"HEAD /a"),
    join(b"DELETE", b"/", b"DELETE /", b"DELETE /**", b"DELETE /{x}"),
]
TOKENS = [b"/**", b"/*", b"/{x}", b"/{y}", b"/", b"GET /", b"\x1eGET /v1/", b"//", b"/.", b"/.."]


def ranks(row: str) -> list[int]:
    """How strong a row is, segment by segment."""
    kinds = {"**": 0, "*": 1}
    return [kinds.get(segment, 2 if segment.startswith("{") else 3) for segment in row.split("/")[1:]]


def takes(row: str, path: str) -> bool:
    """Say it once more, with a regular expression."""
    wild = {"**": ".*", "*": "[^/]+"}
    parts = [
        wild.get(part, "[^/]+" if part.startswith("{") else re.escape(part))
        for part in row.partition(" ")[2].split("/")
    ]
    return re.fullmatch("/".join(parts), path, re.DOTALL) is not None


def fuzz_operations(data: bytes) -> str:
    """Return `wrong` for rows that are no map, else whether a row took the path."""
    method, path, *rows = (record.decode("utf-8", "replace") for record in split(data, 2))
    try:
        operations = Operations({row: f"scope{number}" for number, row in enumerate(rows)})
    except ConfigError:
        return "wrong"
    found = operations.match(method, path)
    if found is not None:
        assert takes(found.id, path), found.id
    if method == "HEAD":
        return "head"
    taken = (
        [row for row in set(rows) if row.startswith(method + " ") and takes(row, path)] if path.startswith("/") else []
    )
    assert (found is not None) == bool(taken), taken
    assert found is None or ranks(found.id) == max(map(ranks, taken)), taken
    return "matched" if found is not None else "unmatched"


if __name__ == "__main__":
    main(fuzz_operations, CORPUS, TOKENS)
