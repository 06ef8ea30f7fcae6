"""`tradeguard sign curl --dialect ...`: what it prints for each dialect, real curl sends and a real guard takes."""

import itertools
import json
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from wsgiref.simple_server import make_server

import pytest
from cli.test_sign import Quiet, application
from cli.venue import Shell, Venue

from tradeguard import WSGI
from tradeguard.cli.dialect import BUILT_IN, Dialect
from tradeguard.config import build_guard
from tradeguard.signing.place import Field
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS

ACME = """\
[dialects.acme]
title = "Acme Markets"
algorithms = { "hmac-sha256" = "hex" }
message = "{time}\\n{method}\\n{target}\\n{body}"
key = { header = "X-Acme-Key" }
signature = { header = "X-Acme-Signature" }
time = { header = "X-Acme-Time" }
passphrase = { header = "X-Acme-Phrase" }
unit = "ms"
window = { past = "5s", future = "1s" }
"""
PATH = "/v1/orders"
MOUNTED = "/private/orders"  # Crypto.com signs the path as a word, without digits
TRICKY = "a%20b%20c%2Fd~%2A%27%28%29%C3%A9"
_count = itertools.count(1)
Place = tuple[Venue, str]


def path_of(dialect: Dialect) -> str:
    return dialect.mount + MOUNTED if isinstance(dialect, Row) and dialect.mount else PATH


def groups() -> list[list[Dialect]]:
    """The dialects in as few guards as can tell them apart: two that name the key in one place stand in two."""
    found: list[list[Dialect]] = []
    for dialect in BUILT_IN.values():
        place = getattr(dialect, "key", None)
        home = next((group for group in found if all(getattr(one, "key", None) != place for one in group)), None)
        if home is None:
            found.append(home := [])
        home.append(dialect)
    return found


def configure(venue: Venue, dialects: list[Dialect]) -> None:
    names = [dialect.name for dialect in dialects]
    venue.configure('# dialects = ["tg1"]', f"dialects = {json.dumps([*names, 'acme'])}")
    venue.configure("# accept = []", f"accept = {json.dumps([name for name in names if name != 'tg1'])}")
    venue.configure("[bearer]", f"{ACME}\n[bearer]")
    rows = [
        f'"{method} {path}" = "{scope}"'
        for path in {path_of(dialect) for dialect in dialects} - {PATH}
        for method, scope in (("GET", "orders:read"), ("POST", "orders:write"))
    ]
    venue.configure("[operations]", "[operations]\n" + "\n".join(rows))


def outgrow_the_barrier(venue: Venue) -> None:
    """A new state refuses what was signed before its beginning, by up to 5 minutes (HTX); let it have begun in 1970."""
    with closing(sqlite3.connect(venue.data / "state.db")) as connection, connection:
        connection.execute("UPDATE store SET since = 1")


