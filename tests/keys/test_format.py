"""Ids and secrets have one form, every typo in them is found, and scanners find the secrets by the same pattern."""

import re
import tomllib
from collections import Counter
from typing import Any, get_args
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KEY_ID
from tradeguard.keys.format import (
    ID_PATTERN,
    SECRET_PATTERN,
    Env,
    Kind,
    Scanner,
    check_secret,
    make_id,
    make_secret,
    plausible,
    scanner_rules,
)
from tradeguard.signing.material import Hmac

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ENVS, KINDS = st.sampled_from(get_args(Env)), st.sampled_from(get_args(Kind))
BODIES = st.text(BASE62, min_size=43, max_size=43)
TYPO = BASE62 + "_-= .\n\0\u0660\u0430"  # Arabic zero, Cyrillic a: digits and letters to other patterns


def sum_by_hand(text: str) -> str:
    """CRC32 in base62, six digits: as the head of the module says, digit by digit."""
    number, digits = crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def id_of(env: str, kind: str, body: str) -> str:
    text = f"tg_{env}_{kind}_{body[:24]}"
    return text + sum_by_hand(text)


def secret_of(env: str, body: str) -> str:
    return (text := f"tgs_{env}_{body}") + sum_by_hand(text)


def typos(text: str) -> list[str]:
    """Every text that differs in one character."""
    return [text[:at] + typo + text[at + 1 :] for at in range(len(text)) for typo in TYPO if typo != text[at]]


@pytest.mark.parametrize("env", get_args(Env))
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_made_id_is_a_key_id_with_the_right_sum(env: Env, kind: Kind) -> None:
    id = make_id(env, kind)
    assert re.fullmatch(rf"tg_{env}_{kind}_[0-9A-Za-z]{{30}}", id)
    assert re.fullmatch(ID_PATTERN, id)
    assert KEY_ID.fullmatch(id)
    assert id[-6:] == sum_by_hand(id[:-6])
    assert plausible(id)
    assert not check_secret(id)


@pytest.mark.parametrize("env", get_args(Env))
def test_a_made_secret_has_the_right_sum_and_makes_an_hmac_key(env: Env) -> None:
    secret = make_secret(env)
    text = secret.reveal().decode()
    assert re.fullmatch(rf"tgs_{env}_[0-9A-Za-z]{{49}}", text)
    assert re.fullmatch(SECRET_PATTERN, text)
    assert text[-6:] == sum_by_hand(text[:-6])
    assert check_secret(text)
    assert text not in repr(secret)
    assert Hmac(secret).algorithm == "hmac-sha256"


def test_fixed_examples_stay_right() -> None:
    """What customers hold does not become wrong with a release."""
    assert plausible("tg_live_hmac_0123456789ABCDEFGHIJKLMN2Q7HAA")
    assert check_secret("tgs_test_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg2VaADk")


@given(ENVS, KINDS, BODIES)
@settings(max_examples=200)
def test_any_body_with_its_sum_is_taken(env: Env, kind: Kind, body: str) -> None:
    assert plausible(id_of(env, kind, body))
    assert check_secret(secret_of(env, body))


@given(ENVS, KINDS, BODIES)
@settings(max_examples=20)
def test_every_typo_of_one_character_in_an_id_is_found(env: Env, kind: Kind, body: str) -> None:
    """In the first three characters it makes an id that is not one of ours, which the look-up will not find."""
    id = id_of(env, kind, body)
    assert [typo for typo in typos(id) if plausible(typo) and typo.startswith("tg_")] == []


@given(ENVS, BODIES)
@settings(max_examples=20)
def test_every_typo_of_one_character_in_a_secret_is_found(env: Env, body: str) -> None:
    assert [typo for typo in typos(secret_of(env, body)) if check_secret(typo)] == []


@given(ENVS, KINDS, BODIES, st.data())
@settings(max_examples=200)
def test_exchanged_lost_and_doubled_characters_are_found(env: Env, kind: Kind, body: str, data: Any) -> None:
    for text, held in ((id_of(env, kind, body), plausible), (secret_of(env, body), check_secret)):
        at = data.draw(st.integers(4, len(text) - 8))  # two neighbours, both before the sum
        swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        assert swapped == text or not held(swapped)
        assert not held(text[:at] + text[at + 1 :])
        assert not held(text[:at] + text[at] + text[at:])
        assert not held(text + "\n")


