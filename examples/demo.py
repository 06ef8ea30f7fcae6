"""The main job on real input: an exchange on loopback, driven by ccxt and a tg1 client, then attacked.

Prints one table of sent / expected / happened and the requests per second. Exit status: 0 if every line is as expected,
1 if one differs, 2 if the demo itself failed. SERVE=1 in the environment leaves the exchange running afterwards;
STATE=redis keeps the state in a Redis or Valkey server of our own.

    python examples/demo.py
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

try:
    from attacks import Case, Line, Party, bend, guess, hold_open, malform, mistime, overreach, replay, tamper
    from exchange import PREFIX, describe
    from operate import change_keys, restart
    from pace import exceed
    from stop import halt
    from tg1_client import Wire, render
    from venue import Venue, run_exchange

    from tradeguard.core.decision import CATALOGUE
    from tradeguard.signing.message import FORM
    from tradeguard.signing.signer import Outgoing
except ImportError as missing:
    print(f"demo: {missing}; 'make demo' installs what the demo needs", file=sys.stderr)
    sys.exit(2)

SECOND = 1_000_000_000
LOAD = 2.0  # seconds of load per kind of request


class Rate(NamedTuple):
    """A short load: how many requests, and how many of them a second."""

    what: str
    requests: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def open_up(party: Party, since: int) -> Iterator[Line]:
    """Meet the barrier: memory that is new cannot know what was used before, so it refuses what is that old."""
    request = party.unsigned("GET", "/v1/me")
    early = party.signer("trader").sign(request, since + SECOND // 2)
    answer = party.send(render(early))
    yield Line("a request signed half a second after the start", "503 commit.barrier", answer.brief)
    wait = int(answer.headers.get("retry-after", "1"))
    time.sleep(max(wait, (since + SECOND - time.time_ns()) / SECOND + 0.05))
    yield party.tell("... signed again after Retry-After", "200", render(party.sign("trader", "GET", "/v1/me")))


def use_tg1(party: Party) -> Iterator[Line]:
    """Use the exchange as its own clients do."""
    yield party.tell("the time, not signed", "200", render(party.unsigned("GET", "/v1/time")))
    me = json.loads(party.send(render(party.sign("trader", "GET", "/v1/me"))).body)
    yield Line("who am I", "the trader's key, for acme", _who(party, me))
    with Wire(party.port) as wire:
        placed = party.send(render(party.order()), wire)
        yield Line("an order", "201", placed.brief)
        id = json.loads(placed.body)["id"]
        yield Line(
            "its cancellation", "200", wire.ask(render(party.sign("trader", "DELETE", f"/v1/orders/{id}"))).brief
        )
        yield Line("an order by Ed25519", "201", party.send(render(party.order("robot")), wire).brief)
        wish = b'{"asset": "USDT", "amount": "250"}'
        paid = wire.ask(render(party.sign("treasurer", "POST", "/v1/withdraw", wish)))
        yield Line("a withdrawal by the treasurer", "201", paid.brief)


def _who(party: Party, me: Mapping[str, str]) -> str:
    whose = next((name for name, client in party.clients.items() if client.id == me["key"]), "an unknown")
    return f"the {whose}'s key, for {me['account']}"


def use_ccxt(party: Party) -> Iterator[Line]:
    """Use the Binance-shaped API with an unmodified ccxt; then bend the order that it has signed."""
    client = _make_ccxt(party)
    yield Line("ccxt: balance", "1000000 USDT", f"{client.fetch_balance()['USDT']['free']:.0f} USDT")
    order = client.create_order("BTC/USDT", "limit", "sell", 0.01, 90_000)
    path = urlsplit(client.last_request_url).path.encode()
    fields = tuple((name.lower().encode(), value.encode()) for name, value in client.last_request_headers.items())
    body = client.last_request_body.encode()
    party.placed += order["status"] == "open"
    yield Line("ccxt: place an order", "open", order["status"])
    key = tuple(field for field in fields if field[0] == b"x-mbx-apikey")
    for case in bend(party, Outgoing("POST", party.authority, path, FORM, body, key)):
        yield party.tell(*case)
    yield Line("ccxt: open orders", "1", str(len(client.fetch_open_orders("BTC/USDT"))))
    yield Line("ccxt: cancel it", "canceled", client.cancel_order(order["id"], "BTC/USDT")["status"])
    yield Line("ccxt: open orders", "0", str(len(client.fetch_open_orders("BTC/USDT"))))


def _make_ccxt(party: Party) -> Any:
    """Return ccxt as anybody installs it, pointed at the exchange by its own settings."""
    ccxt: Any = import_module("ccxt")
    given = party.clients["bina"]
    client = ccxt.binance({"apiKey": given.id, "secret": given.secret})
    client.urls["api"] = dict.fromkeys(client.urls["api"], f"http://{party.authority}{PREFIX}/api/v3")
    client.options |= {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}}
    return client


def load(party: Party, what: str, method: str, path: str) -> tuple[Line, Rate]:
    """Send signed requests over one connection, one after the other."""
    signer, request = party.signer("trader"), party.unsigned(method, path, party.ticket() if method == "POST" else b"")
    answers: Counter[str] = Counter()
    begun = time.perf_counter()
    with Wire(party.port) as wire:
        while (seconds := time.perf_counter() - begun) < LOAD:
            answers[party.send(render(signer.sign(request, time.time_ns())), wire).brief] += 1
    expected = "all 201" if method == "POST" else "all 200"
    happened = f"all {next(iter(answers))}" if len(answers) == 1 else str(dict(answers))
    return Line(f"{what} for {LOAD:.0f} s", expected, happened), Rate(what, answers.total(), seconds)


def audit(party: Party, journal: Path) -> Iterator[Line]:
    """Compare what the clients were told with what the exchange did, and both with what is on record."""
    ledger = json.loads(party.send(render(party.sign("auditor", "GET", "/v1/ledger"))).body)
    events = read_journal(journal)
    orders = [event for event in events if event["operation"] in ("POST /v1/orders", "POST /api/v3/order")]
    kinds = Counter(event["kind"] for event in orders if event["kind"] == "intent" or event["status"] in (200, 201))
    refused = {event["request_id"] for event in events if event["kind"] == "refused"}
    yield Line(
        "orders in the book, as many as were granted since the restart",
        str(party.placed - party.forgotten),
        str(ledger["placed"]),
    )
    yield Line("withdrawals made", "1", str(ledger["withdrawn"]))
    yield Line("intents of orders in the journal", str(party.placed), str(kinds["intent"]))
    yield Line("outcomes of orders in the journal", str(party.placed), str(kinds["outcome"]))
    found = len(refused.intersection(party.refused))
    yield Line("refusals in the journal, by request id", str(len(party.refused)), str(found))


def read_journal(journal: Path) -> list[dict[str, Any]]:
    """Return the events on record."""
    return [json.loads(line) for line in journal.read_text().splitlines()]


def explain(party: Party, journal: Path) -> str:
    """Show how an operator reads why a request was refused: by its id, from the journal."""
    answer = party.send(party.forge("ghost"))
    id = answer.headers["x-request-id"]
    event = next(event for event in read_journal(journal) if event["request_id"] == id)
    kept = {name: event[name] for name in ("kind", "status", "code", "method", "path", "key_id", "source")}
    return f"""\
