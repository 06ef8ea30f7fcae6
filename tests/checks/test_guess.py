"""Reserve, then verify: of many guesses at once at most as many are verified as the rate allows, on every store."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from backends.redis_server import PROGRAMS, running
from conftest import Run
from support import NOW, SECOND, StillClock, make_checks, make_guard, sign

from tradeguard.backends.memory import Memory, MemoryJournal
from tradeguard.backends.redis import Redis
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.checks.guess import Attempts
from tradeguard.core.conditions import Charge, Once, Outcome
from tradeguard.core.decision import Denial
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.ports import State
from tradeguard.core.request import Request

RATE, MOST = "5/5 minutes", 5
Make = Callable[[], Any]


@pytest.fixture(params=["memory", "sqlite"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    """A store on which a thread may wait."""
    if request.param == "memory":
        yield Memory(since=1)
        return
    sqlite = SQLiteState(tmp_path / "state.db", busy=30)
    yield sqlite
    sqlite.close()


class Code:
    """A code of six digits that is compared after an attempt was reserved; it counts what it compares."""

    def __init__(self, attempts: Attempts, code: str = "314159") -> None:
        self.attempts, self.code, self.compared = attempts, code, 0
        self.lock = threading.Lock()

    async def guess(self, code: str, number: int, who: str = "alice", at: int = NOW) -> str:
        permit = await self.attempts.reserve(who, at, f"{number:032x}")
        if isinstance(permit, Denial):
            return permit.code
        with self.lock:
            self.compared += 1
        if code != self.code:
            return "wrong"
        assert await self.attempts.success(permit, at)
        return "right"


def test_of_a_thousand_wrong_guesses_in_threads_five_are_verified(state: State) -> None:
    code, start, answers = Code(Attempts(state, RATE)), threading.Barrier(20), list[str]()

    def attack(place: int) -> None:
        start.wait()
        for number in range(50):
            answers.append(drive(code.guess("000000", place * 50 + number)))

    threads = [threading.Thread(target=attack, args=(place,)) for place in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert code.compared == MOST
    assert sorted(set(answers)) == ["guess.exceeded", "wrong"]
    assert len(answers) == 1_000


def test_of_a_thousand_wrong_guesses_in_tasks_five_are_verified(state: State) -> None:
    code = Code(Attempts(state, RATE))

    async def attack() -> list[str]:
        return await asyncio.gather(*(code.guess("000000", number) for number in range(1_000)))

    answers = asyncio.run(attack())
    assert code.compared == MOST
    assert answers.count("wrong") == MOST


@pytest.mark.parametrize("program", PROGRAMS)
def test_of_a_thousand_wrong_guesses_over_redis_five_are_verified(program: str, tmp_path: Path) -> None:
    async def attack(url: str) -> list[str]:
        states = [Redis(url, deadline=20, opening=20) for _ in range(4)]  # four nodes
        codes = [Code(Attempts(state, RATE)) for state in states]
        guesses = (codes[number % 4].guess("000000", number) for number in range(1_000))
        try:
            answers = await asyncio.gather(*guesses)
        finally:
            for state in states:
                state.close()
        assert sum(code.compared for code in codes) == MOST
        return list(answers)

    with running(tmp_path, program=program) as server:
        answers = asyncio.run(attack(server.url))
    assert answers.count("wrong") == MOST


def test_d11_of_a_hundred_logins_at_once_as_many_are_heard_as_allowed(state: State) -> None:
    """D11: where failures are counted after they were verified, 15 to 20 of 100 get through; here five."""
    start, verified = threading.Barrier(100), list[int]()
    attempts = Attempts(state, RATE, name="password")

    def log_in(number: int) -> None:
        start.wait()
        permit = drive(attempts.reserve("alice@198.51.100.1", NOW, f"{number:032x}"))
        if not isinstance(permit, Denial):
            verified.append(number)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(verified) == MOST


def test_counting_afterwards_verifies_them_all() -> None:
    """What this part is for: judge first and commit then, and every guess that is on its way is compared."""
    compared, gate = 0, asyncio.Event()

    async def judge_then_commit(attempts: Attempts, number: int) -> None:
        nonlocal compared
        await gate.wait()
        compared += 1
        await attempts.reserve("alice", NOW, f"{number:032x}")

    async def attack() -> None:
        attempts = Attempts(Memory(since=1), RATE)
        tasks = [asyncio.create_task(judge_then_commit(attempts, number)) for number in range(1_000)]
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(attack())
    assert compared == 1_000


def test_who_is_right_is_never_locked_out(state: State, run: Run) -> None:
    code = Code(Attempts(state, RATE))
    answers = {run(code.guess("314159", number)) for number in range(50)}
    assert answers == {"right"}


def test_a_success_gives_one_attempt_back_and_forgets_no_failure(state: State, run: Run) -> None:
    code = Code(Attempts(state, RATE))
    guesses = ["000000"] * 4 + ["314159"] * 3 + ["000000"] * 2 + ["314159"]
    answers = [run(code.guess(guess, number)) for number, guess in enumerate(guesses)]
    assert answers == ["wrong"] * 4 + ["right"] * 3 + ["wrong"] + ["guess.exceeded"] * 2


def test_an_attempt_is_given_back_once(state: State, run: Run) -> None:
    attempts = Attempts(state, RATE)
    permit = run(attempts.reserve("alice", NOW, "a" * 32))
    assert isinstance(permit, Charge)
    assert run(attempts.success(permit, NOW)) is True
    assert run(attempts.success(permit, NOW)) is False


def test_who_obeys_retry_after_is_heard_and_who_comes_a_second_early_is_not(state: State, run: Run) -> None:
    code = Code(Attempts(state, RATE))
    for number in range(MOST):
        run(code.guess("000000", number))
    denial = run(code.attempts.reserve("alice", NOW, "b" * 32))
    assert isinstance(denial, Denial)
    assert (denial.code, denial.status, denial.executed) == ("guess.exceeded", 429, False)
    assert denial.retry_after is not None
    early, in_time = NOW + (denial.retry_after - 1) * SECOND, NOW + denial.retry_after * SECOND
    assert run(code.guess("314159", 100, at=early)) == "guess.exceeded"
    assert run(code.guess("314159", 101, at=in_time)) == "right"


def test_others_and_other_secrets_have_attempts_of_their_own(state: State, run: Run) -> None:
    """Password guesses at an account from one source leave the account's other sources and its codes alone."""
    passwords, codes = Attempts(state, RATE, name="password"), Attempts(state, RATE, name="totp")
    for number in range(20):
        run(passwords.reserve("alice@198.51.100.66", NOW, f"{number:032x}"))
    assert isinstance(run(passwords.reserve("alice@198.51.100.66", NOW, "c" * 32)), Denial)
    assert isinstance(run(passwords.reserve("alice@203.0.113.1", NOW, "d" * 32)), Charge)
    assert isinstance(run(codes.reserve("alice@198.51.100.66", NOW, "e" * 32)), Charge)


