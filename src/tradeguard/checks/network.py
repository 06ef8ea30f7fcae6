"""Judge: does the request come from where this key may be used? An address that is not known matches no list."""

from tradeguard.core.decision import Denial, register
from tradeguard.core.request import Request

OUTSIDE = register(
    "network.outside",
    status=403,
    text="This key may not be used from this address.",
    hint="The source is not in the key's networks. An unknown address (a unix socket, or a server that rewrote it from "
    "a forwarding header; start uvicorn with --no-proxy-headers) is in none.",
)


class Network:
    """Holds a key to its allow list. A key without a list may be used from anywhere."""

    name = "network"

    async def __call__(self, request: Request, /) -> Denial | None:
        """Return `network.outside` with the address as we see it, or None."""
        principal, address = request.principal, request.peer.address
        if principal is None or not principal.networks or address in principal.networks:
            return None
        return Denial(OUTSIDE, members={"address": address.text if address is not None else "unknown"})
