"""The pytest plugin, used as a customer uses it: in a file of its own, with real frameworks and their test clients."""

from pathlib import Path

import pytest
from testing.page import counts, run_pytest

HEAD = """
import pytest
from tradeguard import ASGI, WSGI, Denial
OPERATIONS = {"GET /time": {"lane": "public"}, "GET /orders": "orders:read", "POST /orders": "orders:write"}
"""

STARLETTE = (
    HEAD
    + """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

async def orders(request):
    return JSONResponse({"key": request.scope["tradeguard"].principal.key_id, "body": (await request.body()).decode()})

async def time(request):
    return JSONResponse({})

@pytest.fixture
def http(tg_guard):
    app = Starlette(routes=[Route("/orders", orders, methods=["GET", "POST"]), Route("/time", time)])
    return TestClient(ASGI(app, guard=tg_guard(OPERATIONS)))
"""
)

FLASK = (
    HEAD
    + """
from flask import Flask, request

@pytest.fixture
def http(tg_guard):
    app = Flask(__name__)
    app.wsgi_app = WSGI(app.wsgi_app, guard=tg_guard(OPERATIONS))

    @app.route("/orders", methods=["GET", "POST"])
    def orders():
        return {"key": request.environ["tradeguard"].principal.key_id, "body": request.get_data().decode()}

    @app.route("/time")
    def time():
        return {}

    return app.test_client()
"""
)

DJANGO = (
    HEAD
    + """
from django.conf import settings
if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[], SECRET_KEY="of tests")
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.test import Client
from django.urls import path
guarded = []

def orders(request):
    if "tradeguard" not in request.META:  # the guard stands around Django, and Django's client goes to Django
        started = []
        request.META["wsgi.input"] = __import__("io").BytesIO(request.body)
        body = b"".join(guarded[-1](request.META, lambda *start: started.append(start)))
        return HttpResponse(body, status=int(started[0][0][:3]), headers=dict(started[0][1]))
    return JsonResponse({"key": request.META["tradeguard"].principal.key_id, "body": request.body.decode()})

def time(request):
    return JsonResponse({})

urlpatterns = [path("orders", orders), path("time", time)]

@pytest.fixture
def http(tg_guard):
    guarded.append(WSGI(get_wsgi_application(), guard=tg_guard(OPERATIONS)))
    return Client()
"""
)

TESTS = """
@pytest.fixture
def client(http, tg_client, tg_signer):
    return tg_client(http, tg_signer("orders:read", "orders:write", id="trader"))

def test_a_signed_request_is_served(client):
    response = client.post("/orders", json={"side": "buy"})
    assert response.status_code == 200
    assert (response.json if isinstance(response.json, dict) else response.json()) == {
        "key": "trader", "body": '{"side": "buy"}'}
    assert client.get("/orders?limit=5&symbol=BTC%20USD").status_code == 200
    assert client.get("/time", signer=None).status_code == 200

def test_an_unsigned_one_is_denied(client, assert_denied):
    assert_denied(client.get("/orders", signer=None), "unauthorized")
    assert_denied(client.get("/orders", signer=None), "proof.unclaimed")

def test_the_journal_knows_which_401_it_is(client, assert_denied, tg_journal):
    request = client.sign("POST", "/orders", json={"qty": 1})._replace(body=b'{"qty": 9}')
    response = client.send(request)
    assert_denied(response, "signature.wrong")
    assert [event.code for event in tg_journal.events] == ["signature.wrong"]
    with pytest.raises(AssertionError, match="expected signature.unknown, but it is signature.wrong"):
        assert_denied(response, "signature.unknown")

def test_a_replay_is_denied(client, assert_denied):
    request = client.sign("POST", "/orders", json={})
    assert client.send(request).status_code == 200
    assert_denied(client.send(request), "replay.seen")

def test_the_clock_moves_when_it_is_told(client, assert_denied, tg_clock):
    request = client.sign("GET", "/orders")
    tg_clock.move(seconds=31)
    assert_denied(client.send(request), "freshness.stale")
    assert client.get("/orders").status_code == 200

def test_a_scope_that_is_missing_is_denied(http, tg_client, tg_signer, assert_denied):
    client = tg_client(http, tg_signer("orders:read"))
    assert_denied(client.post("/orders", json={}), "scope.missing")
    with pytest.raises(AssertionError, match="expected replay.seen, but it is scope.missing"):
        assert_denied(client.post("/orders", json={}), "replay.seen")

def test_a_key_that_was_revoked_is_nobody(http, tg_client, tg_signer, assert_denied):
    client = tg_client(http, tg_signer("orders:read", state="revoked"))
    assert_denied(client.get("/orders"), "unauthorized")

def test_an_answer_that_is_no_refusal_is_not_taken_for_one(client, assert_denied):
    with pytest.raises(AssertionError, match="but the answer is 200"):
        assert_denied(client.get("/orders"), "replay.seen")
    with pytest.raises(AssertionError, match="but it is guard.unmapped"):
        assert_denied(client.put("/orders"), "scope.missing")
"""


@pytest.mark.parametrize("app", [STARLETTE, FLASK, DJANGO], ids=["starlette", "flask", "django"])
def test_a_customers_tests_pass_with_the_test_client_of(app: str, tmp_path: Path) -> None:
    assert counts(tmp_path, app + TESTS) == "8 passed"


