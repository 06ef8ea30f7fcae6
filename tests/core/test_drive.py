"""drive: a coroutine that never suspends runs to its end; one that does is told so where it stands."""

import asyncio
import types
from collections.abc import Generator

import pytest

from tradeguard.core.drive import drive
from tradeguard.core.errors import Suspended


@types.coroutine
def suspend() -> Generator[str, None, None]:
    """Do what a future does: ask for an event loop."""
    yield "a loop, please"


async def twice(value: int) -> int:
    return value * 2


def test_a_result_comes_back() -> None:
    async def outer() -> int:
        return await twice(await twice(3))

    assert drive(outer()) == 12


def test_an_exception_comes_out_as_it_is() -> None:
    async def fail() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        drive(fail())


def test_a_coroutine_that_suspends_is_told_so_where_it_stands() -> None:
    places: list[str] = []

    async def wait() -> None:
        try:
            await suspend()
        except Suspended:
            places.append("here")
            raise

    with pytest.raises(Suspended, match="awaited an event loop in a host that has none"):
        drive(wait())
    assert places == ["here"]


def test_code_in_between_may_answer_for_it() -> None:
    async def answer() -> str:
        try:
            await suspend()
        except Suspended:
            return "503"
        return "200"

    assert drive(answer()) == "503"


def test_a_coroutine_that_suspends_again_is_closed_and_refused() -> None:
    places: list[str] = []

    async def stubborn() -> None:
        try:
            await suspend()
        except Suspended:
            try:
                await suspend()
            finally:
                places.append("closed")

    with pytest.raises(Suspended, match="suspended twice"):
        drive(stubborn())
    assert places == ["closed"]


def test_a_real_wait_for_the_loop_is_one_that_suspends() -> None:
    async def wait() -> None:
        await asyncio.sleep(0)

    with pytest.raises(Suspended):
        drive(wait())
