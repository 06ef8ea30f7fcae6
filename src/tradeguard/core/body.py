"""The body: read once, within its size, its time and the budget of bytes that nobody has proved yet."""

from collections.abc import Callable, Coroutine
from typing import Any

from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.policy import Policy
from tradeguard.core.ports import Budget, Runtime

SLOW = register(
    "body.slow",
    status=408,
    text="The body did not arrive in time.",
    hint="A slow client or an attack by slowness; see Policy.body_seconds, body_bytes_per_second.",
)
SHORT = register(
    "body.short",
    status=400,
    text="The body is not as long as announced.",
    hint="The connection broke, or the client counts characters instead of bytes.",
)
LARGE = register("body.large", status=413, text="The body is too large.", hint="See Policy.body_bytes.")
BUDGET = register(
    "body.budget",
    status=503,
    text="The service is busy. Ask again.",
    hint="Unproven requests hold all of Policy.unproven_bytes: an attack, or a limit too low for the traffic.",
)

_SECOND = 1_000_000_000
_GRACE = 2 * _SECOND  # before the minimum rate counts: a slow start is no attack
Chunk = Callable[[], Coroutine[Any, Any, tuple[bytes, bool]]]


class Reader:
    """Reads one body.

    Args:
        chunk: returns the next bytes and whether more may follow.
        policy: the limits.
        budget: where unproven bytes are counted, as they arrive.
        runtime: the clock, and a way to interrupt.
        arrived: ns UTC when the head was complete; the deadline counts from here.
    """

    __slots__ = ("_arrived", "_budget", "_chunk", "_policy", "_runtime", "_taken")

    def __init__(self, chunk: Chunk, policy: Policy, budget: Budget, runtime: Runtime, arrived: int) -> None:
        self._chunk, self._policy, self._budget, self._runtime = chunk, policy, budget, runtime
        self._arrived, self._taken = arrived, 0

    async def read(self, declared: int | None) -> bytes:
        """Return the whole body.

        Raises:
            Refused: 400, 408, 413 or 503.
        """
        if declared == 0:
            return b""
        try:
            body = await self._collect()
        except TimeoutError:
            raise Refused(Denial(SLOW)) from None
        if declared is not None and len(body) != declared:
            raise Refused(Denial(SHORT, detail=f"{len(body)} of {declared} bytes"))
        return body

    def release(self) -> None:
        """Give what was taken from the budget back."""
        taken, self._taken = self._taken, 0
        if taken:
            self._budget.give(taken)

    def _deadline(self, size: int) -> int:
        """Return until when so many bytes of a body are in time, ns UTC: altogether, and by their rate."""
        allowed, rate = int(self._policy.body_seconds * _SECOND), self._policy.body_bytes_per_second
        return self._arrived + (min(allowed, _GRACE + size * _SECOND // rate) if rate else allowed)

    async def _collect(self) -> bytes:
        chunks: list[bytes] = []
        runtime, more = self._runtime, True
        while more:
            left = max(0, self._deadline(self._taken) - runtime.now()) / _SECOND
            data, more = await runtime.within(left, self._chunk())
            size = len(data)
            if runtime.now() > self._deadline(self._taken + size):
                raise Refused(Denial(SLOW))
            if self._taken + size > self._policy.body_bytes:
                raise Refused(Denial(LARGE))
            if not self._budget.take(size):
                raise Refused(Denial(BUDGET, retry_after=1))
            self._taken += size
            chunks.append(data)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
