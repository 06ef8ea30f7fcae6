"""The edge: what every host does with a head before the guard sees it, and with every answer before it goes out.

Who is really at the other end, and by which scheme; whether it is a preflight; what HSTS and CORS add to each answer.
"""

import logging
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final, NamedTuple

from tradeguard.adapters.answer import Answer, id_field, refuse, shape_of
from tradeguard.adapters.ready import answer_of
from tradeguard.core.cors import OURS, Fields
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.guard import Guard
from tradeguard.core.policy import HANDSHAKE, Operations, Policy
from tradeguard.core.proxy import forwarded_by, wrote_peer
from tradeguard.core.request import Headers, Peer, Request

_HSTS: Final = b"strict-transport-security"
_log = logging.getLogger("tradeguard")


class Edge(NamedTuple):
    """What is known of a request beside the decision, and owed to its answer.

    `peer` and `scheme` are the client's, as far as trusted proxies tell. `fields` go with the answer, whatever it is.
    """

    headers: Headers
    peer: Peer
    scheme: str
    fields: Fields
    speaks: bool

    def dress(self, theirs: Iterable[tuple[bytes, bytes]], request: Request) -> Fields:
        """Return the fields of an application's response with ours: nothing of what the guard says stands twice."""
        if not self.fields and not self.speaks and not request.fields:
            kept = [field for field in theirs if field[0].lower() != b"x-request-id"]
            return [*kept, id_field(request.id)]
        ours = {name for name, _ in (*self.fields, *request.fields)} - {b"vary"} | {b"x-request-id"}
        kept = [field for field in theirs if not self._says(field[0].lower(), ours)]
        return [*kept, id_field(request.id), *request.fields, *(self._added(kept) if self.fields else ())]

    def dress_answer(self, answer: Answer) -> Fields:
        """Return the fields of an answer of ours, with those that the policy adds."""
        return [*answer.fields, *self.fields]

    def _says(self, name: bytes, ours: set[bytes]) -> bool:
        return name in ours or (self.speaks and name.startswith(OURS))

    def _added(self, kept: Fields) -> Fields:
        """Leave `Vary: Origin` out where the application says it."""
        if not any(name == b"vary" for name, _ in self.fields):
            return self.fields
        said = b",".join([value.lower() for name, value in kept if name.lower() == b"vary"])
        names = {name.strip() for name in said.split(b",")}
        return [field for field in self.fields if field[0] != b"vary" or not names & {b"origin", b"*"}]


def meet(policy: Policy, headers: Headers, peer: Peer, scheme: str) -> Edge:
    """Find out who is there.

    Args:
        policy: proxies, CORS and HSTS.
        headers: as received.
        peer: who is at the other end of the socket.
        scheme: of the socket.
    """
    proxies, cors = policy.proxies, policy.cors
    header = forwarded_by(headers)
    if proxies is not None and proxies.trusts(peer):
        peer, scheme = proxies.resolve(peer, scheme, headers)
    elif header:
        _warn_unlisted(header)
    fields: Fields = [(_HSTS, policy.hsts.encode())] if scheme == "https" and policy.hsts else []
    if cors is not None:
        fields += cors.fields(headers)
    return Edge(headers, peer, scheme, fields, cors is not None)


def refusal(guard: Guard, denial: Denial, id: str, request: Request | None = None) -> Answer:
    """Render a refusal as clients of the request's dialect know it. `Edge` adds what the policy says of every answer.

    Args:
        guard: whose policy names the dialect of those who speak none.
        denial: what was decided.
        id: of the request.
        request: None where nothing has been made of it yet.
    """
    shape = shape_of(request, guard.policy.refusals, guard.dialects)
    answer = refuse(denial, id, challenge=guard.challenge, shape=shape)
    return answer if request is None else answer._replace(fields=[*answer.fields, *request.fields])


def ready(guard: Guard, request: Request, grant: Grant) -> Answer | None:
    """Return the answer of an operation that the guard answers itself, recorded already; None for all others."""
    if request.operation is None or not request.operation.answer:
        return None
    shape = shape_of(request, guard.policy.refusals, guard.dialects)
    answer = answer_of(request.operation.answer, request, grant, guard.runtime.now(), shape)
    guard.finish(request, answer.status)
    return answer._replace(fields=[*answer.fields, *request.fields])


def preflight(guard: Guard, method: str, edge: Edge, request_id: str) -> Answer | None:
    """Return the answer to a preflight; None where the request is none, or the policy says nothing about CORS."""
    cors = guard.policy.cors
    fields = cors.preflight(method, edge.headers, _methods(guard.operations)) if cors is not None else None
    if fields is None:
        return None
    hsts = [field for field in edge.fields if field[0] == _HSTS]
    return Answer(204, [id_field(request_id), *hsts, *fields], b"")


def peer_of(host: str, port: int, peer: Peer, headers: Headers) -> Peer:
    """Return a peer as the server names it, or one without address where the server took that from a header.

    Whoever writes his own address and port into the header is taken for such a one: he is counted by what he wrote.
    """
    if not wrote_peer(headers, host, port):
        return peer
    _warn_rewritten()
    return Peer(rewritten=host, via=f"said {host}" if port else "")


@lru_cache(8)
def _methods(operations: Operations) -> frozenset[str]:
    return frozenset(operation.id.partition(" ")[0] for operation in operations.all) - {HANDSHAKE}


@cache
def _warn_unlisted(header: str) -> None:
    _log.warning(
        "a request carries %s, but comes from no trusted proxy, so the field is ignored. If a proxy of yours writes "
        "it, list it: Policy(proxies=Proxies(header=%r, trusted=[...])), or in the configuration [network] topology = "
        "'proxied', header and trusted; otherwise a client made it up. This is said once.",
        header,
        header,
    )


@cache
def _warn_rewritten() -> None:
    _log.warning(
        "the server replaced the client address with one from a forwarding header, so the address is taken as unknown: "
        "no allow list matches it and no source is counted. Start uvicorn with --no-proxy-headers."
    )
