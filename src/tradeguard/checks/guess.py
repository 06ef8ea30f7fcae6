"""Attempts: how often may a secret be guessed that can be guessed? Reserved before the check's own work, then verified.

A code of six digits or a password is not found out by verifying first and counting after: of 1,000 guesses sent at once
all would be verified. So an attempt is taken from a quota before anything is compared, in one atomic step of the shared
state, and given back if the secret was right. At most as many wrong guesses are verified as the rate allows, however
many tasks, threads, processes and nodes ask at once.
"""

import logging
from hashlib import sha256
from typing import Final

from tradeguard.core.conditions import NEVER, Charge, Outcome, Quota
from tradeguard.core.decision import Denial, register
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.ports import State
from tradeguard.core.rate import parse_rate

EXCEEDED = register(
    "guess.exceeded",
    status=429,
    text="Too many attempts failed. Retry-After says when the next one is heard.",
    hint="Somebody guesses a code or a password, or a person has forgotten it. Nothing was compared.",
)
FULL = register(
    "guess.full",
    status=503,
    text="Too many attempts are being counted. Ask again.",
    hint="The store counts as many quotas as it has room for; raise `meters`.",
)
_SECOND: Final = 1_000_000_000
_LONGEST: Final = 128  # characters of a name that is stored as it is
_log = logging.getLogger("tradeguard")


class Attempts:
    """Counts attempts at something that can be guessed.

    `who` an attempt is counted against decides whom it can lock out. After a proof that cannot be guessed (a signature,
    then a code) that may be the account: only who holds the key can use its attempts up. Where the guess itself is the
    first proof (a password) name account and source together, `f"{account}@{source}"`: who guesses elsewhere then locks
    nobody out. NIST SP 800-63B has at most 100 failures in a row for an account.

    Args:
        state: shared memory.
        rate: how many wrong guesses are verified, such as "5/5 minutes;20/day"; rolling windows.
        name: what is guessed, such as "totp": each has counts of its own.

    Raises:
        ConfigError: the rate is malformed, or the state cannot settle quotas.
    """

    def __init__(self, state: State, rate: str, *, name: str = "guess") -> None:
        if Quota not in state.supports:
            raise ConfigError(f"Attempts needs Quota, which {type(state).__name__} cannot settle")
        self._state, self._windows, self._name = state, parse_rate(rate), name

    async def reserve(self, who: str, at: int, request_id: str) -> Charge | Denial:
        """Take one attempt, before anything is compared.

        Args:
            who: against whom it counts.
            at: when the request came, ns UTC.
            request_id: of the request; it attempts once.

        Returns:
            The permit to compare, for `success`; or `guess.exceeded` with an exact Retry-After, or `guess.full`.

        Raises:
            BackendDown: the state cannot answer; nothing may be compared.
        """
        quota = Quota(f"{self._name}:{_short(who)}", self._windows, 1, binding=True)
        outcome = await self._state.commit((quota,), at, request_id, None)
        return _refuse(outcome) if outcome.failed else Charge(quota, outcome.time, request_id)

    async def success(self, permit: Charge, at: int) -> bool:
        """Give an attempt back: the secret was right.

        Where the state cannot answer it is not given back, and runs out by itself: that is no reason to refuse.

        Args:
            permit: what `reserve` returned.
            at: the time, ns UTC.

        Returns:
            Whether it was given back and still counted.
        """
        try:
            return await self._state.refund(permit, "proved", 1, at)
        except BackendDown as error:
            _log.warning("an attempt that was right is counted as wrong: %s", error)
            return False


def _refuse(outcome: Outcome) -> Denial:
    if outcome.ready == 0:
        return Denial(FULL, retry_after=1)
    if outcome.ready == NEVER:
        return Denial(EXCEEDED)
    wait = outcome.ready - outcome.time
    return Denial(EXCEEDED, retry_after=-(-wait // _SECOND), members={"retry_after_ms": -(-wait // 1_000_000)})


def _short(who: str) -> str:
    """Return a name of bounded length: what a stranger writes into a login does not grow the store."""
    if len(who) <= _LONGEST and who.isprintable():
        return who
    return "sha256:" + sha256(who.encode("utf-8", "surrogatepass")).hexdigest()
