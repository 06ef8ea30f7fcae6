"""Judge: may this key do this? Exact scopes of the operation against the scopes of the key."""

from tradeguard.core.decision import Denial, register
from tradeguard.core.principal import missing_scopes
from tradeguard.core.request import Request

MISSING = register(
    "scope.missing",
    status=403,
    text="This key lacks a scope that the operation takes.",
    hint="Give the key the scope named in the answer, or let the client use another key.",
)


class Scope:
    """Holds a key to its scopes. Public operations take none."""

    name = "scope"

    async def __call__(self, request: Request, /) -> Denial | None:
        """Return `scope.missing` with the first missing scope by name, or None."""
        operation, principal = request.operation, request.principal
        if operation is None:
            return None
        missing = missing_scopes(principal.scopes if principal is not None else frozenset(), operation.scopes)
        if not missing:
            return None
        return Denial(MISSING, members={"scope": missing[0]}, detail=f"lacks {', '.join(missing)}")
