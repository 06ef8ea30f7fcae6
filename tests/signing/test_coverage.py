"""What is said of a dialect is what its row is, and every number of it."""

from dataclasses import replace

import pytest

from tradeguard.core.credential import Window
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.coverage import PARTS, Survey, survey, survey_all, survey_bearer
from tradeguard.signing.row import REQUIRED_COVERAGE, Row
from tradeguard.signing.rows import (
    BINANCE,
    BITMEX,
    COINBASE_EXCHANGE,
    DERIBIT,
    GEMINI,
    HTX,
    KRAKEN,
    KRAKEN_FUTURES_BARE,
    MEXC,
    OKX,
    ROWS,
    TG1,
)

SECOND = 1_000_000_000
ONCE = "single use by the digest of the message, in every lane but read"
BOUND = "keys are held to networks: one without is refused"


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_the_cells_are_the_coverage_and_the_gaps_what_must_be_accepted(row: Row) -> None:
    known = survey(row)
    assert tuple(known.coverage) == PARTS
    assert {part for part, covered in known.coverage.items() if covered} == row.coverage & set(PARTS)
    assert set(known.gaps) == REQUIRED_COVERAGE - row.coverage
    assert set(known.uncovered) == set(PARTS) - row.coverage
    assert {guard.text for guard in row.guards} <= set(known.compensations)
    assert known.collision == row.collision
    assert len(known.compensations) == len(set(known.compensations))


def test_every_dialect_is_there_once_and_ones_own_at_the_end() -> None:
    own = replace(OKX, name="acme")
    names = [known.name for known in survey_all([own])]
    assert names == [*ROWS, "coinbase-advanced", "bearer", "acme"]


def test_a_dialect_that_covers_everything_has_no_gap() -> None:
    known = survey(TG1)
    assert all(known.coverage.values())
    assert (known.gaps, known.collision) == ((), 0)
    assert ONCE not in known.compensations


@pytest.mark.parametrize(
    ("row", "gaps"),
    [
        (BINANCE, ("method", "path")), (OKX, ()), (HTX, ("body",)), (KRAKEN, ("method", "query")),
        (KRAKEN_FUTURES_BARE, ("method", "time")),
    ],
)  # fmt: skip
def test_the_gaps_are_named_in_the_order_of_the_table(row: Row, gaps: tuple[str, ...]) -> None:
    assert survey(row).gaps == gaps


@pytest.mark.parametrize(
    ("row", "nonce", "width", "collision"),
    [
        (TG1, "unique", 0, 0), (GEMINI, "rises", 64, 0), (DERIBIT, "free", 0, SECOND // 1000),
        (BINANCE, "none", 0, SECOND // 1000), (COINBASE_EXCHANGE, "none", 0, SECOND),
        (KRAKEN_FUTURES_BARE, "none", 0, KRAKEN_FUTURES_BARE.window.past),
    ],
)  # fmt: skip
def test_the_nonce_rule_and_the_collision_window_are_those_of_the_row(
    row: Row, nonce: str, width: int, collision: int
) -> None:
    known = survey(row)
    assert known.timing is not None
    assert (known.timing.nonce, known.timing.nonce_width, known.collision) == (nonce, width, collision)
    assert (ONCE in known.compensations) == (nonce in ("none", "free"))


def test_what_has_no_time_has_no_unit_no_barrier_and_keys_that_are_held_to_networks() -> None:
    known = survey(KRAKEN_FUTURES_BARE)
    assert known.timing is not None
    assert (known.timing.unit, known.timing.restart) == (None, "durable")
    assert BOUND in known.compensations
    dated = survey(OKX).timing
    assert dated is not None
    assert (dated.unit, dated.restart) == ("iso-ms", "barrier")
    assert BOUND not in survey(OKX).compensations


def test_an_unsigned_body_is_made_up_for_by_networks_or_by_having_none() -> None:
    assert BOUND in survey(HTX).compensations
    assert BOUND not in survey(MEXC).compensations
    assert "no body: it would not be signed" in survey(MEXC).compensations
    assert not survey(MEXC).coverage["body"]


def test_windows_caps_and_ends_are_said() -> None:
    timing = survey(BINANCE).timing
    assert timing is not None
    assert (timing.past, timing.future, timing.widest, timing.expiry) == (5 * SECOND, SECOND, 60 * SECOND, 0)
    assert "a client's own window is at most 60 s" in survey(BINANCE).compensations
    ends = survey(BITMEX)
    assert ends.timing is not None
    assert ends.timing.expiry == BITMEX.lifetime
    assert f"an expiry at most {BITMEX.lifetime // SECOND} s ahead" in ends.compensations


def test_places_are_said_in_words() -> None:
    assert survey(GEMINI).fields["nonce"] == "member nonce of header x-gemini-payload"
    assert survey(OKX).fields["passphrase"] == "header ok-access-passphrase"
    assert survey(BINANCE).fields["width"] == "parameter recvWindow"
    assert survey(DERIBIT).fields["key"] == "auth id"


def test_logins_and_foreign_parameters_are_said() -> None:
    assert any("/users/self/verify" in text for text in survey(OKX).compensations)
    assert any("apiKey" in text for text in survey(BINANCE).compensations)


@pytest.mark.parametrize("known", [survey(COINBASE_ADVANCED), survey_bearer()], ids=lambda known: known.name)
def test_those_without_a_row_are_said_likewise(known: Survey) -> None:
    assert tuple(known.coverage) == PARTS
    assert "body" in known.gaps
    assert known.compensations


def test_bearer_covers_nothing_and_nothing_tells_its_requests_apart() -> None:
    known = survey_bearer()
    assert set(known.gaps) == REQUIRED_COVERAGE
    assert (known.timing, known.collision, known.message) == (None, None, ())


def test_a_change_of_the_row_is_a_change_of_what_is_said() -> None:
    wider = survey(replace(OKX, window=Window(7 * SECOND, SECOND), bodyless=frozenset({"GET"})))
    assert wider.timing is not None
    assert wider.timing.past == 7 * SECOND
    assert "no body on GET" in wider.compensations
