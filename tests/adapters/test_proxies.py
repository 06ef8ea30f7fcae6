"""Behind proxies: nginx, unix sockets, the PROXY protocol; who asks is who asks, whatever he writes."""

import logging
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from adapters.asks import HOSTS, ask_asgi, ask_wsgi, make_asgi, make_wsgi
from adapters.behind import FAR, NEAR, SERVERS, ask, fields_of, nginx, refused, serving, sign
from adapters.wire import read_reply, running, send, signed
from support import HOME, make_checks, make_guard

from tradeguard import MemoryJournal, Policy, Source
from tradeguard.adapters import edge
from tradeguard.core.proxy import Proxies

SPOOFS = [
    (("X-Forwarded-For", NEAR),),
    (("X-Forwarded-For", NEAR), ("X-Forwarded-For", NEAR)),
    (("X-Forwarded-For", f"{NEAR}, {NEAR}"),),
    (("X-Forwarded-For", f"{NEAR}:80"),),
    (("X-Forwarded-For", f'"{NEAR}'),),
    (("X-Forwarded-For", "," * 3000),),
    (("Forwarded", f"for={NEAR}"), ("X-Real-IP", NEAR), ("True-Client-IP", NEAR)),
    (("X_Forwarded_For", NEAR), ("X-Forwarded_For", NEAR)),
]


@pytest.fixture(scope="module", params=["uvicorn", "gunicorn"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int, int]]:
    """A server that trusts nginx on this machine, and nginx: its name and both ports."""
    folder = tmp_path_factory.mktemp("site")
    with serving(request.param, folder) as host, nginx(folder, f"127.0.0.1:{host.port}") as port:
        yield request.param, host.port, port


def test_through_nginx_an_allow_list_holds_by_the_clients_address(site: tuple[str, int, int]) -> None:
    _, _, port = site
    assert ask(port, sign(port), source=NEAR).status == 200
    reply = ask(port, sign(port), source=FAR)
    assert (reply.status, reply.json["code"], reply.json["address"]) == (403, "network.outside", FAR)


@pytest.mark.parametrize("spoof", SPOOFS, ids=str)
def test_what_a_client_writes_counts_neither_through_nginx_nor_past_it(
    site: tuple[str, int, int], spoof: tuple[tuple[str, str], ...]
) -> None:
    _, direct, port = site
    reply = ask(port, sign(port), *spoof, source=FAR)
    assert (reply.status, reply.json["address"]) == (403, FAR)
    assert ask(port, sign(port), *spoof, source=NEAR).status == 200
    reply = ask(direct, sign(direct), *spoof, source=FAR)
    assert reply.status == 403, reply
    assert reply.json["address"] == FAR


@pytest.mark.parametrize(
    "target", [b"/v1/market/BTC%3AUSD", b"/v1/orders/%C3%A9", b"/v1/orders?a=%20&b=+&c", b"/v1/orders/a:b@c"]
)
def test_nginx_hands_the_target_on_as_it_is(site: tuple[str, int, int], target: bytes) -> None:
    _, _, port = site
    assert ask(port, sign(port, "GET", target)).status == 200


@pytest.mark.parametrize("target", [b"/v1//orders", b"/v1/./orders", b"/v1/%6Frders", b"/v1/x/../orders"])
def test_nginx_makes_no_other_spelling_pass(site: tuple[str, int, int], target: bytes) -> None:
    _, _, port = site
    assert ask(port, sign(port, "GET", target)).status in (400, 401)


def test_a_location_that_strips_by_a_uri_spells_the_path_anew(site: tuple[str, int, int]) -> None:
    _, _, port = site
    assert ask(port, sign(port, "GET", b"/v1/orders")._replace(target=b"/stripped/v1/orders")).status == 200
    encoded = sign(port, "GET", b"/v1/market/BTC%3AUSD")
    assert ask(port, encoded._replace(target=b"/stripped/v1/market/BTC%3AUSD")).status == 401


def test_one_connection_to_nginx_carries_many_requests(site: tuple[str, int, int]) -> None:
    _, _, port = site
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(NEAR, 0)) as sock:
        for _ in range(5):
            sock.sendall(fields_of(port, sign(port)))
            assert read_reply(sock).status == 200


def test_bodies_pass_nginx_within_the_smaller_limit(site: tuple[str, int, int]) -> None:
    _, _, port = site
    assert ask(port, sign(port, "POST", b"/v1/orders", b"x" * 300_000)).status == 200
    reply = ask(port, sign(port, "POST", b"/v1/orders", b"x" * 400_001))
    assert (reply.status, b"nginx" in reply.body) == (413, True)  # its own limit, its own words
    early = ask(port, sign(port, "POST", b"/v1/orders", b"x" * 300_001))
    assert early.status in (413, 502)  # it may not hear an answer that comes before it has sent the body


