"""The captures are what they say: a second implementation of each recipe, and it can say no."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from dialects.oracle import verify
from dialects.venues import VECTORS, VENUES, credentials_of


def load() -> Iterator[Any]:
    for venue in VENUES:
        for capture in json.loads((VECTORS / f"{venue}.json").read_text())["requests"]:
            name = "-".join([capture[part].replace(" ", "-") for part in ("venue", "algorithm", "client", "call")])
            yield pytest.param(capture, id=name)


CAPTURES = tuple(load())


def refuses(capture: dict[str, Any], **changed: Any) -> bool:
    try:
        return not verify({**capture, **changed})
    except Exception:  # an oracle may stumble over what is no request of its venue at all
        return True


@pytest.mark.parametrize("capture", CAPTURES)
def test_every_capture_verifies_under_its_own_key_and_under_no_other(capture: dict[str, Any]) -> None:
    assert verify(capture)
    body = base64.b64decode(capture["body"])
    assert capture["text"].encode() == body
    if capture["algorithm"].startswith("hmac"):
        form = VENUES[capture["venue"]].secret
        other = next(name for name, row in VENUES.items() if row.secret == form and name != capture["venue"])
        assert not verify({**capture, "secret": credentials_of(other).secret})
    else:
        keys = json.loads((VECTORS / "keys.json").read_text())["keys"]
        assert all(refuses(capture, secret=key) for key in keys.values() if key != capture["secret"])


@pytest.mark.parametrize("capture", CAPTURES)
def test_no_capture_verifies_by_the_recipe_of_another_venue(capture: dict[str, Any]) -> None:
    others = (
        set(VENUES) - {capture["venue"]} - ({"binance", "mexc"} if capture["venue"] in ("binance", "mexc") else set())
    )
    assert all(refuses(capture, venue=venue) for venue in others)


def test_every_venue_has_captures_of_every_algorithm_and_every_call() -> None:
    for venue, row in VENUES.items():
        made = json.loads((VECTORS / f"{venue}.json").read_text())["requests"]
        assert {one["algorithm"] for one in made} == set(row.algorithms)
        assert {one["call"] for one in made if one["client"].startswith("ccxt")} >= set(row.calls)
        assert len(made) <= 12
