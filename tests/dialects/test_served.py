"""Unmodified clients and our guard, on real servers: whatever an honest client sends is let through, and no more."""

import os

import pytest
from dialects.hosting import HOSTED
from dialects.sdk import BESIDE, CLIENTS, Client
from dialects.served import Served, serving
from dialects.venues import LATEST, OLD, VENUES

SDKS = [client for client in CLIENTS if client.venue]
OTHERS = [(venue, name) for venue, row in VENUES.items() for name in row.algorithms[1:]]


def need(client: str) -> None:
    """Where `make` has not run, the environment of the SDKs may be missing; a CI machine has it."""
    if client != LATEST and not BESIDE.exists() and "CI" not in os.environ:
        pytest.skip(f"{BESIDE} is missing: make test")


def check_all_went_through(served: Served) -> None:
    """HTX signs no bodies: two orders within a second look like one that was sent twice, so one call is left out."""
    calls = [call for call in VENUES[served.venue].calls if (served.venue, call) != ("htx", "tricky")]
    outcomes = served.ask(calls if served.client in (LATEST, OLD) else ())
    assert [one for one in outcomes if one["raised"]] == []
    assert [answer.status for answer in served.answers] == [200] * len(outcomes)
    assert outcomes


@pytest.mark.parametrize("host", HOSTED)
@pytest.mark.parametrize("venue", VENUES)
def test_every_call_of_ccxt_is_let_through(venue: str, host: str) -> None:
    need(VENUES[venue].client)
    with serving(venue, host) as served:
        check_all_went_through(served)


@pytest.mark.parametrize(("venue", "algorithm"), OTHERS)
def test_so_is_every_call_with_a_key_of_another_algorithm(venue: str, algorithm: str) -> None:
    with serving(venue, algorithm=algorithm) as served:
        check_all_went_through(served)


@pytest.mark.parametrize("host", HOSTED)
@pytest.mark.parametrize("client", SDKS, ids=lambda client: client.name)
def test_so_is_every_call_of_the_other_clients(client: Client, host: str) -> None:
    need(client.name)
    with serving(client.venue, host, client=client.name) as served:
        check_all_went_through(served)