def test_below_a_mount_the_prefix_is_signed_with_the_rest(tmp_path: Path) -> None:
    with serving("uvicorn", tmp_path, app="behind:mounted") as host, nginx(tmp_path, f"127.0.0.1:{host.port}") as port:
        assert ask(port, sign(port, "GET", b"/api/v1/market/BTC%3AUSD")).status == 200
        assert ask(port, sign(port, "GET", b"/v1/orders")._replace(target=b"/api/v1/orders")).status == 401


def test_forwarded_is_read_where_it_is_the_header(tmp_path: Path) -> None:
    more = 'proxy_set_header Forwarded "$http_forwarded, for=$remote_addr;proto=https";'
    with serving("uvicorn", tmp_path, header="forwarded") as host:  # noqa: SIM117 - nginx needs the port
        with nginx(tmp_path, f"127.0.0.1:{host.port}", more) as port:
            reply = ask(port, sign(port), ("Forwarded", 'for="'), ("X-Forwarded-For", FAR), source=NEAR)
            assert (reply.status, reply.all("strict-transport-security")) == (200, ["max-age=63072000"])
            reply = ask(port, sign(port), ("Forwarded", f"for={NEAR}"), ("X-Forwarded-For", NEAR), source=FAR)
            assert (reply.status, reply.json["address"]) == (403, FAR)


@pytest.mark.parametrize("server", SERVERS)
def test_over_a_unix_socket_the_proxy_is_trusted_by_name(server: str, tmp_path: Path) -> None:
    with serving(server, tmp_path, unix=True, trusted=("unix",)), nginx(tmp_path, f"unix:{tmp_path}/sock") as port:
        assert ask(port, sign(port), source=NEAR).status == 200
        for spoof in SPOOFS[:3]:
            reply = ask(port, sign(port), *spoof, source=FAR)
            assert (reply.status, reply.json["address"]) == (403, FAR)


@pytest.mark.parametrize("server", ["hypercorn", "waitress", "aiohttp"])
def test_every_server_hands_the_header_on(server: str, tmp_path: Path) -> None:
    with serving(server, tmp_path) as host, nginx(tmp_path, f"127.0.0.1:{host.port}") as port:
        assert ask(port, sign(port), source=NEAR).status == 200
        reply = ask(port, sign(port), *SPOOFS[0], source=FAR)
        assert (reply.status, reply.json["address"]) == (403, FAR)


def test_where_the_proxies_are_not_named_the_address_is_theirs(tmp_path: Path) -> None:
    with serving("gunicorn", tmp_path, trusted=()) as host, nginx(tmp_path, f"127.0.0.1:{host.port}") as port:
        reply = ask(port, sign(port), *SPOOFS[0], source=NEAR)
        assert (reply.status, reply.json["address"]) == (403, "127.0.0.1")


def test_the_proxy_protocol_is_the_servers_business(tmp_path: Path) -> None:
    options = ("--proxy-protocol=v1", "--proxy-allow-from=127.0.0.1")
    with serving("gunicorn", tmp_path, *options, trusted=()) as host:
        port = host.port
        line = f"PROXY TCP4 {NEAR} 127.0.0.1 4711 80\r\n".encode()
        assert ask(port, sign(port), source="127.0.0.1", first=line).status == 200
        reply = ask(port, sign(port), source="127.0.0.1", first=line.replace(NEAR.encode(), FAR.encode()))
        assert (reply.status, reply.json["address"]) == (403, FAR)
        assert refused(lambda: ask(port, sign(port), source=FAR, first=line))


def test_several_uvicorn_workers_behind_nginx_share_one_state(tmp_path: Path) -> None:
    options = ("--workers", "2")
    with serving("uvicorn", tmp_path, *options, shared=True) as host:  # noqa: SIM117 - nginx needs the port
        with nginx(tmp_path, f"127.0.0.1:{host.port}") as port:
            for _ in range(100):
                if ask(port, sign(port)).status == 200:
                    break
                time.sleep(0.05)  # what was signed within a second of a new store is refused
            for _ in range(5):
                message = sign(port)
                with ThreadPoolExecutor(4) as pool:
                    statuses = Counter(reply.status for reply in pool.map(lambda m: ask(port, m), [message] * 4))
                assert statuses == {200: 1, 409: 3}