def start(venue: Venue) -> Iterator[str]:
    guard = build_guard(venue.config, {})
    with make_server("127.0.0.1", 0, WSGI(application, guard), handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
    guard.close()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """Each dialect's venue and the URL of its server."""
    found: dict[str, Place] = {}
    running: list[Iterator[str]] = []
    for dialects in groups():
        venue = Venue(tmp_path_factory.mktemp("venue") / "venue")
        configure(venue, dialects)
        venue.issue()  # makes the state
        outgrow_the_barrier(venue)
        running.append(server := start(venue))
        found |= dict.fromkeys([dialect.name for dialect in dialects], (venue, next(server)))
    yield {**found, "acme": found["tg1"]}
    for server in running:
        next(server, None)


def issue(place: Place, dialect: str, algorithm: str) -> tuple[str, ...]:
    """Issue a key; return the options that name it, with what its client was given in files."""
    venue, _ = place
    words = ("keys", "new", "--owner", "acme", "--role", "trader", "--network", "127.0.0.1/32")
    made = venue.ask(*words, "--dialect", dialect, "--algorithm", algorithm)
    options = ["--key", made["id"]]
    for name in ("secret", "passphrase"):
        if name in made:
            file = venue.folder / f"{made['id']}.{name}"
            file.write_text(made[name] + "\n")
            options += [f"--{name}-file", str(file)]
    return tuple(options)


def requests_of(dialect: Dialect) -> Iterator[tuple[str, ...]]:
    """Method, target and body options: a read, one with a query, and an order, each told apart from those before."""
    row, path, n = dialect, path_of(dialect), next(_count)
    in_body = isinstance(row, Row) and any(isinstance(place, Field) for place in row.places)
    yield "POST" if in_body else "GET", path
    if "query" in row.coverage and not in_body:
        yield "GET", f"{path}?note={TRICKY}&n={n}"
    if isinstance(row, Row) and row.body == "none":
        yield "POST", f"{path}?note={TRICKY}&n={n}"
        return
    form = isinstance(row, Row) and (row.body == "form" or "form" in row.parts or row.name == "kraken")
    data = f"note={TRICKY}&n={n}" if form else json.dumps({"note": "a b c/d~*'()é `x` $HOME \\", "n": n})
    bodies_unsigned = "body" not in row.coverage and "query" in row.coverage
    apart = f"?n={n}" if bodies_unsigned else ""  # or two orders of one second have one signature
    yield "POST", path + apart, "--data", data


def send(venue: Venue, words: tuple[str, ...]) -> tuple[int, str]:
    """Run the curl command that is printed, in a shell."""
    printed = venue.run("sign", "curl", *words)
    assert printed.exit_code == 0, printed.output
    line = f"{printed.stdout.strip()} -s -w '\\n%{{http_code}}'"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=venue.folder, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.parametrize(
    ("name", "algorithm"), [(name, algorithm) for name, known in BUILT_IN.items() for algorithm in known.algorithms]
)
def test_what_is_printed_and_what_is_sent_passes_a_real_guard(
    places: dict[str, Place], name: str, algorithm: str
) -> None:
    venue, url = places[name]
    key = issue(places[name], name, algorithm)
    for method, target, *more in requests_of(BUILT_IN[name]):
        status, body = send(venue, (method, url + target, "--dialect", name, *key, *more))
        assert status == 200, (method, target, body)
    for method, target, *more in requests_of(BUILT_IN[name]):
        answer = venue.ask("curl", method, url + target, "--dialect", name, *key, *more)
        assert answer["status"] == 200, answer["body"]


@pytest.mark.parametrize("name", [row.name for row in ROWS.values() if row.passphrase is not None])
def test_another_passphrase_is_refused_and_none_is_a_usage_error(places: dict[str, Place], name: str) -> None:
    venue, url = places[name]
    key = issue(places[name], name, next(iter(ROWS[name].algorithms)))
    (venue.folder / "other").write_text("another passphrase\n")
    words = ("GET", f"{url}{PATH}", "--dialect", name)
    assert send(venue, (*words, *key))[0] == 200
    assert send(venue, (*words, *key[:4], "--passphrase-file", "other"))[0] in (400, 401, 403)
    assert "passphrase" in venue.refuse("sign", "curl", *words, *key[:4], code=2)


def test_the_file_that_keys_new_writes_is_all_that_is_needed(places: dict[str, Place]) -> None:
    venue, url = places["okx"]
    made = venue.ask(
        "keys", "new", "--owner", "acme", "--role", "trader", "--dialect", "okx", "--secret-out", "okx.json"
    )
    words = ("GET", f"{url}{PATH}", "--dialect", "okx", "--secret-file", "okx.json")
    assert send(venue, words)[0] == 200
    assert venue.ask("curl", *words, "--key", made["id"])["status"] == 200
    for command in (("curl",), ("sign", "curl")):
        error = venue.refuse(*command, *words, "--key", "another", code=2)
        assert f"--key names another, but the secret is of key {made['id']}: say --key" in error


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("just-a-secret-of-a-venue", "say which key it is with --key"),
        ('{"secret": "just-a-secret-of-a-venue"}', "say which key it is with --key"),
        ('{"id": "k"}', "is JSON, and has no secret"),
        ('{"id": "k", "secret": null, "secret_file": "kept.secret"}', "the secret is in kept.secret"),
        ('{"id": 7, "secret": "just-a-secret-of-a-venue"}', "is JSON, and has no secret"),
        ('{"id": "k", "secret": "just-a-secret-of-a-venue", "passphrase": 1}', "is JSON, and has no secret"),
        ('\n {"id": "k", "secret": "just-a-secret-of-a-venue"}', ""),
        ('{"a":' * 9_000, "say which key it is with --key"),
        ("{no json: a secret", "say which key it is with --key"),
    ],
)
def test_a_secret_file_without_id_or_secret_says_what_to_do(shell: Shell, content: str, says: str) -> None:
    (shell.folder / "file").write_text(content)
    words = ("sign", "curl", "GET", "http://api.example/", "--secret-file", "file")
    if not says:
        assert "tg-key: k" in shell.run(*words).stdout.lower()
        return
    error = shell.refuse(*words, code=2)
    assert says in error
    assert "just-a-secret" not in error


