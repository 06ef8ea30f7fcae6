"""A newcomer whose customers use ccxt: two venues in one file, keys from the command line, the pages as printed."""

import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
from adapters.test_native_quickstart import WAIT, type_it
from freeport import free_port
from newcomer.newcomer import ROOT

pytest.importorskip("ccxt")
pytest.importorskip("uvicorn")
pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
PAGES: Final = {"okx": "headers.md", "kraken": "nonces.md"}  # each has the client of the venue
APP: Final = """
from fastapi import FastAPI
from tradeguard.adapters.fastapi import CurrentPrincipal, Tradeguard

app = FastAPI()


@app.get("/api/v5/account/balance")
async def read_okx(principal: CurrentPrincipal) -> dict:
    return {"code": "0", "msg": "", "data": [{"owner": principal.id}]}


@app.post("/api/v5/trade/order")
@app.post("/api/v5/trade/cancel-order")
@app.post("/api/v5/asset/withdrawal")
async def change_okx(principal: CurrentPrincipal) -> dict:
    return {"code": "0", "msg": "", "data": [{"owner": principal.id, "ordId": "17", "sCode": "0", "sMsg": ""}]}


@app.post("/0/private/Balance")
@app.post("/0/private/AddOrder")
@app.post("/0/private/CancelOrder")
@app.post("/0/private/Withdraw")
async def answer_kraken(principal: CurrentPrincipal) -> dict:
    return {"error": [], "result": {"owner": principal.id}}


Tradeguard(config="tradeguard.toml").init_app(app)
"""
MAP: Final = """
"GET /api/v5/account/balance" = "balances:read"
"POST /api/v5/trade/order" = "orders:write"
"POST /api/v5/trade/cancel-order" = { scopes = "orders:cancel", lane = "cancel" }
"POST /api/v5/asset/withdrawal" = { scopes = "funds:withdraw", lane = "funds" }
"POST /0/private/Balance" = { scopes = "balances:read", lane = "read" }
"POST /0/private/AddOrder" = "orders:write"
"POST /0/private/CancelOrder" = { scopes = "orders:cancel", lane = "cancel" }
"POST /0/private/Withdraw" = { scopes = "funds:withdraw", lane = "funds" }
"""
CLIENT: Final = '''
import base64, itertools, json, re, sys, time

def sign_up(name):
    """The client of the page, with the credentials as they were issued."""
    text, held = open(f"{name}.page").read(), json.load(open(f"{name}.json"))
    secret = open(f"{name}.secret").read()
    held |= json.loads(secret) if secret.startswith("{") else {"secret": secret.strip()}
    for said, word in ("the-key-id", "id"), ("the secret", "secret"), ("the passphrase", "passphrase"):
        text = text.replace(f'"{said}"', f"held[{word!r}]")
    names = {"held": held}
    exec(text.replace("https://api.example", f"http://127.0.0.1:{sys.argv[1]}"), names)
    names["client"].enableRateLimit = False
    return names["client"]

def ask(step, call, *arguments):
    """Tell what a call gave, or what ccxt raised."""
    try:
        value = call(*arguments)
        print(json.dumps([name, step, "", "acme" if '"acme"' in json.dumps(value) else value]))
        return True
    except Exception as error:
        found = re.search('"request_id":"([0-9a-f]+)"', str(error))
        print(json.dumps([name, step, type(error).__name__, found and found[1]]))
        return False

def settle(order):
    """Place the first order as soon as the new state's first seconds are over."""
    for _ in range(40):
        if ask("order", order):
            return
        time.sleep(0.25)

for name in "okx", "kraken":
    client, okx = sign_up(name), name == "okx"
    read = client.privateGetAccountBalance if okx else client.privatePostBalance
    order = client.privatePostTradeOrder if okx else client.privatePostAddOrder
    if sys.argv[2] == "halted":
        ask("halted", order)
        ask("still read", read)
        continue
    ask("read", read)
    settle(order)
    ask("cancel", client.privatePostTradeCancelOrder if okx else client.privatePostCancelOrder)
    ask("withdraw", client.privatePostAssetWithdrawal if okx else client.privatePostWithdraw)
    for _ in range(3):
        ask("orders", order)
    for step in "old clock", "wrong secret":
        client = sign_up(name)
        if step == "old clock":
            client.options["timeDifference"] = 600_000
        else:
            client.secret = base64.b64encode(b"x" * 64).decode()
        ask(step, client.privateGetAccountBalance if okx else client.privatePostBalance)
'''
SCRIPT: Final = """
set -eu
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
id() { python -c 'import json, sys; print(json.load(open(sys.argv[1] + ".json"))["id"])' $1; }
new() { tradeguard keys new --owner "$2" --dialect "$1" "$3" "$4" --secret-out "$5.secret" --json > "$5.json"; }
tradeguard init
sed -i 's/^# dialects = .*/dialects = ["tg1", "okx", "kraken"]/' tradeguard.toml
tradeguard config check && exit 9
sed -i 's/^# accept = .*/accept = ["kraken"]/' tradeguard.toml
sed -i 's,^orders = .*,orders = { rate = "3/minute"\\, lanes = ["order"] },' tradeguard.toml
sed -i 's/^trader = .*/trader = ["balances:read", "orders:write", "orders:cancel"]/' tradeguard.toml
sed -i '/^.\\(GET\\|POST\\|DELETE\\) /d' tradeguard.toml
cat ../map >> tradeguard.toml
cp ../*.page ../*.py .
tradeguard config check
new okx acme --role trader okx
new kraken acme --role trader kraken
new tg1 olga --scope halt:set olga
uvicorn app:app --no-proxy-headers --no-server-header --log-level warning --port {port} &
{wait}
python client.py {port} open | tee said
tradeguard halt set NO_NEW --reason maintenance --for 1m --key "$(id olga)" --secret-file olga.secret
python client.py {port} halted | tee -a said
tradeguard why "$(grep 'wrong secret' said | grep -o '[0-9a-f]\\{32\\}' | head -1)"
"""
RAISED: Final[dict[str, dict[str, str]]] = {
    "okx": {
        "withdraw": "PermissionDenied",
        "orders": "RateLimitExceeded",
        "old clock": "InvalidNonce",
        "wrong secret": "AuthenticationError",
        "halted": "OnMaintenance",
    },
    "kraken": {
        "withdraw": "PermissionDenied",
        "orders": "DDoSProtection",
        "old clock": "InvalidNonce",
        "wrong secret": "AuthenticationError",
        "halted": "ExchangeNotAvailable",
    },
}
JOURNALED: Final = {
    "withdraw": "scope.missing",
    "orders": "quota.exceeded",
    "old clock": "freshness.stale",
    "wrong secret": "signature.wrong",
    "halted": "halt.no_new",
}


