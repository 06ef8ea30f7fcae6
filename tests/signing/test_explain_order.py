"""Explain finds in which order a client signs the parts of a row, and how it joins them: bounded, and nothing leaks."""

import hmac
import itertools
import sys
from base64 import b64encode
from collections.abc import Callable

import pytest
from signing.test_explain_own import JSON, NONCE, PLAIN, SECRET, TIME, acme, judge, mac, send

from tradeguard.core.secret import Secret
from tradeguard.signing.cure import write_message
from tradeguard.signing.explain import explain, verify
from tradeguard.signing.message import Facts, compile_message, read_message
from tradeguard.signing.order import MOST, find_order
from tradeguard.signing.spelt import holds

PARTS = ("{time}", "{method}", "{target}", "{body}")
FACTS = Facts(time=TIME.encode(), method=b"POST", target=b"/v1/o?a=1", path=b"/v1/o", query=b"a=1", body=JSON, key=b"k")


class Asked:
    """Takes none of the texts that it is asked for, and counts them."""

    def __init__(self) -> None:
        self.texts: list[int] = []

    def __call__(self, text: bytes) -> bool:
        self.texts.append(hash(text))
        return False


@pytest.mark.parametrize("order", [*itertools.permutations(PARTS)], ids="".join)
def test_the_order_in_which_a_client_signs_is_found(order: tuple[str, ...]) -> None:
    text = "".join(order)
    signed = compile_message(read_message(text))(FACTS)
    request = send(hmac.digest(SECRET, signed, "sha256").hex())
    explained, verdict = judge(acme(), request)
    if text == acme().message:
        assert verdict.ours
    else:
        assert f"The secret is right, and the client signs {text}; acme has {acme().message}." in verdict.advice
        assert f"The client's text is {text}; acme has {acme().message}." in explain(acme(), request, signed).advice
    assert explained.text == PLAIN.encode()


@pytest.mark.parametrize(
    ("message", "signed"),
    [
        ("{time}{method}{target}{body}", "{method}{time}{path}{query}{body}"),
        ("{time}{method}{target}{body}", "{time}\n{method}\n{target}\n{body}"),
        ("{time}{method}{target}{body}", "{method}\n{target}\n{time}\n{body}"),
        ("{time}{method}{target}{body}", "{key}{time}{method}{target}{body}"),
        ("{time}{method}{target}{body}", "{target}{time}"),
        ("{time}\n{method}\n{target}\n{body}", "{method}\n{target}\n{body}\n{time}"),
        ("{time}\n{method}\n{target}\n{body}", "{method}{target}{time}{body}"),
        ("{time}|{method}{target}{body}", "{method}|{time}{target}{body}"),
        ("{time}\n{method}\n{target}\n{sha256hex(body)}", "{sha256hex(body)}\n{method}\n{target}\n{time}"),
        ("{time}{method}{target}", "{method}{body}{time}"),
    ],
)
def test_parts_that_are_written_joined_or_chosen_otherwise_are_found(message: str, signed: str) -> None:
    theirs = compile_message(read_message(signed))(FACTS)
    found = find_order(read_message(message), FACTS, lambda text: text == theirs)
    assert found is not None
    assert compile_message(found)(FACTS) == theirs
    assert write_message(found) == signed


def test_what_a_row_has_not_is_not_found() -> None:
    assert find_order(read_message("{time}{method}{target}{body}"), FACTS, lambda text: text == b"else") is None
    assert find_order(read_message("{query}"), FACTS, lambda _: True) is None


@pytest.mark.parametrize(
    ("message", "body", "most"),
    [
        ("\n".join(("{algorithm}{key}", *"123456789", "{time}", "{method}", "{target}", "{body}")), JSON, MOST),
        ("{key}{time}{nonce}{method}{authority}{path}{?query}{body}", JSON, MOST),
        ("{time}{method}{target}{body}", b"b" * (10 << 20), 12),
    ],
)
def test_attack_a_request_for_which_everything_is_tried_takes_a_bounded_number_of_macs(
    message: str, body: bytes, most: int
) -> None:
    facts = FACTS._replace(body=body, nonce=NONCE.encode(), authority=b"api.example")
    asked = Asked()
    assert find_order(read_message(message), facts, asked) is None
    assert len(asked.texts) == len(set(asked.texts))
    assert most // 2 < len(asked.texts) <= most


def test_attack_no_signature_and_no_secret_is_in_what_is_told_of_an_order() -> None:
    wrong = mac(f"POST{TIME}").hex()
    told = repr(judge(acme(), send(wrong)))
    assert "the client signs {method}{time}" in told
    right = mac(PLAIN)
    for shown in (right.hex(), b64encode(right).decode(), repr(right)[2:-1], SECRET.decode(), wrong):
        assert shown not in told


def test_several_messages_share_the_bound() -> None:
    row = acme(message=["{time}{method}{path}{?query:sorted}{body}", "{time}{method}{path}{?query}{body}"])
    signed = compile_message(read_message("{method}{time}{path}{?query}{body}"))(FACTS)
    _, verdict = judge(row, send(hmac.digest(SECRET, signed, "sha256").hex()))
    assert "the client signs {method}{time}{path}" in verdict.advice[0]
    asked = Asked()
    assert find_order(row.messages[0], FACTS, asked, 7) is None
    assert len(asked.texts) == 7


def count_macs(ask: Callable[[], object]) -> int:
    """How often a signature is held against a text while this is asked."""
    found: list[str] = []
    sys.setprofile(lambda frame, event, _: found.append(event) if frame.f_code is holds.__code__ else None)
    try:
        ask()
    finally:
        sys.setprofile(None)
    return found.count("call")


def test_attack_several_long_messages_do_not_multiply_the_macs() -> None:
    text = "{key}\n{time}\n{method}\n{authority}\n{content_type}\n{path}\n{query}\n{body}"
    row = acme(message=[text, text.replace("{query}", "{query:sorted}")])
    request = send(mac("else").hex(), "/v1/o?b=1&a=2")
    explained = explain(row, request, b"")
    assert len(set(explained.readings)) == 2
    assert MOST // 2 < count_macs(lambda: verify(row, request, explained, b"", Secret(SECRET))) < MOST + 200
