"""Quick: NamedTuples in half the time that their class takes, for what is made with each request."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

T = TypeVar("T", bound=tuple[Any, ...])


def quick(kind: type[T]) -> Callable[[tuple[Any, ...]], T]:
    """Return what makes a NamedTuple of all its values, in their order: nothing is filled in, nothing is counted."""
    return cast("Callable[[tuple[Any, ...]], T]", partial(vars(tuple)["__new__"], kind))