@pytest.mark.parametrize("entry", ["203.0.113.9", "203.0.113.9:4711", "203.0.113.9: +4_711", "[2001:db8::9]:80"])
def test_uvicorn_with_its_defaults_lets_nobody_choose_his_address(entry: str, tmp_path: Path) -> None:
    with running("uvicorn-h11", tmp_path) as host:  # which takes the entry's port for the client's
        claimed = (("X-Forwarded-For", entry),)
        reply = send(host, signed(host, HOME, "POST", b"/v1/orders", b"{}", b"application/json"), extra=claimed)
        assert (reply.status, reply.json["code"], reply.json["address"]) == (403, "network.outside", "unknown")


PROXIED = Policy(proxies=Proxies(header="x-forwarded-for", trusted=["127.0.0.1/32"]))


def bad(text: str) -> list[tuple[str, str]]:
    return [
        ("X-Forwarded-For", text),
        ("TG-Key", "nobody"),
        ("TG-Time", "1"),
        ("TG-Nonce", "x" * 22),
        ("TG-Signature", "x"),
    ]


@pytest.mark.parametrize("host", HOSTS)
def test_the_door_closes_for_the_client_and_not_for_his_neighbours_or_the_proxy(host: str) -> None:
    make, ask_host = HOSTS[host]
    guard = make_guard([Source(address=2, pair=2), *make_checks()[1:]], policy=PROXIED, runtime=None)
    failing = bad("6.6.6.6, 203.0.113.9")
    answers = [ask_host(make(guard), "GET", "/v1/orders", failing).status for _ in range(6)]
    assert (answers[0], answers[-1]) == (401, 429)
    for other in ("203.0.113.9, 198.51.100.7", "6.6.6.6", "_x", ""):
        assert ask_host(make(guard), "GET", "/v1/time", [("X-Forwarded-For", other)]).status == 200


@pytest.mark.parametrize("host", HOSTS)
def test_whoever_hides_his_address_is_counted_all_the_same(host: str) -> None:
    make, ask_host = HOSTS[host]
    guard = make_guard([Source(address=2, pair=2), *make_checks()[1:]], policy=PROXIED, runtime=None)
    answers = [ask_host(make(guard), "GET", "/v1/orders", bad(f"unknown, _hidden{n}")).status for n in range(6)]
    assert (answers[0], answers[-1]) == (401, 429)
    assert ask_host(make(guard), "GET", "/v1/time", [("X-Forwarded-For", "203.0.113.9")]).status == 200


@pytest.mark.parametrize("host", HOSTS)
def test_the_record_has_the_clients_address(host: str) -> None:
    make, ask_host = HOSTS[host]
    journal = MemoryJournal()
    app = make(make_guard(policy=PROXIED, journal=journal, runtime=None))
    ask_host(app, "GET", "/v1/time", [("X-Forwarded-For", "6.6.6.6, 203.0.113.9")])
    assert journal.events[-1].source == "203.0.113.9"
    app = make(make_guard(policy=PROXIED, journal=journal, runtime=None))
    ask_host(app, "GET", "/v1/time", [("X-Forwarded-For", "unknown")])
    assert journal.events[-1].source == "via 127.0.0.1"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_a_header_from_a_peer_that_is_not_listed_is_said_once_with_the_cure(
    header: str, caplog: pytest.LogCaptureFixture
) -> None:
    edge._warn_unlisted.cache_clear()
    app = make_asgi(make_guard(runtime=None))
    for _ in range(3):
        ask_asgi(app, "GET", "/v1/time", [(header, "203.0.113.9")])
    listed = make_wsgi(make_guard(runtime=None, policy=PROXIED))
    ask_wsgi(listed, "GET", "/v1/time", [(header, "203.0.113.9")], client=("10.0.0.9", 5))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert header.lower() in record.getMessage()
    assert "list it" in record.getMessage()


def test_a_header_from_a_listed_peer_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    edge._warn_unlisted.cache_clear()
    ask_wsgi(make_wsgi(make_guard(runtime=None, policy=PROXIED)), "GET", "/v1/time", [("X-Forwarded-For", "1.2.3.4")])
    assert caplog.records == []


@pytest.mark.parametrize("client", [("203.0.113.9", 4711), ("203.0.113.9", 0)])
def test_who_writes_his_own_address_and_port_is_unknown_and_counted(client: Any) -> None:
    guard = make_guard([Source(address=2, pair=2), *make_checks()[1:]], runtime=None)
    app = make_asgi(guard)
    own = [("X-Forwarded-For", f"{client[0]}:{client[1]}"), *bad("x")[1:]]
    answers = [ask_asgi(app, "GET", "/v1/orders", own, client=client).status for _ in range(6)]
    assert answers[-1] == (429 if client[1] else 401)  # port 0: a server that replaced the address, as ever uncounted
