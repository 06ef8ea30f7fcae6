"""Refusals from inside a framework, in each of them: they look as the guard's own do, and the record says why."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from adapters.native import Reply, call, make_guard, sign
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from fastapi import FastAPI, Security
from flask import Flask
from litestar import Litestar, get
from quart import Quart
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support import BINA, TRADER
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tradeguard import ASGI, Denial, Guard, MemoryJournal, Policy
from tradeguard.adapters import fastapi, flask, litestar, quart, starlette
from tradeguard.adapters.answer import refuse
from tradeguard.core.principal import Principal
from tradeguard.signing.rows import BINANCE
from tradeguard.signing.signer import Outgoing, Signer

ROWS: dict[str, Any] = {
    "GET /v1/trades/{id}": "orders:read", "GET /v1/open/{id}": {"lane": "public"}, "GET /v1/all": "orders:read",
}  # fmt: skip
SIGNED, OPEN = "/v1/trades/all", "/v1/open/all"  # where the routers have other routes than the map has rows
PLACES = (SIGNED, OPEN, "/v1/all")
Writes = Annotated[Principal, Security(fastapi.tradeguard_principal, scopes=["orders:write"])]
HSTS = "strict-transport-security"


def make_starlette(guard: Guard) -> Any:
    async def say(_: Any) -> PlainTextResponse:
        return PlainTextResponse("the handler")

    app = Starlette(routes=[Route(place, say) for place in PLACES])
    starlette.Tradeguard(guard).init_app(app)
    return app


def make_fastapi(guard: Guard) -> Any:
    async def say() -> str:
        return "the handler"

    async def ask(_: fastapi.CurrentPrincipal) -> str:
        return "the handler"

    app = FastAPI()
    for place in PLACES:
        app.get(place)(say)
    app.get("/v1/open/{id}")(ask)
    fastapi.Tradeguard(guard).init_app(app)
    return app


def make_flask(guard: Guard) -> Any:
    app = Flask("shop", static_folder=None)
    for place in PLACES:
        app.add_url_rule(place, place, lambda: "the handler")
    flask.Tradeguard(app, guard=guard)
    return app


def make_quart(guard: Guard) -> Any:
    async def say() -> str:
        return "the handler"

    app = Quart("shop", static_folder=None)
    for place in PLACES:
        app.add_url_rule(place, place, say)
    quart.Tradeguard(guard).init_app(app)
    return app


def make_litestar(guard: Guard) -> Any:
    @get(list(PLACES))
    async def say() -> str:
        return "the handler"

    return Litestar([say], plugins=[litestar.Tradeguard(guard)], openapi_config=None)


urlpatterns = [path(place[1:], lambda _: HttpResponse("the handler")) for place in PLACES]


def call_django(make: Callable[[], Any], send: Callable[..., Reply], urls: str = __name__) -> Callable[..., Reply]:
    """Ask Django with the guard in its settings; the handler reads them when it is made."""

    def ask(guard: Guard, request: Outgoing, scheme: str) -> Reply:
        if not settings.configured:
            settings.configure()
        with override_settings(
            ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], MIDDLEWARE=["tradeguard.adapters.django.guard"],
            TRADEGUARD={"guard": guard},
        ):  # fmt: skip
            return send(make(), request, scheme)

    return ask


def call_asgi(app: Any, request: Outgoing, scheme: str, *, live: bool = False) -> Reply:
    return call(app, request, live=live, scheme=scheme)


def call_wsgi(app: Any, request: Outgoing, scheme: str) -> Reply:
    base, fields = f"{scheme}://api.example", [(name.decode(), value.decode()) for name, value in request.headers]
    builder = EnvironBuilder(path=request.target.decode(), base_url=base, headers=fields)
    environ = {**builder.get_environ(), "REMOTE_ADDR": "127.0.0.1"}
    chunks, status, headers = run_wsgi_app(app, environ)
    body = b"".join(chunks)
    getattr(chunks, "close", lambda: None)()
    raw = [(name.lower(), value) for name, value in headers]
    return Reply(int(status[:3]), dict(raw), body, raw)


FRAMEWORKS: dict[str, Callable[[Guard, Outgoing, str], Reply]] = {
    "starlette": lambda guard, request, scheme: call_asgi(make_starlette(guard), request, scheme),
    "fastapi": lambda guard, request, scheme: call_asgi(make_fastapi(guard), request, scheme),
    "flask": lambda guard, request, scheme: call_wsgi(make_flask(guard), request, scheme),
    "quart": lambda guard, request, scheme: call_asgi(make_quart(guard), request, scheme),
    "litestar": lambda guard, request, scheme: call_asgi(make_litestar(guard), request, scheme, live=True),
    "django": call_django(WSGIHandler, call_wsgi),
    "django-asgi": call_django(ASGIHandler, call_asgi),
}


class Site:
    """One framework's application behind a guard with this policy, and the journal of that guard."""

    def __init__(self, name: str) -> None:
        self._ask = FRAMEWORKS[name]
        self.journal = MemoryJournal()

    def ask(self, target: str, signer: Signer | None = None, scheme: str = "https", **policy: Any) -> Reply:
        plain = Outgoing("GET", "api.example", target.encode())
        request = plain if signer is None else sign("GET", target, signer=signer)
        return self._ask(make_guard(ROWS, self.journal, Policy(**policy)), request, scheme)