DECISIONS = (
    HEAD
    + """
from tradeguard import Hmac, KeyRecord, MemoryKeys, Policy, Request, Signer, TG1, Outgoing
from tradeguard.core.drive import drive
from tradeguard.core.request import Headers, Peer
from tradeguard.core.address import parse_address

def ask(guard, request, address="127.0.0.1"):
    fields = [(b"host", b"api.example"), *request.headers]
    return drive(guard.admit(Request(id="1", method=request.method, target=request.target, path="/orders",
        headers=Headers(fields), peer=Peer(parse_address(address)), arrived=guard.runtime.now(), body=request.body)))

def sign(signer, clock, method="GET"):
    return signer.sign(Outgoing(method, "api.example", b"/orders"), clock.now())

def test_a_guard_decides_without_a_host(tg_guard, tg_signer, tg_clock, assert_denied):
    signer = tg_signer("orders:read", networks=["203.0.113.0/24"])
    guard = tg_guard(OPERATIONS)
    assert_denied(ask(guard, sign(signer, tg_clock)), "network.outside")
    granted = ask(guard, sign(signer, tg_clock), "203.0.113.9")
    assert granted.principal.key_id == signer.key_id
    with pytest.raises(AssertionError, match="the request was granted"):
        assert_denied(granted, "network.outside")

def test_keys_and_checks_of_ones_own(tg_guard, tg_clock, assert_denied):
    class Closed:
        async def __call__(self, request):
            return Denial("hours.closed", status=403)
    keys = MemoryKeys([KeyRecord(id="mine", dialect="tg1", material=Hmac(b"k" * 32), scopes=["orders:read"])])
    signer = Signer(TG1, "mine", b"k" * 32)
    guard = tg_guard(OPERATIONS, keys=keys, also=[Closed()])
    assert_denied(ask(guard, sign(signer, tg_clock)), "hours.closed")
    with pytest.raises(Exception, match="no check proves who is asking"):
        tg_guard(OPERATIONS, checks=[Closed()])

class TestOwnScopes:
    @pytest.fixture
    def tg_policy(self):
        return Policy(scopes=["orders:write:algo"])

    def test_scopes_of_ones_own_are_known(self, tg_guard, tg_signer, tg_clock):
        guard = tg_guard({"GET /orders": "orders:write:algo"})
        assert ask(guard, sign(tg_signer("orders:write:algo"), tg_clock)).principal is not None

def test_a_clock_never_steps_back(tg_clock):
    with pytest.raises(Exception, match="never steps back"):
        tg_clock.move(seconds=-1)

def test_secrets_are_random(tg_signer, tg_clock):
    one, two = (tg_signer("orders:read", id=id) for id in "ab")
    assert sign(one, tg_clock).headers != sign(two, tg_clock).headers

@pytest.mark.parametrize("client", [object(), None, "http://127.0.0.1"])
def test_what_is_no_test_client_is_refused(client, tg_client):
    with pytest.raises(Exception, match="give the test client of Starlette, Flask or Django"):
        tg_client(client)
"""
)


def test_decisions_keys_and_checks_of_ones_own(tmp_path: Path) -> None:
    assert counts(tmp_path, DECISIONS) == "8 passed"


RESPONSES = """
import httpx, requests, pytest
from starlette.responses import Response
from flask import Response as FlaskResponse
BODY = b'{"code":"replay.seen"}'
FIELDS = {"Content-Type": "application/problem+json"}

def of_requests():
    response = requests.Response()
    response.status_code, response._content = 409, BODY
    response.headers.update(FIELDS)
    return response

EACH = [
    httpx.Response(409, headers=FIELDS, content=BODY),
    of_requests(),
    Response(BODY, 409, FIELDS),
    FlaskResponse(BODY, 409, FIELDS),
    (409, FIELDS, BODY),
    (409, [(b"content-type", b"application/problem+json")], BODY),
]

@pytest.mark.parametrize("response", EACH)
def test_it_is_read(response, assert_denied):
    assert_denied(response, "replay.seen")
    with pytest.raises(AssertionError, match="expected replay.full"):
        assert_denied(response, "replay.full")

@pytest.mark.parametrize("response", [
    (500, FIELDS, BODY), (409, {}, BODY), (409, {"content-type": "text/html"}, b"replay.seen"), (409, FIELDS, b"{}"),
    (200, FIELDS, BODY),
])
def test_what_only_looks_like_it_is_not_taken_for_it(response, assert_denied):
    with pytest.raises(AssertionError, match="expected replay.seen"):
        assert_denied(response, "replay.seen")

def test_before_the_proof_a_code_needs_the_journal(assert_denied):
    response = (401, FIELDS, b'{"code":"unauthorized"}')
    assert_denied(response, "unauthorized")
    with pytest.raises(AssertionError, match="let the guard write into tg_journal"):
        assert_denied(response, "signature.wrong")

@pytest.mark.parametrize("response", [None, "409", 409, object()])
def test_what_is_no_response_is_an_error(response, assert_denied):
    with pytest.raises(TypeError, match="no response that can be read"):
        assert_denied(response, "replay.seen")
"""


def test_responses_of_every_client_are_understood(tmp_path: Path) -> None:
    assert counts(tmp_path, RESPONSES) == "16 passed"


def test_there_is_no_mark_that_turns_the_guard_off(tmp_path: Path) -> None:
    code = (
        STARLETTE
        + """
@pytest.mark.tradeguard(off=True)
def test_unguarded(http):
    assert http.get("/orders").status_code == 401
"""
    )
    done = run_pytest(tmp_path, code, options=["--strict-markers"])
    assert "'tradeguard' not found in `markers`" in done.stdout
