"""FastAPI: the guard as for Starlette; who is asking as a dependency; and a schema that says what the map asks for.

The scopes that a route declares are documentation; the map decides. Where they differ the server does not start, and
where that cannot be seen at the start (mounted applications, routes outside the schema) the request is refused.
"""

import json
from typing import Annotated, Any, Final

from tradeguard.adapters.answer import UNCONFIGURED, Answer
from tradeguard.adapters.given import Given
from tradeguard.adapters.live import POLICY_VIOLATION
from tradeguard.adapters.passage import PASSAGE, Passage, refuse_inside
from tradeguard.adapters.schema import NAME, fill_schema, rows_of
from tradeguard.adapters.starlette import Guarded
from tradeguard.adapters.template import check_declared
from tradeguard.core.decision import Denial
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations
from tradeguard.core.principal import Principal
from tradeguard.core.proof import UNCLAIMED

try:
    from fastapi import FastAPI, HTTPException, Request, Response, Security, WebSocketException
    from fastapi.openapi.models import APIKey, APIKeyIn
    from fastapi.openapi.utils import get_openapi
    from fastapi.requests import HTTPConnection
    from fastapi.security import SecurityScopes
    from fastapi.security.base import SecurityBase
except ImportError as error:
    raise ConfigError('this adapter needs FastAPI: pip install "tradeguard[fastapi]"') from error


class Scheme(SecurityBase):
    """The whole signature as one security scheme: two would be alternatives in OpenAPI."""

    def __init__(self) -> None:
        about = "The key's id. A request is signed: TG-Key, TG-Time, TG-Nonce and TG-Signature go together."
        self.model = APIKey.model_validate({"in": APIKeyIn.header, "name": "TG-Key", "description": about})
        self.scheme_name = NAME

    async def __call__(self, request: HTTPConnection, security_scopes: SecurityScopes) -> Principal:
        """Return who was proved to be asking.

        Raises:
            Refusal: nobody was, or the route declares scopes that its row of the map does not ask for.
        """
        passage: Passage | None = request.scope.get(PASSAGE)
        decided = _judge(passage, frozenset(security_scopes.scopes))
        if isinstance(decided, Denial):
            answer = refuse_inside(passage, decided)
            if request.scope["type"] == "websocket":
                raise WebSocketException(POLICY_VIOLATION, decided.public)
            raise Refusal(answer)
        return decided


def _judge(passage: Passage | None, declared: frozenset[str]) -> Principal | Denial:
    if passage is None:
        return Denial(UNCONFIGURED)
    operation, principal = passage.grant.operation, passage.grant.principal
    assert operation is not None  # only requests with a row are granted
    return check_declared(operation, declared) or principal or Denial(UNCLAIMED)


class Refusal(HTTPException):
    """A refusal from inside a route; an application that is mounted without `init_app` renders it in its own way."""

    def __init__(self, answer: Answer) -> None:
        headers = {name.decode(): value.decode() for name, value in answer.fields if name != b"content-length"}
        super().__init__(answer.status, json.loads(answer.body), headers)
        self.body = answer.body


tradeguard_principal: Final = Scheme()
"""The dependency: `Annotated[Principal, Security(tradeguard_principal, scopes=["orders:write"])]`."""
CurrentPrincipal = Annotated[Principal, Security(tradeguard_principal)]
"""Who is asking, where a route does not repeat the scopes of its row."""


class Tradeguard(Given):
    """Guards FastAPI applications: `Tradeguard(config="tradeguard.toml").init_app(app)`."""

    __slots__ = ()

    def init_app(self, app: FastAPI) -> None:
        """Put the guard around an application, and what its map asks for into the schema.

        Call it last: middleware that is added later would stand outside. The guard is built when the server starts; a
        wrong configuration stops it with a sentence.

        Raises:
            ConfigError: it is guarded already.
        """
        guarded, made = Guarded(app, self, lambda operations: check_routes(app, operations)), app.openapi
        app.add_exception_handler(Refusal, _render)

        def openapi() -> dict[str, Any]:
            scheme = tradeguard_principal.model.model_dump(by_alias=True, exclude_none=True, mode="json")
            return fill_schema(made(), guarded.build().operations, scheme)

        app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation does it


def check_routes(app: FastAPI, operations: Operations) -> None:
    """Raise `ConfigError` for the first route of the schema that declares other scopes than its row asks for."""
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for name, operation, described in rows_of(schema, operations):
        declared: frozenset[str] = frozenset(
            scope for entry in described.get("security", ()) for scope in entry.get(NAME, ())
        )
        if declared and declared != operation.scopes:
            raise ConfigError(
                f"route {name} declares {sorted(declared)}, and operation {operation.id!r} asks for "
                f"{sorted(operation.scopes)}; write the same scopes in both"
            )


async def _render(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return Response(error.body, error.status_code, error.headers)
