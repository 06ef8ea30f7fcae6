"""The application of the roll-out under uvicorn, as it was or behind the guard: `python serve.py [JOURNAL]`."""

import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def make_customers(rollout: Any) -> dict[str, Any]:
    """The customers of the mix, in the application's own table."""
    from coexist.mix import PASSWORDS

    from tradeguard.core.address import Networks

    return {
        name: rollout.Customer(name, password, account, frozenset(scopes), Networks(networks))
        for name, (password, account, scopes, networks) in PASSWORDS.items()
    }


def main() -> None:
    """Serve on a free port, and print it."""
    sys.path += [str(EXAMPLES), str(ROOT / "tests")]
    import uvicorn
    from coexist.mix import make_keys

    from tradeguard import Journal

    rollout = import_module("rollout_app")
    guard = None
    if len(sys.argv) > 1:
        guard = rollout.make_guard(
            make_keys(), Journal(sys.argv[1], stranger_bytes=10_000_000)
        )  # every line is compared
    sock = socket.create_server(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    app = rollout.make_app(make_customers(rollout), guard)
    config = uvicorn.Config(app, log_level="warning", access_log=False, proxy_headers=False, server_header=False)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
