"""What is measured: the bare application, the yardstick and tradeguard, over ASGI and WSGI; servable by uvicorn."""

import importlib.util
import io
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from tradeguard import (
    ASGI,
    TG1,
    WSGI,
    CachedKeys,
    Freshness,
    Guard,
    Hmac,
    Journal,
    KeyRecord,
    LocalSealer,
    Memory,
    MemoryKeys,
    Network,
    Operations,
    Outgoing,
    Quotas,
    Replay,
    Scope,
    SealedKeys,
    Signature,
    Signer,
    Source,
    SQLiteKeys,
    SQLiteState,
)
from tradeguard.core.commit import Standby
from tradeguard.core.drive import drive
from tradeguard.core.ports import State
from tradeguard.secrets.master import load_master_keys, make_master_key


def load_naive() -> ModuleType:
    """Load the yardstick: naive.py beside this file, or the file that NAIVE names."""
    path = Path(os.environ.get("NAIVE") or Path(__file__).with_name("naive.py"))
    spec = importlib.util.spec_from_file_location("naive", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["naive"] = module
    spec.loader.exec_module(module)
    return module


naive = load_naive()
_folder = tempfile.TemporaryDirectory(prefix="tradeguard-bench-")  # gone at the end
FOLDER = Path(_folder.name)
SECRET = b"0123456789abcdef0123456789abcdef"
SIGNER = Signer(TG1, "k1", SECRET)
WRONG = Signer(TG1, "k1", b"not the secret of the key")
_files = itertools.count()


def make_guard(
    source: Source | None = None, *, durable: bool = False, state: State | None = None, standby: Standby | None = None
) -> Guard:
    """Everything that there is so far, with a journal in a file: on memory, SQLite with sealed keys, or a state."""
    record = KeyRecord(
        id="k1", dialect="tg1", material=Hmac(SECRET), networks=naive.RECORD["allow"], scopes=naive.RECORD["scopes"]
    )
    return Guard(
        [
            source or Source(),
            Signature(store(record) if durable else MemoryKeys([record])),
            Freshness(),
            Network(),
            Scope(),
            Replay(),
            Quotas({"requests": "1000000/second;1000000000/day"}),
        ],
        operations=Operations({"POST /orders": "orders:write"}),
        state=state or (SQLiteState(FOLDER / f"state{next(_files)}.db") if durable else Memory(since=1)),
        standby=standby,
        journal=Journal(FOLDER / f"journal{next(_files)}.jsonl"),
    )


def store(record: KeyRecord) -> CachedKeys:
    """Keep a key as a venue does: sealed in a file, with a cache in front."""
    master = FOLDER / f"master{next(_files)}.key"
    make_master_key(master)
    sealer = LocalSealer(load_master_keys(f"file:{master}"))
    keys = CachedKeys(SealedKeys(SQLiteKeys(master.with_suffix(".db")), sealer))
    drive(keys.put([record]))
    return keys


def make_naive() -> Any:
    """The yardstick, in memory."""
    naive.log_to(str(FOLDER / "audit.log"))
    return naive.NaiveGuard(naive.bare_app, naive.MemoryState({"k1": {**naive.RECORD, "active": True}}))


def tg1_headers(signer: Signer = SIGNER, host: str = "api.example", at: int | None = None) -> list[tuple[bytes, bytes]]:
    """Return the header of a new signed order."""
    order = Outgoing("POST", host, b"/orders", b"application/json", naive.BODY)
    usual = [(b"host", host.encode()), (b"user-agent", b"bench/1"), (b"accept", b"*/*")]
    usual += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(naive.BODY))]
    return [*usual, *signer.sign(order, at or time.time_ns()).headers]


def wsgi_bare(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The bare application for WSGI."""
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"ok":true}']


def make_wsgi() -> WSGI:
    """The guarded application for WSGI."""
    return WSGI(wsgi_bare, guard=make_guard())


def environ(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Return the WSGI environment of a request."""
    fields: dict[str, Any] = {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/orders", "QUERY_STRING": ""}
    fields |= {"SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "RAW_URI": "/orders"}
    for name, value in headers:
        key = name.decode().upper().replace("-", "_")
        fields[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value.decode()
    return {**fields, "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(naive.BODY)}


SERVED: dict[str, Callable[[], Any]] = {
    "bare": lambda: naive.bare_app,
    "naive": make_naive,
    "tradeguard": lambda: ASGI(naive.bare_app, guard=make_guard()),
}
