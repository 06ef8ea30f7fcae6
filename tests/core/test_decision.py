"""Grant, Denial and the catalogue: one code, one meaning, and one face before the proof."""

from typing import Any

import pytest

from tradeguard.core.decision import CATALOGUE, UNAUTHORIZED, Denial, Grant, Refused, register
from tradeguard.core.errors import ConfigError

CLOSED = register("testhours.closed", status=403, text="Closed.", hint="Look at the hours.")
STRANGER = register("testhours.stranger", unproven=True, hint="None.")
WRONG = register("testhours.wrong", unproven=True, hint="Look at the key.", executed="unknown")


def face(denial: Denial) -> tuple[object, ...]:
    """What a stranger sees of a denial."""
    return denial.public, denial.status, denial.text, denial.executed, denial.retry_after, dict(denial.members)


def test_a_registered_code_stands_in_the_catalogue() -> None:
    entry = CATALOGUE[CLOSED]
    assert entry == ("testhours.closed", "testhours.closed", 403, "Closed.", "Look at the hours.", False)


def test_registering_the_same_meaning_again_changes_nothing() -> None:
    assert register(CLOSED, status=403, text="Closed.", hint="Look at the hours.") == CLOSED


def test_registering_another_meaning_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"denial testhours\.closed is registered already, with another meaning"):
        register(CLOSED, status=429, text="Closed.", hint="Look at the hours.")
    assert CATALOGUE[CLOSED].status == 403


@pytest.mark.parametrize(
    "code", ["", "closed", "hours.", ".closed", "hours.to.day", "9.closed", "hours.clo sed", "a-b.c"]
)
def test_a_malformed_code_is_an_error_that_shows_a_good_one(code: str) -> None:
    with pytest.raises(ConfigError, match=r"is no denial code; write <file>\.<reason>, for example 'hours\.closed'"):
        register(code, hint="")


@pytest.mark.parametrize("status", [200, 302, 399, 600, 0])
def test_a_status_that_is_no_refusal_is_an_error(status: int) -> None:
    with pytest.raises(ConfigError, match=rf"denial testhours\.odd: status {status} is no refusal; use 400 to 599"):
        register("testhours.odd", status=status, hint="")
    assert "testhours.odd" not in CATALOGUE


def test_the_catalogue_cannot_be_written_to() -> None:
    with pytest.raises(TypeError):
        CATALOGUE["testhours.x"] = CATALOGUE[CLOSED]  # type: ignore[index]


def test_every_code_in_the_catalogue_is_under_its_own_name_and_a_refusal() -> None:
    for code, entry in CATALOGUE.items():
        assert entry.code == code
        assert 400 <= entry.status <= 599
        assert entry.public in (code, UNAUTHORIZED)
        assert entry.text
        assert entry.hint


def test_all_denials_before_the_proof_have_one_face() -> None:
    codes = [code for code, entry in CATALOGUE.items() if entry.public == UNAUTHORIZED and not code.startswith("test")]
    assert {str(face(Denial(code))) for code in codes} == {str(face(Denial(STRANGER)))}


def test_a_denial_has_the_face_of_its_code() -> None:
    denial = Denial(CLOSED, retry_after=5, detail="secret", members={"opens": "8"})
    assert face(denial) == ("testhours.closed", 403, "Closed.", False, 5, {"opens": "8"})
    assert (denial.code, denial.detail) == (CLOSED, "secret")
    assert repr(denial) == "Denial('testhours.closed', status=403)"


@pytest.mark.parametrize(("given", "executed"), [(None, "unknown"), (False, False), ("unknown", "unknown")])
def test_a_denial_may_know_better_whether_the_operation_was_executed(given: Any, executed: Any) -> None:
    assert Denial(WRONG, executed=given).executed == executed


def test_a_code_of_ones_own_needs_a_status() -> None:
    denial = Denial("testhours.own", status=451)
    assert face(denial) == ("testhours.own", 451, "The operator's own rule refuses this request.", False, None, {})
    assert "testhours.own" not in CATALOGUE


@pytest.mark.parametrize(
    ("code", "status"),
    [("testhours.own", None), ("testhours.own", 200), ("testhours.own", 600), (CLOSED, 403), (CLOSED, 500)],
)
def test_a_code_without_a_status_or_a_status_beside_a_known_code_is_an_error(code: str, status: int | None) -> None:
    with pytest.raises(ConfigError, match="register the code, or give an own code a status of 400 to 599"):
        Denial(code, status=status)


def test_veil_leaves_the_one_face_alone() -> None:
    denial = Denial(STRANGER)
    assert denial.veil() is denial


@pytest.mark.parametrize(
    "denial", [Denial(CLOSED, retry_after=5, detail="d", members={"a": 1}), Denial("own.code", status=403)]
)
def test_veil_gives_any_other_denial_the_one_face_and_keeps_its_code_for_the_log(denial: Denial) -> None:
    veiled = denial.veil()
    assert face(veiled) == face(Denial(STRANGER))
    assert (veiled.code, veiled.detail) == (denial.code, denial.detail)


def test_refused_carries_its_denial() -> None:
    denial = Denial(CLOSED)
    assert Refused(denial).denial is denial
    assert str(Refused(denial)) == CLOSED


def test_a_grant_asks_again_whenever_it_is_rechecked() -> None:
    answers = iter([None, Denial(CLOSED)])
    grant = Grant("id", None, lambda: next(answers))
    assert grant.recheck() is None
    again = grant.recheck()
    assert again is not None
    assert again.code == CLOSED
    assert (grant.request_id, grant.principal) == ("id", None)