@pytest.fixture(params=FRAMEWORKS)
def site(request: pytest.FixtureRequest) -> Site:
    return Site(request.param)


def test_what_map_and_router_agree_on_passes(site: Site) -> None:
    reply = site.ask("/v1/all", TRADER)
    assert (reply.status, b"the handler" in reply.body) == (200, True)
    assert (site.journal.events[-1].kind, site.journal.events[-1].code) == ("outcome", "")


@pytest.mark.parametrize(
    ("hsts", "said"),
    [
        ({}, ["max-age=63072000"]),
        ({"hsts": "max-age=31536000; includeSubDomains"}, ["max-age=31536000; includeSubDomains"]),
        ({"hsts": ""}, []),
    ],
)
@pytest.mark.parametrize("target", [SIGNED, "/v1/all", "/v1/none"])
def test_over_tls_hsts_is_what_the_policy_says_and_stands_once(
    site: Site, hsts: dict[str, str], said: list[str], target: str
) -> None:
    reply = site.ask(target, TRADER, **hsts)
    assert reply.status == {SIGNED: 503, "/v1/all": 200, "/v1/none": 404}[target]
    assert reply.all(HSTS) == said
    assert len(reply.all("x-request-id")) == 1
    assert site.ask(target, TRADER, "http", **hsts).all(HSTS) == []


@pytest.mark.parametrize(
    ("target", "signer", "default", "venue"),
    [
        (SIGNED, BINA, "", True),
        (SIGNED, BINA, "binance", True),
        (SIGNED, TRADER, "", False),
        (SIGNED, TRADER, "binance", False),
        (OPEN, None, "", False),
        (OPEN, None, "binance", True),
    ],
)
def test_it_is_said_in_the_words_in_which_the_guard_refuses(
    site: Site, target: str, signer: Signer | None, default: str, venue: bool
) -> None:
    reply = site.ask(target, signer, refusals=default)
    assert reply.status == 503
    told, kind = reply.json, reply.all("content-type")
    if venue:
        assert kind == ["application/json;charset=UTF-8"]
        assert (told["code"], isinstance(told["msg"], str), "type" in told) == (0, True, False)
        assert reply.all("tradeguard-code") == ["template.mismatch"]
    else:
        assert kind == ["application/problem+json"]
        assert (told["code"], told["executed"]) == ("template.mismatch", False)
        assert reply.all("tradeguard-code") == []
    assert reply.all("x-request-id") == [told["request_id"]] == [site.journal.events[-1].request_id]
    shape = BINANCE if venue else None
    assert reply.body == refuse(Denial("template.mismatch"), told["request_id"], challenge="", shape=shape).body