@pytest.mark.parametrize("tail", ["0", "0" * 200, "_", "\n", "\u0660"])
def test_a_longer_text_is_refused_although_its_sum_is_right(tail: str) -> None:
    for made, held in ((id_of("live", "hmac", BASE62), plausible), (secret_of("live", BASE62[:43]), check_secret)):
        assert held(made)
        assert not held(made + tail + sum_by_hand(made + tail))


@given(ENVS, KINDS, BODIES)
@settings(max_examples=50)
def test_the_sum_covers_the_prefix(env: Env, kind: Kind, body: str) -> None:
    """A secret of the test system does not pass for one of the live system."""
    other = "live" if env == "test" else "test"
    id, secret = id_of(env, kind, body), secret_of(env, body)
    assert not plausible(id.replace(f"tg_{env}", f"tg_{other}"))
    assert not check_secret(secret.replace(f"tgs_{env}", f"tgs_{other}"))


@pytest.mark.parametrize(
    "id", ["", "trader", "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A", "TG_live", "tg-1"]
)
def test_an_id_of_another_venue_is_plausible(id: str) -> None:
    assert plausible(id)


@pytest.mark.parametrize("id", ["tg_", "tg_live_hmac_", "tg_trader", "tgs_", "tgs_live_x"])
def test_an_id_with_our_prefix_and_nothing_right_behind_it_is_not_plausible(id: str) -> None:
    assert not plausible(id)


def test_a_secret_in_the_place_of_an_id_is_not_plausible() -> None:
    assert not plausible(make_secret("live").reveal().decode())


@given(st.text(max_size=80))
@settings(max_examples=200)
def test_no_text_breaks_the_checks(text: str) -> None:
    assert plausible(text) or text.startswith(("tg_", "tgs_"))
    assert not plausible("tg_" + text)
    assert not check_secret(text)


def test_the_characters_are_drawn_evenly() -> None:
    """Chi-squared over 61 degrees: above 200 once in 10**16 runs; bytes taken modulo 62 give about 650."""
    drawn = "".join(make_secret("test").reveal().decode()[9:52] for _ in range(2400))
    counts = Counter(drawn)
    expected = len(drawn) / 62
    assert set(counts) == set(BASE62)
    assert sum((counts[digit] - expected) ** 2 / expected for digit in BASE62) < 200


def test_no_two_are_alike() -> None:
    assert len({make_id("test", "hmac") for _ in range(1000)}) == 1000
    assert len({make_secret("test").reveal() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("make", "arguments"),
    [(make_id, ("prod", "hmac")), (make_id, ("live", "dsa")), (make_secret, ("",)), (scanner_rules, ("trufflehog",))],
)
def test_an_unknown_choice_is_refused_with_those_there_are(make: Any, arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="is not known here; use one of "):
        make(*arguments)


def pattern_in(kind: Scanner) -> str:
    """Read the pattern out of the rules as the scanner does."""
    rules = scanner_rules(kind)
    if kind == "gitleaks":
        rule = tomllib.loads(rules)["rules"][0]
        assert {"id", "description", "regex", "keywords"} == set(rule)
        assert all(keyword in make_secret("live").reveal().decode() for keyword in rule["keywords"])
        return str(rule["regex"])
    found = re.search(r"^ *(?:Secret format: |entry: ')(.*?)'?$", rules, re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("kind", get_args(Scanner))
def test_a_scanner_finds_secrets_where_people_leave_them_and_no_ids(kind: Scanner) -> None:
    pattern, secret = pattern_in(kind), make_secret("live").reveal().decode()
    assert pattern == SECRET_PATTERN
    for text in (
        f'secret = "{secret}"',
        f"--secret={secret}",
        f"https://x/?s%3D{secret}&",
        f'"a\\n{secret}\\n"',
        secret,
    ):
        assert [match[0] for match in re.finditer(pattern, text)] == [secret]
    assert not re.search(pattern, make_id("live", "hmac"))
    assert not re.search(pattern, secret[:-1])


@pytest.mark.parametrize("pattern", [ID_PATTERN, SECRET_PATTERN])
def test_a_pattern_uses_only_what_every_engine_knows(pattern: str) -> None:
    """Groups without names, classes, counts: the same in Python, RE2 and Hyperscan. No quotes, for YAML and TOML."""
    assert re.fullmatch(r"(?:[a-z0-9_|]|\(\?:|\)|\[0-9A-Za-z\]|\{\d+\})+", pattern)
