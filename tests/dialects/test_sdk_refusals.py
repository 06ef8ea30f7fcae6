"""What the venues' own SDKs make of our refusals: the errors they are written for, with the venue's code in them."""

import os

import pytest
from dialects.sdk import BESIDE
from dialects.served import serving

RAISED = {
    ("python-binance", "binance"): {
        "bad-signature": ("BinanceAPIException", "code=-1022"),
        "replay": ("BinanceAPIException", "code=-2010"),
        "maintenance": ("BinanceAPIException", "code=0"),
    },
    ("binance-connector", "binance"): {
        "bad-signature": ("ClientError", "-1022"),
        "replay": ("ClientError", "-2010"),
        "maintenance": ("ServerError", "503"),
    },
    ("binance-sdk-spot", "binance"): {
        "bad-signature": ("UnauthorizedError", "-1022"),
        "replay": ("BadRequestError", "-2010"),
        "maintenance": ("ServerError", "503"),
    },
    ("pybit", "bybit"): {
        "bad-signature": ("FailedRequestError", "ErrCode: 401"),
        "replay": ("InvalidRequestError", "ErrCode: 10014"),
        "permission": ("InvalidRequestError", "ErrCode: 10005"),
        "maintenance": ("FailedRequestError", "ErrCode: 503"),
    },
    ("gate-api", "gate"): {
        "bad-signature": ("GateApiException", "INVALID_SIGNATURE"),
        "replay": ("GateApiException", "REPEATED_CREATION"),
        "maintenance": ("GateApiException", "SERVER_ERROR"),
        "unsure": ("ApiException", "execution status unknown"),
    },
    ("pymexc spot", "mexc"): {
        "bad-signature": ("MexcAPIError", "code=700002"),
        "replay": ("MexcAPIError", "code=603"),
        "maintenance": ("MexcAPIError", "code=503"),
    },
    ("bitmex", "bitmex"): {
        "bad-signature": ("HTTPUnauthorized", "401"),
        "replay": ("HTTPBadRequest", "400"),
        "maintenance": ("HTTPServiceUnavailable", "overloaded"),
    },
}
"""By client and venue: the situation, the class that is raised, and what its text has."""


@pytest.mark.parametrize(
    ("client", "venue", "situation"), [(*pair, situation) for pair, table in RAISED.items() for situation in table]
)
def test_an_sdk_raises_its_own_error_with_the_venue_s_code(client: str, venue: str, situation: str) -> None:
    if not BESIDE.exists() and "CI" not in os.environ:
        pytest.skip(f"{BESIDE} is missing: make test")
    kind, text = RAISED[client, venue][situation]
    with serving(venue, situation=situation, client=client) as served:
        (outcome,) = served.ask(("order",))
    assert outcome["raised"][:1] == [kind]
    assert text in outcome["text"]
    assert len(served.answers) == 1  # and it did not try again
