"""The body: read once, within its size, its time and the budget of bytes that nobody has proved yet."""

from collections.abc import Awaitable, Callable

from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.policy import Policy
from tradeguard.core.ports import Budget, Runtime

SLOW = register(
    "body.slow",
    status=408,
    text="The body did not arrive in time.",
    hint="A slow client or an attack by slowness; see Policy.body_seconds.",
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
Chunk = Callable[[], Awaitable[tuple[bytes, bool]]]


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
        deadline = self._arrived + int(self._policy.body_seconds * _SECOND)
        try:
            left = max(0, deadline - self._runtime.now()) / _SECOND
            body = await self._runtime.within(left, self._collect(deadline))
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

    async def _collect(self, deadline: int) -> bytes:
        chunks: list[bytes] = []
        more = True
        while more:
            data, more = await self._chunk()
            if self._runtime.now() > deadline:
                raise Refused(Denial(SLOW))
            if self._taken + len(data) > self._policy.body_bytes:
                raise Refused(Denial(LARGE))
            if not self._budget.take(len(data)):
                raise Refused(Denial(BUDGET, retry_after=1))
            self._taken += len(data)
            chunks.append(data)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
