"""Pipeline: one connection per event loop. Who asks alone is sent at once; what many ask for in a turn, in one write.

Each call has a deadline. Where it passes, the connection is closed: what was not sent is not sent any more, and what
was sent is unknown. So a server that hangs never finds old calls waiting when it wakes up, but those on their way.
"""

import asyncio
import contextlib
import os
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from tradeguard.backends.redis.client import (
    FAILURES,
    INFO,
    Address,
    AsyncConnection,
    NoScriptError,
    explain,
    is_lasting,
)
from tradeguard.backends.redis.script import Call
from tradeguard.core.errors import BackendDown


class _Asked:
    """A call on its way."""

    __slots__ = ("again", "answer", "call", "due")

    def __init__(self, call: Call, answer: asyncio.Future[Any], due: float, *, again: bool = False) -> None:
        self.call, self.answer, self.due, self.again = call, answer, due, again

    def packed(self, run: bytes) -> bytes:
        return self.call.unabridged(run) if self.again else self.call.packed(run)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Link:
    """An open connection, and the task that hands each answer to who waits for it, in order."""

    def __init__(self, connection: AsyncConnection, run: bytes) -> None:
        self._connection, self._run = connection, run
        self._sent: deque[_Asked] = deque()
        self.is_open = True
        self._reader = asyncio.create_task(self._read())

    @property
    def is_idle(self) -> bool:
        """Whether it is open and waits for nothing."""
        return self.is_open and not self._sent

    async def send(self, batch: Sequence[_Asked]) -> None:
        """Send calls in one write."""
        self._sent.extend(batch)
        packed = b"".join([asked.packed(self._run) for asked in batch])
        await self._connection.send_packed_command([packed], check_health=False)

    def close(self) -> None:
        """End it: who still waits for an answer hears that there will be none."""
        self.is_open = False
        self._reader.cancel()

    async def _read(self) -> None:
        try:
            while await self._pass_on():
                pass
        finally:
            self.is_open = False
            while self._sent:
                self._sent.popleft().fail(ConnectionError())
            with contextlib.suppress(*FAILURES):
                await self._connection.disconnect()  # waits for TLS to say goodbye, a bounded time

    async def _pass_on(self) -> bool:
        """Pass on one answer; tell whether there may be another."""
        try:
            answer = await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except FAILURES as error:
            if self._sent:
                self._sent.popleft().fail(error)
            return is_lasting(error)
        if not self._sent:
            return False  # it says what nobody has asked
        future = self._sent.popleft().answer
        if not future.done():
            future.set_result(answer)
        return True


class _Lane:
    """The calls of one event loop, and the link that they share."""

    def __init__(self, address: Address) -> None:
        self.pid, self._address = os.getpid(), address
        self._waiting: list[_Asked] = []
        self._asked: deque[_Asked] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None
        self._link: _Link | None = None

    async def call(self, call: Call, loop: asyncio.AbstractEventLoop) -> Any:
        try:
            try:
                return await self._ask(call, loop, again=False)
            except NoScriptError:  # it says that nothing was run
                return await self._ask(call, loop, again=True)
        except FAILURES as error:
            raise explain(self._address, error, unknown=True) from error

    def close(self) -> None:
        """Let go of the connection."""
        if self._writer is not None:
            self._writer.cancel()
        if self._link is not None:
            self._link.close()

    async def _ask(self, call: Call, loop: asyncio.AbstractEventLoop, *, again: bool) -> Any:
        asked = _Asked(call, loop.create_future(), loop.time() + self._address.deadline, again=again)
        self._asked.append(asked)
        if self._timer is None:
            self._timer = loop.call_at(asked.due, self._look, loop)
        try:
            if self._writer is None and self._link is not None and self._link.is_idle:
                await self._send_now(self._link, asked)
            else:
                self._waiting.append(asked)
                if self._writer is None:
                    self._writer = loop.create_task(self._write())
            return await asked.answer
        finally:
            asked.answer.cancel()  # where nobody waits for it any more
            while self._asked and self._asked[0].answer.done():
                self._asked.popleft()

    async def _send_now(self, link: _Link, asked: _Asked) -> None:
        """Send a call that has the link to itself. Where that fails, nobody knows what was sent."""
        try:
            await link.send((asked,))
        except Exception:
            link.close()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up what is overdue; the oldest call comes first. One timer serves all of them."""
        now, self._timer = loop.time(), None
        for asked in list(self._asked):
            if asked.due > now:
                self._timer = loop.call_at(asked.due, self._look, loop)
                break
            self._expire(asked)

    def _expire(self, asked: _Asked) -> None:
        """Give up a call whose deadline has passed; the connection goes with it if it was sent."""
        if asked in self._waiting:
            self._waiting.remove(asked)
            asked.fail(BackendDown(f"{self._address.name}: there was no connection to it in time"))
        elif not asked.answer.done():
            asked.fail(TimeoutError())
            if self._link is not None:
                self._link.close()

    async def _write(self) -> None:
        """Send what waits, and go on while there is more; open a connection first where there is none."""
        try:
            while self._waiting:
                if self._link is None or not self._link.is_open:
                    self._link = await self._open()
                batch = [asked for asked in self._waiting if not asked.answer.done()]
                self._waiting.clear()
                await self._link.send(batch)
        except Exception as error:
            if self._link is not None:
                self._link.close()
            self._refuse(error)
        finally:
            self._writer = None

    async def _open(self) -> _Link:
        connection = self._address.async_connection()
        try:
            async with asyncio.timeout(self._address.opening):
                await connection.connect()
                run = self._address.greet(await _inform(connection))
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return _Link(connection, run)

    def _refuse(self, error: Exception) -> None:
        """Tell who waits that nothing was sent."""
        known = explain(self._address, error, unknown=False) if isinstance(error, FAILURES) else error
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            asked.fail(known)


async def _inform(connection: AsyncConnection) -> object:
    """Return what a server says of itself, or the error with which it refuses to."""
    await connection.send_packed_command([INFO], check_health=False)
    try:
        return await connection.read_response(disable_decoding=True)
    except FAILURES as error:
        if not is_lasting(error):
            raise
        return error


class Pipeline:
    """Connections of the event loops of one process. After a fork the child opens its own.

    Args:
        address: where to connect to.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Lane] = weakref.WeakKeyDictionary()

    async def call(self, call: Call) -> Any:
        """Run a script.

        Raises:
            BackendDown: no answer; where it is `unknown`, it may have been run.
            ConfigError: the server must not be used as it is.
        """
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None or lane.pid != os.getpid():
            lane = self._lanes[loop] = _Lane(self._address)
        return await lane.call(call, loop)

    def close(self) -> None:
        """Let go of the connections, from any thread; the next call opens one."""
        lanes = list(self._lanes.items())
        self._lanes.clear()
        for loop, lane in lanes:
            if lane.pid == os.getpid() and not loop.is_closed():
                loop.call_soon_threadsafe(lane.close)

    def __del__(self) -> None:
        self.close()
