"""Lock-out and connections in the file: every fault by its path, and numbers that change while counts stay."""

import time
from pathlib import Path
from typing import Any

import pytest
from config.home import AHEAD, Home, Venue
from config.test_load import faults
from support import TRADER, make_request, sign

from tradeguard import ConfigError, Denial, Signer
from tradeguard.checks.connections import Connections
from tradeguard.config import build_guard, check, explain, load_settings, reload_guard
from tradeguard.core.drive import drive
from tradeguard.core.request import Request
from tradeguard.core.runtime import Threads
from tradeguard.signing.rows import TG1

FORGER = Signer(TG1, "trader", b"x" * 32)
MAP = """
    [roles]
    trader = ["orders:read"]
    [operations]
    "GET /v1/orders" = "orders:read"
    "WS /v1/stream" = {scopes = "orders:read", lane = "read"}
    "WS /v1/ticker" = {lane = "public"}
    """


class Running(Venue):
    """A venue, and the guard that runs there."""

    def __init__(self, folder: Path, more: str) -> None:
        folder.chmod(0o700)
        super().__init__(folder, more + MAP)
        self.guard = build_guard(self.path, {})
        self.guard.bind(Threads())

    def change(self, more: str) -> None:
        """Adopt another file."""
        self.write(more + MAP)
        reload_guard(self.guard)

    def send(self, signer: Signer = TRADER, *, target: bytes = b"/v1/orders", **other: Any) -> tuple[Request, str]:
        """Send a request; return it and "granted" or the code of its refusal."""
        now = self.guard.runtime.now()
        request = sign(signer, "GET", target, at=now + AHEAD, arrived=now, **other)
        decision = drive(self.guard.admit(request))
        return request, decision.code if isinstance(decision, Denial) else "granted"

    def forge(self, times: int, **other: Any) -> list[str]:
        """Send requests with a wrong signature."""
        return [self.send(FORGER, **other)[1] for _ in range(times)]

    def knock(self) -> tuple[Request, str]:
        """Send a handshake."""
        return self.send(target=b"/v1/stream", kind="websocket")


WRONG = "signature.wrong"


def test_a_pair_waits_after_as_many_failures_as_the_file_says(tmp_path: Path) -> None:
    venue = Running(tmp_path, "[lockout]\npair = 1\n")
    assert venue.forge(3) == [WRONG, WRONG, "source.pair"]
    venue.guard.close()


def test_a_source_waits_after_as_many_failures_as_the_file_says(tmp_path: Path) -> None:
    venue = Running(tmp_path, "[lockout]\naddress = 1\n")
    now = venue.guard.runtime.now()
    for _ in range(2):
        drive(venue.guard.admit(make_request("GET", b"/v1/orders", arrived=now, address="198.51.100.9")))
    assert venue.forge(1, address="198.51.100.9") == ["source.address"]
    assert venue.forge(1, address="203.0.113.7") == [WRONG]
    venue.guard.close()


def test_a_reload_changes_what_is_free_and_forgets_no_failure(tmp_path: Path) -> None:
    venue = Running(tmp_path, "[lockout]\npair = 50\n")
    assert venue.forge(5) == [WRONG] * 5
    venue.change("[lockout]\npair = 2\n")
    assert venue.forge(2) == [WRONG, "source.pair"]  # the sixth, where two are free
    venue.change("[lockout]\npair = 50\n")
    assert venue.forge(1) == ["source.pair"]  # who waits goes on waiting
    venue.guard.close()


def test_a_key_that_was_proved_passes_over_a_reload_whoever_fails(tmp_path: Path) -> None:
    venue = Running(tmp_path, "[lockout]\npair = 1\n")
    assert venue.send()[1] == "granted"
    venue.change("[lockout]\npair = 2\n")
    assert venue.forge(9) == [WRONG] * 9
    assert venue.send()[1] == "granted"
    venue.guard.close()