Why was it refused? By request id, from the journal:
  the caller sees    {answer.brief}, request_id {id}
  grep {id} {journal.name}
  the operator sees  {json.dumps(kept)}
  which means        {CATALOGUE[event["code"]].hint}"""


def render_table(parts: Mapping[str, Sequence[Line]], *, colour: bool) -> str:
    """Return the table, with a heading for each part."""
    lines = [Line("sent", "expected", "happened"), *(line for part in parts.values() for line in part)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    rows = [_row(lines[0], widths, "")]
    for heading, part in parts.items():
        rows.append(f"-- {heading} ".ljust(sum(widths) + 14, "-"))
        rows += [_row(line, widths, _mark(line, colour=colour)) for line in part]
    return "\n".join(rows)


def _row(line: Line, widths: Sequence[int], mark: str) -> str:
    return "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=True)), mark]).rstrip()


def _mark(line: Line, *, colour: bool) -> str:
    text, code = ("ok", 32) if line.holds else ("DIFFERS", 31)
    return f"\033[{code}m{text}\033[0m" if colour else text


def drive(party: Party, venue: Venue) -> tuple[dict[str, list[Line]], list[Rate]]:
    """Send everything; the order held open waits in a thread of its own meanwhile."""
    parts = {"start": list(open_up(party, venue.since)), "a restart": list(restart(party, venue))}
    with ThreadPoolExecutor(1) as pool, _set_at_end() as stopped:
        held = pool.submit(lambda: list(hold_open(party, _note, stopped.wait)))
        parts["ccxt, and what can be made of its order"] = list(use_ccxt(party))
        parts["tg1"] = list(use_tg1(party))
        parts["sent twice"] = list(replay(party))
        parts["tampered with"] = _tell(party, tamper)
        parts["out of time"] = _tell(party, mistime)
        parts["out of bounds"] = _tell(party, overreach)
        parts["out of form"] = _tell(party, malform)
        parts["more than its rate"] = list(exceed(party))
        parts["guessed"] = list(guess(party))
        parts["halted"] = list(halt(party, venue))
        parts["keys changed from another process"] = list(change_keys(party, venue))
        reads, read_rate = load(party, "signed GETs", "GET", "/v1/me")
        orders, order_rate = load(party, "signed POSTs", "POST", "/v1/orders")
        parts["held open"] = held.result()
    parts["load"] = [reads, orders]
    parts["in the end"] = list(audit(party, venue.journal))
    return parts, [read_rate, order_rate]


@contextmanager
def _set_at_end() -> Iterator[threading.Event]:
    """Make an event that is set when the block ends, by Ctrl-C too."""
    stopped = threading.Event()
    try:
        yield stopped
    finally:
        stopped.set()


def _tell(party: Party, cases: Callable[[Party], Iterable[Case]]) -> list[Line]:
    return [party.tell(*case) for case in cases(party)]


def _note(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def serve(venue: Venue) -> None:
    """Leave the exchange running until Ctrl-C."""
    print(f"\nThe exchange goes on at http://127.0.0.1:{venue.port}{PREFIX}; Ctrl-C ends it. Its journal, until then:")
    print(f"{venue.journal}\nTo talk to it:\n")
    print(describe(venue.port, venue.clients), flush=True)
    with suppress(KeyboardInterrupt):
        venue.wait()


def run() -> int:
    """Run the demo and return its exit status."""
    with run_exchange(os.environ.get("STATE", "")) as venue:
        _note(f"the exchange listens on port {venue.port}")
        party = Party(venue.port, venue.clients)
        parts, rates = drive(party, venue)
        print(render_table(parts, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
        print(f"\n{explain(party, venue.journal)}\n")
        status = conclude(parts, rates)
        if os.environ.get("SERVE") == "1":
            serve(venue)
    return status


def conclude(parts: Mapping[str, Sequence[Line]], rates: Iterable[Rate]) -> int:
    """Print the rates and how many lines differ; return the exit status."""
    for rate in rates:
        print(f"{rate.what:14} {rate.per_second:7,.0f} a second (one client on one connection, its own work included)")
    differ = sum(not line.holds for part in parts.values() for line in part)
    print(f"{differ} of {sum(map(len, parts.values()))} lines differ", flush=True)
    return 1 if differ else 0


def main() -> int:
    """Run the demo; say in one line what stopped it, if something did."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)
    try:
        return run()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except ImportError as error:
        print(f"demo: {error}; 'make demo' installs what the demo needs", file=sys.stderr)
    except Exception as error:
        print(f"demo: it could not be carried through: {type(error).__name__}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