@pytest.mark.parametrize("who", ["", "x" * 100_000, "\0", "é\U0001f511", "\udcff", "a:b", "a\nb"])
def test_any_name_is_counted_in_bounded_room(who: str, state: State, run: Run) -> None:
    attempts = Attempts(state, "1/minute")
    permit = run(attempts.reserve(who, NOW, "a" * 32))
    assert isinstance(permit, Charge)
    assert len(permit.quota.key) < 200
    assert isinstance(run(attempts.reserve(who, NOW, "b" * 32)), Denial)


def test_where_the_store_has_no_room_nothing_is_compared(run: Run) -> None:
    attempts = Attempts(Memory(since=1, meters=8), RATE)
    answers = [run(attempts.reserve(f"user{number}", NOW, f"{number:032x}")) for number in range(20)]
    full = [answer for answer in answers if isinstance(answer, Denial)]
    assert {(denial.code, denial.status, denial.retry_after) for denial in full} == {("guess.full", 503, 1)}


class Lost(Memory):
    """A store that does not answer."""

    async def commit(self, *_: Any, **__: Any) -> Outcome:
        raise BackendDown("gone")

    async def refund(self, *_: Any, **__: Any) -> bool:
        raise BackendDown("gone")


def test_where_the_store_is_lost_nothing_is_compared_and_a_right_guess_stands(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = Attempts(Lost(since=1), RATE)
    with pytest.raises(BackendDown):
        run(attempts.reserve("alice", NOW, "a" * 32))
    permit = run(Attempts(Memory(since=1), RATE).reserve("alice", NOW, "a" * 32))
    assert run(attempts.success(permit, NOW)) is False
    assert "counted as wrong" in caplog.text


class OnlyNonces(Memory):
    """A store that settles no quotas."""

    supports: frozenset[type] = frozenset({Once})


def test_what_cannot_count_is_refused_when_it_is_built() -> None:
    with pytest.raises(ConfigError, match="needs Quota"):
        Attempts(OnlyNonces(since=1), RATE)
    with pytest.raises(ConfigError, match="no rate"):
        Attempts(Memory(since=1), "0/minute")


def test_a_custom_check_reserves_before_it_compares(run: Run) -> None:
    """As a proof of the second factor will: a judge that asks for its attempt first."""
    state, journal = Memory(since=1), MemoryJournal()
    code = Code(Attempts(state, RATE, name="totp"))

    class SecondFactor:
        async def __call__(self, request: Request, /) -> Denial | None:
            assert request.principal is not None
            answer = await code.guess("000000", int(request.id, 16), request.principal.key_id, request.received)
            return None if answer == "right" else Denial("test.factor", status=403, detail=answer)

    guard = make_guard([*make_checks(), SecondFactor()], state=state, journal=journal, runtime=StillClock())
    for _ in range(100):
        run(guard.admit(sign()))
    assert code.compared == MOST
