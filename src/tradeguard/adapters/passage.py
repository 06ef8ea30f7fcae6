"""Passage: a request that the guard let pass, on its way through the application, where it may be refused after all.

That happens where a framework routes it elsewhere than the map says. It looks as a refusal by the guard does, and the
outcome of the request on record says why.
"""

from collections.abc import Iterable
from typing import Final

from tradeguard.adapters.answer import UNCONFIGURED, Answer, refuse
from tradeguard.adapters.edge import refusal
from tradeguard.adapters.template import Template, compare
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.guard import Guard
from tradeguard.core.request import Request

PASSAGE: Final = "tradeguard.passage"
"""Where the scope (ASGI) or the environ (WSGI) has it."""


class Passage:
    """One request with its grant. `denial` is why it was refused behind the guard; None where it was not.

    Args:
        guard: the one that let it pass.
        request: as the guard has seen it.
        grant: what it decided.
    """

    __slots__ = ("denial", "grant", "guard", "request")

    def __init__(self, guard: Guard, request: Request, grant: Grant) -> None:
        self.guard, self.request, self.grant = guard, request, grant
        self.denial: Denial | None = None

    def holds(self, guard: Guard, method: str, target: bytes) -> bool:
        """Tell whether this guard let this very request pass, further out: a nonce serves once."""
        return self.guard is guard and (self.request.method, self.request.target) == (method, target)

    def finish(self, status: int, detail: str = "") -> None:
        """Record the outcome; see `Guard.finish`."""
        self.guard.finish(self.request, status, detail, self.denial)


def hold(passage: Passage | None, template: Template | None, others: Iterable[Template] = ()) -> Answer | None:
    """Hold the route that a framework chose against the row of the map.

    Args:
        passage: of the request; None where it came by no guard.
        template: of the route; None where the framework found none.
        others: those of all routes for the method, looked at only if the chosen one leaves something open.

    Returns:
        None where they agree; else the refusal to answer with.
    """
    denial = Denial(UNCONFIGURED) if passage is None else compare(passage.grant, template, others)
    return None if denial is None else refuse_inside(passage, denial)


def refuse_inside(passage: Passage | None, denial: Denial) -> Answer:
    """Render a refusal from behind the guard, and keep it for the record. What the policy adds is added further out.

    Args:
        passage: of the request; None where it came by no guard.
        denial: what was decided.
    """
    if passage is None:
        return refuse(denial, "", challenge="")
    passage.denial = denial
    return refusal(passage.guard, denial, passage.request.id, passage.request)