def test_route_and_row_are_on_record_and_no_caller_is_told(site: Site) -> None:
    reply = site.ask(SIGNED, TRADER)
    outcome = site.journal.events[-1]
    assert (outcome.kind, outcome.status, outcome.code) == ("outcome", 503, "template.mismatch")
    assert outcome.detail == "routed to /v1/trades/all, by the map GET /v1/trades/{id}"
    assert [event.kind for event in site.journal.events].count("outcome") == 1
    assert b"/v1/trades" not in reply.body


def test_what_an_own_handler_answers_is_no_refusal_on_record(site: Site) -> None:
    assert site.ask("/v1/none", TRADER).status == 404
    assert site.journal.events[-1].code == "guard.unmapped"


# --- what only some of them do -------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", ["", "binance"])
def test_nobody_to_give_is_refused_with_the_challenge_of_the_guard(default: str) -> None:
    journal = MemoryJournal()
    guard = make_guard(ROWS, journal, Policy(refusals=default))
    reply = call_asgi(make_fastapi(guard), Outgoing("GET", "api.example", b"/v1/open/7"), "https")
    assert (reply.status, reply.all("www-authenticate"), reply.all(HSTS)) == (
        401,
        [guard.challenge],
        ["max-age=63072000"],
    )
    assert ("msg" in reply.json) is (default == "binance")
    assert (journal.events[-1].kind, journal.events[-1].code) == ("outcome", "proof.unclaimed")


def test_scopes_that_a_route_declares_beyond_its_row_are_on_record() -> None:
    async def place(_: Writes) -> str:
        return "the handler"

    app, journal = FastAPI(), MemoryJournal()
    app.get("/v1/all", include_in_schema=False)(place)
    fastapi.Tradeguard(make_guard(ROWS, journal)).init_app(app)
    assert call_asgi(app, sign("GET", "/v1/all"), "http").code == "template.scopes"
    assert journal.events[-1].code == "template.scopes"
    assert journal.events[-1].detail == "declared ['orders:write'], by the map ['orders:read']"


def test_a_client_that_left_before_the_refusal_does_not_hide_why_it_was_one() -> None:
    journal = MemoryJournal()
    app = make_starlette(make_guard(ROWS, journal))

    async def leave(scope: Any, receive: Any, _send: Any) -> None:
        async def send(_: Any) -> None:
            raise OSError("gone")

        await app(scope, receive, send)

    with pytest.raises(OSError, match="gone"):
        call(leave, sign("GET", SIGNED), live=False)
    outcome = journal.events[-1]
    assert (outcome.code, outcome.status) == ("template.mismatch", 503)
    assert outcome.detail == "routed to /v1/trades/all, by the map GET /v1/trades/{id}; OSError"


def test_the_guard_whose_map_is_wrong_has_the_refusal_on_record_and_no_other() -> None:
    inner, outer = MemoryJournal(), MemoryJournal()
    rows = {"GET /v1/trades/all": "orders:read"}
    app = ASGI(make_starlette(make_guard(ROWS, inner)), make_guard(rows, outer))
    assert call(app, sign("GET", SIGNED), live=False).code == "template.mismatch"
    assert [(events[-1].status, events[-1].code) for events in (inner.events, outer.events)] == [
        (503, "template.mismatch"),
        (503, ""),
    ]


@pytest.mark.parametrize("name", ["Tradeguard-Passage", "Tradeguard.Passage", "tradeguard_passage"])
def test_no_field_of_a_request_stands_for_having_passed(name: str) -> None:
    forged = Outgoing("GET", "api.example", b"/v1/all", headers=((name.encode(), b"1"),))
    assert call_wsgi(make_flask(make_guard(ROWS)), forged, "http").status == 401
    assert call(make_starlette(make_guard(ROWS)), forged, live=False).status == 401
