"""Serve one subject under uvicorn: `python serve.py bare|naive|tradeguard`; prints its port."""

import socket
import sys

import uvicorn
from subjects import SERVED

sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
config = uvicorn.Config(
    SERVED[sys.argv[1]](), lifespan="off", access_log=False, log_level="warning", proxy_headers=False
)
uvicorn.Server(config).run(sockets=[sock])
