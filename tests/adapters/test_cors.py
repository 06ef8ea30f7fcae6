"""CORS and HSTS at every host: preflights before any proof, refusals that a page may read, nothing said twice."""

from collections.abc import Callable
from typing import Any

import flask
import pytest
from adapters.asks import HOSTS, Got, ask_asgi, ask_wsgi, make_asgi, make_wsgi
from flask_cors import CORS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support import make_guard

from tradeguard import ASGI, WSGI, MemoryJournal, Policy, Source
from tradeguard.core.cors import Cors
from tradeguard.core.proxy import Proxies

PAGE, EVIL = "https://trade.example", "https://evil.example"
POLICY = Policy(cors=Cors(origins=[PAGE], headers=["tg-key", "tg-signature"], expose=["x-own"]))
PREFLIGHT = [("Origin", PAGE), ("Access-Control-Request-Method", "DELETE")]
EXPOSED = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Tradeguard-Code, x-own"
Ask = Callable[..., Got]


@pytest.fixture(params=HOSTS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask an application behind a guard with this policy, made anew."""
    make, send = HOSTS[request.param]

    def ask(method: str, path: str, fields: Any = (), *, own: Any = (), policy: Policy = POLICY, **parts: Any) -> Got:
        return send(make(make_guard(runtime=None, policy=policy, **parts), own), method, path, fields)

    return ask


def test_a_preflight_is_answered_before_any_proof(ask: Ask) -> None:
    got = ask("OPTIONS", "/v1/orders", PREFLIGHT)
    assert (got.status, got.body) == (204, b"")
    assert got.all("access-control-allow-origin") == [PAGE]
    assert got.all("access-control-allow-methods") == ["DELETE, GET, HEAD, POST"]
    assert got.all("access-control-allow-headers") == ["tg-key, tg-signature"]
    assert got.all("access-control-max-age") == ["600"]
    assert len(got.all("x-request-id")) == 1


def test_a_preflight_tells_nothing_of_the_map(ask: Ask) -> None:
    told = []
    for path in ("/v1/orders", "/v1/time", "/v1/nothing", "/", "/v1/withdraw"):
        got = ask("OPTIONS", path, PREFLIGHT)
        told.append((got.status, sorted(field for field in got.fields if field[0] not in ("x-request-id", "date"))))
    assert all(answer == told[0] for answer in told)


def test_a_preflight_leaves_no_event(ask: Ask) -> None:
    journal = MemoryJournal()
    ask("OPTIONS", "/v1/orders", PREFLIGHT, journal=journal)
    assert list(journal.events) == []


def test_a_gated_source_gets_no_preflight_either(ask: Ask) -> None:
    class Shut(Source):
        def door(self, source: str | None, at: int, /) -> Any:
            return self._closed((), at, "source.address")

        def _closed(self, key: Any, at: int, code: str) -> Any:
            from tradeguard import Denial

            return Denial(code, retry_after=5)

    from support import make_checks

    got = ask("OPTIONS", "/v1/orders", PREFLIGHT, checks=[Shut(), *make_checks()[1:]])
    assert (got.status, got.all("access-control-allow-origin"), got.all("retry-after")) == (429, [PAGE], ["5"])


@pytest.mark.parametrize(
    "fields",
    [
        [("Origin", EVIL), ("Access-Control-Request-Method", "DELETE")],
        [("Origin", "null"), ("Access-Control-Request-Method", "DELETE")],
        [("Origin", PAGE), ("Access-Control-Request-Method", "PUT")],
    ],
)
def test_what_is_not_allowed_gets_no_field_of_cors(ask: Ask, fields: Any) -> None:
    got = ask("OPTIONS", "/v1/orders", fields)
    assert (got.status, got.cors()) == (204, [])
    assert got.all("vary") == ["Origin, Access-Control-Request-Method, Access-Control-Request-Headers"]


@pytest.mark.parametrize(("path", "status"), [("/v1/time", 200), ("/v1/orders", 401), ("/v1//x", 400)])
def test_every_answer_and_every_refusal_may_be_read_by_an_allowed_page(ask: Ask, path: str, status: int) -> None:
    got = ask("GET", path, [("Origin", PAGE)])
    assert got.status == status
    assert got.all("access-control-allow-origin") == [PAGE]
    assert got.all("access-control-expose-headers") == [EXPOSED]
    assert got.all("vary") == ["Origin"]
    got = ask("GET", path, [("Origin", EVIL)])
    assert (got.status, got.cors(), got.all("vary")) == (status, [], ["Origin"])


def test_what_the_application_says_on_cors_is_left_out(ask: Ask) -> None:
    own = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Credentials", "true"), ("Vary", "Accept")]
    got = ask("GET", "/v1/time", [("Origin", EVIL)], own=own)
    assert (got.cors(), got.all("vary")) == ([], ["Accept", "Origin"])
    got = ask("GET", "/v1/time", [("Origin", PAGE)], own=[*own, ("Vary", "origin")])
    assert (got.all("access-control-allow-origin"), got.all("access-control-allow-credentials")) == ([PAGE], [])
    assert got.all("vary") == ["Accept", "origin"]


def test_where_any_page_may_call_the_guard_alone_speaks_too(ask: Ask) -> None:
    policy = Policy(cors=Cors(origins=["*"]))
    own = [("Access-Control-Allow-Origin", EVIL), ("Access-Control-Allow-Credentials", "true")]
    assert ask("GET", "/v1/time", own=own, policy=policy).cors() == []
    got = ask("GET", "/v1/time", [("Origin", EVIL)], own=own, policy=policy)
    assert (got.all("access-control-allow-origin"), got.all("access-control-allow-credentials")) == (["*"], [])


def test_without_settings_the_guard_says_nothing_and_an_options_is_a_request(ask: Ask) -> None:
    got = ask("OPTIONS", "/v1/orders", PREFLIGHT, policy=Policy())
    assert (got.status, got.cors(), got.all("vary")) == (401, [], [])
    own = [("Access-Control-Allow-Origin", "*")]
    assert ask("GET", "/v1/time", [("Origin", EVIL)], own=own, policy=Policy()).cors() == [
        "access-control-allow-origin"
    ]


PROXIED = Proxies(header="x-forwarded-for", trusted=["127.0.0.1/32"])
OVER_TLS = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")]


@pytest.mark.parametrize(
    ("hsts", "said"),
    [
        ("max-age=63072000", ["max-age=63072000"]),
        ("max-age=31536000; includeSubDomains", ["max-age=31536000; includeSubDomains"]),
        ("", []),
    ],
)
@pytest.mark.parametrize("path", ["/v1/time", "/v1/orders"])
def test_hsts_is_what_the_policy_says_where_a_trusted_proxy_ends_tls(
    ask: Ask, hsts: str, said: list[str], path: str
) -> None:
    policy = Policy(hsts=hsts, proxies=PROXIED)
    assert ask("GET", path, OVER_TLS, policy=policy).all("strict-transport-security") == said
    assert ask("GET", path, policy=policy).all("strict-transport-security") == []
    assert ask("GET", path, OVER_TLS, policy=Policy(hsts=hsts)).all("strict-transport-security") == []


def test_hsts_of_the_application_stands_where_ours_does_not(ask: Ask) -> None:
    own = [("Strict-Transport-Security", "max-age=1")]
    policy = Policy(proxies=PROXIED)
    assert ask("GET", "/v1/time", own=own, policy=policy).all("strict-transport-security") == ["max-age=1"]
    got = ask("GET", "/v1/time", OVER_TLS, own=own, policy=policy)
    assert got.all("strict-transport-security") == ["max-age=63072000"]


async def home(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


LAYER = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"])


def test_starlettes_own_middleware_inside_says_nothing_twice() -> None:
    app = ASGI(
        Starlette(routes=[Route("/v1/time", home)], middleware=[LAYER]), guard=make_guard(policy=POLICY, runtime=None)
    )
    got = ask_asgi(app, "GET", "/v1/time", [("Origin", PAGE)])
    assert (got.status, got.all("access-control-allow-origin"), got.all("vary")) == (200, [PAGE], ["Origin"])
    assert ask_asgi(app, "GET", "/v1/time", [("Origin", EVIL)]).cors() == []
    assert ask_asgi(app, "OPTIONS", "/v1/time", PREFLIGHT).all("access-control-max-age") == ["600"]


def test_starlettes_own_middleware_outside_decides_and_says_nothing_twice() -> None:
    guarded = make_asgi(make_guard(policy=POLICY, runtime=None))
    app = CORSMiddleware(guarded, allow_origins=[PAGE], allow_methods=["GET"])
    for path, status in (("/v1/time", 200), ("/v1/orders", 401)):
        got = ask_asgi(app, "GET", path, [("Origin", PAGE)])
        assert (got.status, got.all("access-control-allow-origin")) == (status, [PAGE])
    assert ask_asgi(app, "OPTIONS", "/v1/orders", PREFLIGHT).status == 400  # its own word, on its own settings


def test_flask_cors_inside_says_nothing_twice() -> None:
    app: Any = flask.Flask("shop")
    CORS(app)
    app.add_url_rule("/v1/time", view_func=lambda: "ok")
    guarded = WSGI(app, guard=make_guard(policy=POLICY, runtime=None))
    got = ask_wsgi(guarded, "GET", "/v1/time", [("Origin", PAGE)])
    assert (got.status, got.all("access-control-allow-origin")) == (200, [PAGE])
    assert ask_wsgi(guarded, "GET", "/v1/time", [("Origin", EVIL)]).cors() == []
    assert ask_wsgi(guarded, "OPTIONS", "/v1/orders", PREFLIGHT).all("access-control-allow-origin") == [PAGE]


def test_flask_cors_alone_leaves_refusals_unread() -> None:
    app: Any = flask.Flask("shop")
    CORS(app)
    app.add_url_rule("/v1/time", view_func=lambda: "ok")
    guarded = WSGI(app, guard=make_guard(runtime=None))
    assert ask_wsgi(guarded, "GET", "/v1/time", [("Origin", PAGE)]).all("access-control-allow-origin") == [PAGE]
    assert ask_wsgi(guarded, "GET", "/v1/orders", [("Origin", PAGE)]).cors() == []


def test_a_new_policy_speaks_from_the_next_request_on() -> None:
    from support import OPERATIONS, make_checks

    from tradeguard import Operations

    guard = make_guard(policy=Policy(), runtime=None)
    app = make_wsgi(guard)
    assert ask_wsgi(app, "GET", "/v1/time", [("Origin", PAGE)]).cors() == []
    guard.adopt(make_checks(), operations=Operations(OPERATIONS), policy=POLICY)
    assert ask_wsgi(app, "GET", "/v1/time", [("Origin", PAGE)]).all("access-control-allow-origin") == [PAGE]


def test_the_policy_of_cors_and_proxies_is_part_of_the_mark() -> None:
    marks = {
        make_guard(policy=policy).policy_mark
        for policy in (Policy(), POLICY, Policy(proxies=PROXIED), Policy(hsts=""), Policy(cors=Cors(origins=[EVIL])))
    }
    assert len(marks) == 5
