"""`tradeguard why`: each event of a request in order, from every file of the journal, torn and foreign lines beside."""

import gzip
import json
from pathlib import Path

import pytest
from adapters.native import call, make_guard, sign
from cli.venue import Venue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tradeguard import Journal
from tradeguard.adapters.starlette import Tradeguard
from tradeguard.core.decision import CATALOGUE
from tradeguard.core.event import Event

AT = 1_795_000_000_000_000_000
ID = "0123456789abcdef0123456789abcdef"


def write(path: Path, *events: Event) -> None:
    journal = Journal(path)
    for event in events:
        journal.append(event)
    journal.close()


def event(kind: str, offset: int, code: str = "", request_id: str = ID, **more: str) -> Event:
    return Event(kind, AT + offset, request_id, True, 401 if code else 200, code, "POST", "/v1/orders", **more)  # type: ignore[arg-type]


def test_the_events_of_a_request_are_told_in_order_over_rotated_files(venue: Venue) -> None:
    current = venue.data / "audit.jsonl"
    write(current.with_name("audit.jsonl.1"), event("intent", 0), event("outcome", 1, request_id="other"))
    write(current, event("outcome", 2_000_000))
    old = current.with_name("audit.jsonl.2.gz")
    with gzip.open(old, "wb") as file:
        file.write(json.dumps(event("gap", 1)._asdict(), separators=(",", ":")).encode() + b"\n")
    document = venue.ask("why", ID)
    assert [found["kind"] for found in document["events"]] == ["intent", "gap", "outcome"]
    assert len(document["files"]) == 3
    text = venue.run("why", ID).stdout
    assert text.splitlines()[0] == "2026-11-18T11:06:40.000Z  intent  200"
    assert "2026-11-18T11:06:40.002Z  outcome" in text
    assert "other" not in text


def test_a_refusal_is_told_with_its_meaning_and_cure(venue: Venue) -> None:
    write(venue.data / "audit.jsonl", event("refused", 0, "signature.wrong", detail="why"))
    [found] = venue.ask("why", ID)["events"]
    assert found["told"] == "unauthorized"
    assert found["cure"]
    text = venue.run("why", ID).stdout
    assert "the client saw only 'unauthorized'" in text
    assert found["cure"] in text


@pytest.mark.parametrize("code", ["scope.missing", "answer.unconfigured", "elsewhere.closed"])
def test_refusals_of_every_file_are_known_and_own_ones_are_shown_as_they_are(venue: Venue, code: str) -> None:
    write(venue.data / "audit.jsonl", event("refused", 0, code))
    [found] = venue.ask("why", ID)["events"]
    assert ("cure" in found) is not code.startswith("elsewhere")
    assert code in venue.run("why", ID).stdout


def test_a_request_that_the_router_took_elsewhere_is_told_with_row_route_and_cure(venue: Venue) -> None:
    async def trades(_: Request) -> PlainTextResponse:
        return PlainTextResponse("everybody's trades")

    app, journal = Starlette(routes=[Route("/v1/trades/all", trades)]), Journal(venue.data / "audit.jsonl")
    Tradeguard(make_guard({"GET /v1/trades/{id}": "orders:read"}, journal)).init_app(app)
    reply = call(app, sign("GET", "/v1/trades/all"), live=False)
    journal.close()
    [found] = venue.ask("why", reply.fields["x-request-id"])["events"]
    assert (found["kind"], found["status"], found["code"]) == ("outcome", 503, "template.mismatch")
    assert found["operation"] == "GET /v1/trades/{id}"
    told = venue.run("why", reply.fields["x-request-id"]).stdout
    assert "routed to /v1/trades/all, by the map GET /v1/trades/{id}" in told
    assert CATALOGUE["template.mismatch"].hint in told


def test_torn_and_foreign_lines_are_skipped_and_counted(venue: Venue) -> None:
    journal = venue.data / "audit.jsonl"
    write(journal, event("intent", 0))
    with journal.open("ab") as file:
        foreign = [
            b'{"kind":"refused","at":17', b"", b"\xff\x00", b"x" * 70_000, b'{"kind":"' + ID.encode() + b'"}',
            b'{"kind":"x","at":"%s","request_id":"%s"}' % (ID.encode(), ID.encode()),
            b'{"kind":"x","at":-1,"request_id":"%s"}' % ID.encode(),
            b'{"kind":"x","at":1,"request_id":"other","detail":"%s"}' % ID.encode(),
            b'{"kind":"x","at":1,"request_id":"%s","more":1}' % ID.encode(),
        ]  # fmt: skip
        file.write(b"\n".join(foreign) + b"\n")
    result = venue.run("why", ID)
    assert len(venue.ask("why", ID)["events"]) == 1
    assert "8 lines were skipped" in result.stderr


def test_what_strangers_wrote_cannot_command_the_terminal(venue: Venue) -> None:
    write(venue.data / "audit.jsonl", event("refused", 0, "frame.path", detail="\x1b[31m\x07\u202e"))
    assert "\\x1b[31m\\x07\\u202e" in venue.run("why", ID).stdout


def test_an_unknown_request_says_which_files_were_read(venue: Venue) -> None:
    write(venue.data / "audit.jsonl", event("intent", 0))
    write(venue.data / "audit.jsonl.1", event("intent", 0))
    error = venue.refuse("why", "f" * 32)
    assert str(venue.data / "audit.jsonl") in error
    assert str(venue.data / "audit.jsonl.1") in error
    assert "\x1b" not in venue.refuse("why", "\x1b[31m")


def test_another_journal_needs_no_configuration(venue: Venue, tmp_path: Path) -> None:
    write(tmp_path / "other.jsonl", event("intent", 0))
    venue.config.unlink()
    assert len(venue.ask("why", ID, "--journal", str(tmp_path / "other.jsonl"))["events"]) == 1


@pytest.mark.parametrize("place", ["no/where.jsonl", "nothing.jsonl"])
def test_a_journal_that_is_not_there_is_told(venue: Venue, place: str) -> None:
    assert "--journal" in venue.refuse("why", ID, "--journal", place, code=2)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"x" * 99)[:20]], ids=["no gzip", "half of it"])
def test_a_rotated_file_that_cannot_be_read_is_named(venue: Venue, content: bytes) -> None:
    (venue.data / "audit.jsonl.1.gz").write_bytes(content)
    assert "audit.jsonl.1.gz" in venue.refuse("why", ID, code=2)


def test_an_empty_request_id_does_not_stand_for_events_without_one(venue: Venue) -> None:
    venue.issue()
    assert "empty" in venue.refuse("why", "", code=2)
