"""Packing: the conditions of a commit as the parameters of one function call, and its answer as an Outcome."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from tradeguard.backends.postgres.names import clamp, pack, shorten, unpack
from tradeguard.backends.postgres.wire import (
    Parameter,
    Row,
    binaries,
    integer,
    integers,
    read_integers,
)
from tradeguard.core.conditions import (
    NEVER,
    NO_USAGE,
    Advance,
    Below,
    Condition,
    Once,
    Outcome,
    Quota,
    Usage,
    Use,
    by_rank,
)
from tradeguard.core.errors import BackendDown

T = TypeVar("T")


class Packed(NamedTuple):
    """Conditions in the order that the function numbers them in, and its parameters."""

    conditions: tuple[Condition, ...]
    ordered: tuple[Condition, ...]
    quotas: tuple[Quota, ...]
    parameters: tuple[Parameter, ...]


def pack_conditions(conditions: tuple[Condition, ...]) -> Packed:
    """Return the conditions as parameters."""
    onces, tops = _of(Once, conditions), _of(Advance, conditions)
    belows, quotas = _of(Below, conditions), _of(Quota, conditions)
    keys = [(number, key, below.value) for number, below in enumerate(belows) for key in below.keys]
    windows = [
        (number, limit.amount, limit.period, limit.grain, limit.burst)
        for number, quota in enumerate(quotas, 1)
        for limit in quota.windows
    ]
    parameters = (
        *_partition(onces),
        integers([clamp(once.until) for once in onces]),
        *_partition(tops),
        binaries([top.value.to_bytes(16, "big") for top in tops]),
        integers([clamp(top.width) for top in tops]),
        integer(len(belows)),
        binaries([pack(key) for _, key, _ in keys]),
        integers([item for number, _, value in keys for item in (number, clamp(value))], 2),
        binaries([shorten(pack(quota.key)) for quota in quotas]),
        integers([item for q in quotas for item in (q.cost, q.binding, not q.enforced)], 3),
        integers([clamp(item) for window in windows for item in window], 5),
    )
    return Packed(conditions, (*onces, *tops, *belows, *quotas), quotas, parameters)


def read_outcome(row: Row, packed: Packed) -> tuple[Outcome, int]:
    """Return what a commit came to, and the position of the server's log.

    Raises:
        BackendDown: the answer makes no sense.
    """
    try:
        epoch, behind, first, full, figures, failed, uses = row
        time, version, ready, written = read_integers(figures)
        numbers = frozenset(read_integers(failed))
        broken = [packed.ordered[number] for number in numbers]
        used = read_integers(uses)
        assert epoch is not None
        usage = _usage(packed.quotas, used) if used else NO_USAGE
        outcome = Outcome(
            by_rank(condition for condition in packed.conditions if condition in broken) if broken else (),
            time,
            epoch.decode("ascii"),
            version,
            usage,
            None if first is None else unpack(first),
            behind == b"\x01",
            full == b"\x01",
            min(ready, NEVER),
        )
    except (ValueError, IndexError, AssertionError) as error:
        raise BackendDown("PostgreSQL gave an answer that makes no sense", unknown=True) from error
    return outcome, written


def _of(kind: type[T], conditions: Sequence[object]) -> tuple[T, ...]:
    return tuple(condition for condition in conditions if isinstance(condition, kind))


def _partition(conditions: Iterable[Once] | Iterable[Advance]) -> tuple[Parameter, Parameter]:
    keys = [condition.key for condition in conditions]
    return binaries([shorten(pack(owner)) for owner, _ in keys]), binaries([shorten(item) for _, item in keys])


def _usage(quotas: Sequence[Quota], figures: Sequence[int]) -> Usage:
    uses = [Use(used, fewer) for used, fewer in zip(figures[::2], figures[1::2], strict=True)]
    usage: dict[str, tuple[Use, ...]] = {}
    for quota in quotas:
        usage[quota.key], uses = tuple(uses[: len(quota.windows)]), uses[len(quota.windows) :]
    return usage
