"""Serve one subject under uvicorn: `python serve.py bare|naive|tradeguard`, or `redis URL`; prints its port."""

import socket
import sys

import uvicorn
from stores import make_redis_app
from subjects import SERVED

sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
app = make_redis_app(sys.argv[2]) if sys.argv[1] == "redis" else SERVED[sys.argv[1]]()
config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning", proxy_headers=False)
uvicorn.Server(config).run(sockets=[sock])