def test_a_wrong_number_keeps_the_old_ones(tmp_path: Path) -> None:
    venue = Running(tmp_path, "[lockout]\npair = 1\n[connections]\nkey = 1\n")
    with pytest.raises(ConfigError, match=r"lockout\.pair: must be 1 or more"):
        venue.change("[lockout]\npair = 0\n[connections]\nkey = 5\n")
    assert [venue.knock()[1] for _ in range(2)] == ["granted", "connections.full"]
    assert venue.forge(1, address="198.51.100.9") == [WRONG]
    venue.guard.close()


@pytest.mark.parametrize("state", ["", '[state]\nbackend = "memory"\n'], ids=["sqlite", "memory"])
def test_a_reload_changes_how_many_may_be_open_and_forgets_none(tmp_path: Path, state: str) -> None:
    venue = Running(tmp_path, state + "[connections]\nkey = 2\n")
    while time.time_ns() < venue.guard.state.since + 1_000_000_000 - AHEAD + 10_000_000:
        time.sleep(0.001)  # memory refuses what was signed in its first second
    first, code = venue.knock()
    assert [code, venue.knock()[1], venue.knock()[1]] == ["granted", "granted", "connections.full"]
    venue.change(state + "[connections]\nkey = 3\n")
    assert [venue.knock()[1] for _ in range(2)] == ["granted", "connections.full"]
    venue.change(state + "[connections]\nkey = 2\n")
    venue.guard.finish(first, 101)
    assert venue.knock()[1] == "connections.full"  # two that are left of three
    venue.change(state)
    assert venue.knock()[1] == "granted"
    venue.guard.close()


def test_every_number_reaches_the_check_and_none_is_added_without_one(home: Home) -> None:
    home.write("[connections]\nkey = 3\naccount = 4\nsource = 5\nlease = 6\n")
    guard = build_guard(home.path, {})
    [made] = [part for part in guard.checks if isinstance(part, Connections)]
    assert (made.key, made.account, made.source, made.lease) == (3, 4, 5, 6)
    home.write("")
    reload_guard(guard)
    assert not any(isinstance(part, Connections) for part in guard.checks)
    guard.close()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            "[lockout]\npair = 0\naddress = -1\n",
            ["lockout.pair: must be 1 or more", "lockout.address: must be 1 or more"],
        ),
        ("[lockout]\npairs = 3\n", ["lockout.pairs: no such key; did you mean lockout.pair?"]),
        ('[connections]\nkey = "many"\n', ["connections.key: must be a whole number"]),
        ("[connections]\nkey = true\n", ["connections.key: must be a whole number"]),
        ("[connections]\nkey = 1\nlease = 5\n", ["connections.lease: must be 6 or more"]),
        ("[connections]\nlease = 3601\n", ["connections.lease: must be 3600 or less"]),
        (
            "[connections]\nlease = 60\n",
            ["connections: without a number nobody is limited; give key, account or source one"],
        ),
        (
            "[connections]\nsource = 1000000000\nlease = 3600\n",
            ["connections: source: 1000000000 is more than what a store counts exactly"],
        ),
    ],
)  # fmt: skip
def test_a_fault_is_told_by_its_path(home: Home, more: str, told: list[str]) -> None:
    home.write(more)
    assert faults(home) == told


def test_where_a_number_comes_from_is_shown(home: Home) -> None:
    home.write("[lockout]\npair = 5\n[connections]\nkey = 7\n")
    rows = {row.key: row[1:] for row in explain(load_settings(home.path, {"TRADEGUARD_LOCKOUT__ADDRESS": "9"}))}
    assert rows["lockout.pair"] == ("5", "file")
    assert rows["lockout.address"] == ("9", "env TRADEGUARD_LOCKOUT__ADDRESS")
    assert rows["connections.key"] == ("7", "file")
    assert rows["connections.lease"] == ("30", "default")


def test_who_may_open_any_number_of_sockets_is_found(home: Home) -> None:
    def said() -> list[str]:
        return [line for line in check(load_settings(home.path, {}), {}) if line.startswith("connections")]

    home.write(MAP)
    assert said() == ["connections: no number holds for WS /v1/stream: whoever has a key may open any number of them"]
    home.write("[connections]\naccount = 9\n" + MAP)
    assert said() == []
    home.write('[operations]\n"WS /v1/ticker" = {lane = "public"}\n')
    assert said() == []
