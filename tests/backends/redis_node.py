"""A node of a deployment, for tests of its store: a state of either colour, run as its colour asks; and a proxy."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from tradeguard.backends.redis import BlockingRedis, Redis
from tradeguard.core.conditions import Condition, Once, Outcome, Seen
from tradeguard.core.drive import drive

T = TypeVar("T")
SECOND = 1_000_000_000
FAR = 4_000_000_000 * SECOND
"""A time that lies ahead, whatever the clock says."""
KINDS: list[type[Redis] | type[BlockingRedis]] = [Redis, BlockingRedis]


class Node:
    """A state that remembers what it has seen, as a guard does."""

    def __init__(self, kind: type[Redis] | type[BlockingRedis], url: str, **options: Any) -> None:
        self.state = kind(url, **{"deadline": 5, "opening": 5, **options})
        self.seen: Seen | None = None
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(self._go_on(work)) if self.state.colour == "async" else drive(work)

    def commit(self, *conditions: Condition, id: str = "r", at: int = 0, **other: Any) -> Outcome:
        outcome = self.run(self.state.commit(conditions, at, id, self.seen, **other))
        if not outcome.behind:
            self.seen = (outcome.epoch, outcome.version)
        return outcome

    def use(self, item: bytes, id: str = "r") -> Outcome:
        """Use a nonce."""
        return self.commit(Once(("trader", item), FAR), id=id)

    def close(self) -> None:
        if self.state.colour == "async":
            self._runner.run(self._end())
        self._runner.close()
        self.state.close()

    async def _go_on(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the loop catch up first: that of a host never stands still, as it does here between two steps."""
        for _ in range(5):
            await asyncio.sleep(0)
        return await work

    async def _end(self) -> None:
        self.state.close()
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks)


@contextlib.contextmanager
def node(kind: type[Redis] | type[BlockingRedis], url: str, **options: Any) -> Iterator[Node]:
    """Make a node, and close it."""
    made = Node(kind, url, **options)
    try:
        yield made
    finally:
        made.close()


class Proxy:
    """Stands between nodes and a server: counts, cuts, and leads elsewhere, as an address that follows a primary does.

    `turns` counts round trips: how often something came from a client after an answer. `writes` counts what came from
    clients at once. `keep` cuts all answers after so many bytes, and then ends the connection.
    """

    def __init__(self, port: int) -> None:
        self.target, self.turns, self.writes = port, 0, 0
        self.keep: int | None = None
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._thread = threading.Thread(target=self._accept)
        self._threads: list[threading.Thread] = []
        self._thread.start()

    def reset(self) -> None:
        self.turns = self.writes = 0

    def switch(self, port: int) -> None:
        """Lead to another server from now on; end what is open."""
        self.target = port
        self.cut()

    def cut(self) -> None:
        """End what is open."""
        for pair in self.pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.pairs = []

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.append((client, server))
            answered = threading.Event()
            answered.set()
            for work in (self._forth, self._back):
                thread = threading.Thread(target=work, args=(client, server, answered))
                self._threads.append(thread)
                thread.start()

    def _forth(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                self.writes += 1
                if answered.is_set():
                    answered.clear()
                    self.turns += 1
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _back(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                answered.set()
                keep = self.keep
                client.sendall(data if keep is None else data[:keep])
                if keep is not None:
                    break
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()
        server.close()


@contextlib.contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Run a proxy until the end of the block."""
    made = Proxy(port)
    try:
        yield made
    finally:
        made.close()
