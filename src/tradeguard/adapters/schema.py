"""Schema: what the operations map asks for, written into an OpenAPI document (https://spec.openapis.org/oas/v3.1.0)."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from tradeguard.core.policy import Operation, Operations

NAME: Final = "tradeguard"
"""How the one security scheme is called: the whole signature, so that its parts are no alternatives."""
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_PROBLEM: Final = "TradeguardProblem"
_REFUSALS: Final[Mapping[str, str]] = {
    "401": "Not signed by a known key, or signed too long ago.",
    "403": "The key may not do this, or not from here.",
    "409": "The message was received before: look the operation up.",
    "429": "Too many requests, or too many failures.",
    "503": "The service cannot decide now.",
}
_MODEL: Final[Mapping[str, Any]] = {
    "title": "Problem (RFC 9457)",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "executed", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "The stable code of the refusal."},
        "executed": {"description": 'Whether it may have been carried out: false, or "unknown".'},
        "request_id": {"type": "string"},
    },
}


def rows_of(schema: Mapping[str, Any], operations: Operations) -> Iterator[tuple[str, Operation, dict[str, Any]]]:
    """Give every route of a schema that has a row: its name, the row, and its description, to be read or written.

    A path with parameters is looked up as it stands: `{name}` matches as a segment does.
    """
    for path, item in schema.get("paths", {}).items():
        for method in _METHODS:
            operation = operations.match(method.upper(), path) if method in item else None
            if operation is not None:
                yield f"{method.upper()} {path}", operation, item[method]


def fill_schema(schema: Mapping[str, Any], operations: Operations, scheme: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with the scheme, the scopes of each row and the refusals; public rows take none.

    Args:
        schema: as the framework makes it.
        operations: the map.
        scheme: the security scheme, as OpenAPI describes it.
    """
    filled = deepcopy(dict(schema))
    for _, operation, described in rows_of(filled, operations):
        described.pop("security", None)
        if operation.lane != "public":
            described["security"] = [{NAME: sorted(operation.scopes)}]
            for status, text in _REFUSALS.items():
                described.setdefault("responses", {}).setdefault(status, _refusal(text))
    components = filled.setdefault("components", {})
    components.setdefault("schemas", {})[_PROBLEM] = deepcopy(dict(_MODEL))
    components.setdefault("securitySchemes", {})[NAME] = dict(scheme)
    return filled


def _refusal(text: str) -> dict[str, Any]:
    model = {"$ref": f"#/components/schemas/{_PROBLEM}"}
    return {"description": text, "content": {"application/problem+json": {"schema": model}}}