def client_of(page: str, venue: str) -> str:
    """The lines of a page that make the client of a venue."""
    blocks = re.findall(r"^```py\n(.*?)^```$", (ROOT / "docs/dialects" / page).read_text(), re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if f"ccxt.{venue}(" in block]
    assert "https://api.example" in block
    assert '"the-key-id"' in block
    return str(block)


def say(folder: Path) -> list[list[Any]]:
    return [json.loads(line) for line in (folder / "here/said").read_text().splitlines()]


def test_two_venues_customers_are_served_from_one_file_with_unmodified_ccxt(tmp_path: Path) -> None:
    """From `tradeguard init` to a halt: what ccxt raises, and what the operator finds under the request's id."""
    for venue, page in PAGES.items():
        (tmp_path / f"{venue}.page").write_text(client_of(page, venue))
    (tmp_path / "map").write_text(MAP)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "client.py").write_text(CLIENT)
    port = str(free_port())
    done = type_it(SCRIPT.replace("{wait}", WAIT).replace("{port}", port), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'say accept = ["kraken"]' in done.stderr  # what the first `config check` said
    assert "a wrong secret, or other bytes signed than sent" in done.stdout  # what `why` said
    said = say(tmp_path)
    for venue, raised in RAISED.items():
        mine = [line[1:] for line in said if line[0] == venue]
        for step in ("read", "order", "cancel", "still read"):
            assert [value for at, error, value in mine if at == step and not error] == ["acme"], mine
        assert raised == {step: error for step, error, _ in mine if error and step != "order"}
    codes = {event["request_id"]: event["code"] for event in read_journal(tmp_path) if event["kind"] == "refused"}
    for _, step, error, request_id in said:
        if error:
            assert codes[request_id] == JOURNALED.get(step, "commit.barrier")


def read_journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "here/data/audit.jsonl").read_text().splitlines()]