def test_a_customer_signs_by_a_file_and_needs_no_configuration(places: dict[str, Place], tmp_path: Path) -> None:
    venue, url = places["acme"]
    key = issue(places["acme"], "acme", "hmac-sha256")
    customer = Shell(tmp_path / "customer")
    (customer.folder / "acme.toml").write_text(ACME)
    more = ("--data", json.dumps({"n": next(_count)}))
    words = ("POST", f"{url}{PATH}", "--dialect", "./acme.toml", *key, *more)
    assert customer.ask("curl", *words)["status"] == 200
    assert send(venue, ("GET", f"{url}{PATH}?x={next(_count)}", "--dialect", "acme", *key))[0] == 200
    assert "no dialect is called 'acme'" in customer.refuse("curl", *words[:2], "--dialect", "acme", *key, code=2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("= no toml", "line 1"),
        ("", "describes no dialect"),
        ("[dialects]", "describes 0 dialects"),
        (ACME + ACME.replace("acme", "other"), "describes 2 dialects"),
        (ACME.replace("mesage", "").replace("message", "mesage"), "did you mean message?"),
        (ACME.replace("[dialects.acme]", 'name = "okx"'), "built-in"),
        (ACME.replace("\\n", ""), "bytes could shift between"),
    ],
)
def test_a_file_that_is_no_dialect_says_what_is_wrong(shell: Shell, text: str, says: str) -> None:
    (shell.folder / "acme.toml").write_text(text)
    words = ("sign", "curl", "GET", "http://api.example/", "--key", "k", "--dialect", "./acme.toml")
    error = shell.refuse(*words, code=2, TRADEGUARD_SECRET="x" * 20)
    assert says in error
    assert "acme.toml" in error


def test_a_dialect_that_there_is_not_names_the_nearest(shell: Shell) -> None:
    words = ("sign", "curl", "GET", "http://api.example/", "--key", "k", "--dialect")
    error = shell.refuse(*words, "okxx", code=2)
    assert error.endswith(
        "no dialect is called 'okxx' (a file is named by its path, such as ./acme.toml); did you mean okx?"
    )
    assert "No such file" in shell.refuse(*words, "./nowhere.toml", code=2)


@pytest.mark.parametrize(
    ("dialect", "more", "says"),
    [
        ("binance", ("--passphrase-file", "phrase"), "has no passphrase"),
        ("okx", ("--algorithm", "ed25519"), "okx has no ed25519"),
        ("coinbase-advanced", (), "give a private key"),
        ("kraken", (), "is base64"),
    ],
)
def test_a_key_that_does_not_fit_is_a_usage_error(shell: Shell, dialect: str, more: tuple[str, ...], says: str) -> None:
    (shell.folder / "phrase").write_text("a phrase\n")
    words = ("sign", "curl", "GET", "http://api.example/", "--key", "k", "--dialect", dialect, *more)
    assert says in shell.refuse(*words, code=2, TRADEGUARD_SECRET="!" * 20)
