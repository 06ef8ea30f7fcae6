"""Secret: its bytes leave by reveal() and in no other way."""

import copy
import json
import pickle
from collections.abc import Callable

import pytest

from tradeguard.core.secret import Secret

VALUE = "hunter2-hunter2"
TEXTS: dict[str, Callable[[Secret], str]] = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "width": "{:>40}".format,
    "conversion": "{!r}".format,
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "list": lambda secret: repr([secret]),
    "error": lambda secret: repr(ValueError(secret)),
}


@pytest.mark.parametrize(
    "value", [VALUE, VALUE.encode(), bytearray(VALUE.encode())], ids=["text", "bytes", "bytearray"]
)
def test_reveal_returns_the_bytes(value: str | bytes) -> None:
    assert Secret(value).reveal() == VALUE.encode()
    assert len(Secret(value)) == len(VALUE)


def test_text_is_taken_as_utf8() -> None:
    assert Secret("é").reveal() == b"\xc3\xa9"


@pytest.mark.parametrize("write", TEXTS.values(), ids=TEXTS)
def test_no_text_form_shows_it(write: Callable[[Secret], str]) -> None:
    text = write(Secret(VALUE))
    assert "Secret(***)" in text
    assert "hunter" not in text


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_neither_pickled_nor_copied(leave: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        leave(Secret(VALUE))


@pytest.mark.parametrize("leave", [json.dumps, hash, bytes, vars, iter])
def test_no_other_way_out_works(leave: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError):
        leave(Secret(VALUE))


def test_secrets_are_equal_by_value_and_to_nothing_else() -> None:
    assert Secret(VALUE) == Secret(VALUE.encode())
    assert Secret(VALUE) != Secret(VALUE + "3")
    assert Secret(VALUE) != VALUE
    assert Secret(VALUE) != VALUE.encode()
