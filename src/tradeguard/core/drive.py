"""drive: run the asynchronous core in a synchronous host, without an event loop."""

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from tradeguard.core.errors import Suspended

T = TypeVar("T")


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end, with a single `send`.

    Where it does suspend, `Suspended` is raised inside it at that place, so that the code in between can name the
    culprit and answer.

    Raises:
        Suspended: the coroutine suspended and did not handle that.
    """
    try:
        coroutine.send(None)
        coroutine.throw(Suspended("awaited an event loop in a host that has none"))
    except StopIteration as done:
        return cast("T", done.value)
    coroutine.close()
    raise Suspended("suspended twice in a host that has no event loop")
