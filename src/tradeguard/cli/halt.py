"""`tradeguard halt set | propose | confirm | list`: stop trading, and let it go on."""

import json
import shlex
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.cli.desk import Desk, open_desk, own_environment, prepare
from tradeguard.cli.options import DURATION, TIME, confirm, find_actor, together, with_config, with_json, with_yes
from tradeguard.cli.screen import Screen, Stop, Table, Unusable, lay_out, plain
from tradeguard.cli.secret import make_ed25519_key, read_held, read_small, with_key, with_secret
from tradeguard.config import open_journal, open_state
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.halt import SET, Mode, Proposal, Record, parse_record
from tradeguard.core.key import KeyRecord
from tradeguard.core.secret import Secret
from tradeguard.halts.signing import sign
from tradeguard.halts.switch import Receipt, Stand, Switch, hold
from tradeguard.keys.credentials import read_secret
from tradeguard.keys.kind import find_kind
from tradeguard.keys.text import show_time
from tradeguard.signing.material import ED25519, HMAC_SHA256

_PATIENCE: Final = 5.0  # seconds that we wait for other processes that use the store
_FRESH: Final = 3_600_000_000_000  # ns: how old a proposal may be that is confirmed
_NOTHING: Final = "Nothing was signed."
_MODES: Final = tuple(mode.name for mode in (Mode.ACTIVE, Mode.NO_NEW, Mode.BLOCKED))


class _Room(NamedTuple):
    """What changing halts takes."""

    switch: Switch
    desk: Desk


_with_what: Final = together(
    click.argument("mode", type=click.Choice(_MODES, case_sensitive=False), metavar="|".join(_MODES)),
    click.option("--scope", default="venue", show_default=True,
                 help="venue, tier:NAME, account:NAME, key:ID or 'operation:POST /path'."),
    click.option("--reason", default="", help="For everybody to read: clients are told it."),
    click.option("--for", "span", type=DURATION, help="How long: 30m."),
    click.option("--until", type=TIME, help="When it ends: 2027-01-31T12:00:00Z."),
    click.option("--retry-after", type=DURATION, help="When clients may ask again, if it has no end: 2h."),
)  # fmt: skip
_with_key: Final = together(with_key, with_secret)
_with_effect: Final = together(
    click.option("--actor", envvar="TRADEGUARD_ACTOR", default=find_actor,
                 help="Who does this. [default: TRADEGUARD_ACTOR, else user@host]"),
    click.option("--wait", type=DURATION, default="5s", show_default=True, help="How long to wait for the nodes."),
)  # fmt: skip


@click.command("set")
@_with_what
@_with_key
@_with_effect
@with_config
@with_json
def halt_set(screen: Screen, config: str | None, actor: str, wait: int, **given: Any) -> None:
    """Stop something by your signature alone.

    NO_NEW refuses new orders and withdrawals; BLOCKED refuses all but public operations, for an hour at most. What
    makes less stand than before takes two operators: see propose. Your key has the scope halt:set.

    Exit code 0: every node obeys, and nothing is left in flight that was granted before; 1: else.
    """
    with _open(config, screen) as room:
        record = _sign(drive(room.switch.propose(**_read(given))), given, room.desk)
        _put(screen, room.switch, record, actor, wait)


@click.command("propose")
@_with_what
@_with_key
@with_config
@with_json
def halt_propose(screen: Screen, config: str | None, **given: Any) -> None:
    """Sign something that takes two operators.

    Lifting (ACTIVE), weakening, shortening, and BLOCKED for longer than an hour. Prints one line for the second
    operator, who passes it to confirm within an hour. Nothing is changed yet.
    """
    with _open(config, screen) as room:
        record = _sign(drive(room.switch.propose(**_read(given))), given, room.desk)
    text = record.encode().decode()
    screen.show({"proposal": json.loads(text)["proposal"], "text": text}, text)


@click.command("confirm")
@click.argument("proposal", type=click.Path(dir_okay=False, allow_dash=True))
@_with_key
@_with_effect
@with_yes
@with_config
@with_json
def halt_confirm(
    *, screen: Screen, config: str | None, proposal: str, actor: str, wait: int, yes: bool, **given: Any
) -> None:
    """Sign what another operator has proposed.

    It takes effect at once. PROPOSAL is the file with the line that propose has printed. Read what is shown before you
    sign.
    """
    record = _read_proposal(proposal)
    screen.note("\n".join(_lay_out(record)))
    confirm(f"Sign this as {given['key']}?" if given["key"] else "Sign this?", yes=yes)
    with _open(config, screen) as room:
        _put(screen, room.switch, _sign(record, given, room.desk), actor, wait)


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="Those too that were lifted.")
@with_config
@with_json
def halt_list(screen: Screen, config: str | None, everything: bool) -> None:
    """Show what stands, who has signed it and which nodes obey.

    Exit code 0: nothing is doubtful; 1: something stands that nobody has rightly signed.
    """
    with _open(config, screen) as room:
        stands = [stand for stand in drive(room.switch.look()) if everything or stand.stored.value]
    screen.show([_describe(stand) for stand in stands], _table(stands))
    if any(stand.doubt for stand in stands):
        raise click.exceptions.Exit(1)


@contextmanager
def _open(config: str | None, screen: Screen) -> Generator[_Room]:
    """Open the key store and the state that the servers share.

    Raises:
        Stop: something of it cannot be opened, or the servers do not share it.
    """
    with open_desk(config, screen) as desk, ExitStack() as opened:
        if desk.loaded.settings.state.backend == "memory":
            raise Unusable(
                'state.backend = "memory": no other process sees it; set "sqlite" or a server to halt from here'
            )
        journal = prepare(lambda: open_journal(desk.loaded))
        opened.callback(journal.close)
        store = prepare(lambda: open_state(desk.loaded, own_environment(), busy=_PATIENCE))
        opened.callback(store.close)
        yield _Room(Switch(store, desk.keys, journal), desk)


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to stand, as it is proposed."""
    if given["span"] is not None and given["until"] is not None:
        raise click.UsageError("--for or --until, one of the two")
    until = given["until"] if given["span"] is None else time.time_ns() + given["span"]
    retry_after = (given["retry_after"] or 0) // 1_000_000_000
    mode = Mode[given["mode"].upper()]
    return {
        "scope": given["scope"], "mode": mode, "reason": given["reason"], "until": until, "retry_after": retry_after,
    }  # fmt: skip


def _sign(to: Proposal | Record, given: Mapping[str, Any], desk: Desk) -> Record:
    """Sign with the secret that the command was given, in the way of the key.

    Raises:
        Stop: there is no such key, it cannot sign, or the secret is another one's.
    """
    held = read_held(given["secret_file"], given["secret_stdin"])
    key = desk.find(held.choose_id(given["key"]))
    if key.algorithm not in (ED25519, HMAC_SHA256):
        raise Stop(
            f"key {key.id} is for dialect {key.dialect} ({key.algorithm}), and halts are signed with {ED25519} or "
            f"{HMAC_SHA256}: make a key for it, `tradeguard keys new --owner {shlex.quote(key.owner)} --scope {SET}`"
        )
    record = sign(to, key.id, _make_key(held.secret, key, desk))
    if not drive(key.material.verify(record.proposal.text, dict(record.signatures)[key.id])):
        raise Stop(f"this is not the secret of key {key.id}; give the one that was shown when it was made. {_NOTHING}")
    return record


def _make_key(secret: bytes, key: KeyRecord, desk: Desk) -> Secret | Ed25519PrivateKey:
    """Return what signs halts, of the secret as its holder was given it."""
    if key.algorithm == ED25519:
        try:
            return make_ed25519_key(secret)
        except click.UsageError as error:
            raise click.UsageError(f"key {key.id} signs with {ED25519}, and {error.message}") from None
    if secret.startswith(b"-----BEGIN"):
        raise click.UsageError(f"key {key.id} signs with a secret ({key.algorithm}), and this is a PEM")
    return Secret(read_secret(find_kind(key.dialect, desk.rows), secret))


def _read_proposal(path: str) -> Record:
    text = sys.stdin.buffer.read(65_536) if path == "-" else read_small(path)
    try:
        record = parse_record(text.strip())
    except ConfigError as error:
        raise click.UsageError(f"{path}: {error}; it is the line that `tradeguard halt propose` has printed") from None
    if time.time_ns() - record.proposal.at > _FRESH:
        raise Stop("this was proposed more than an hour ago; propose it again")
    return record


def _put(screen: Screen, switch: Switch, record: Record, actor: str, wait: int) -> None:
    try:
        drive(switch.put(record, actor=actor))
    except BackendDown as error:
        raise Stop(f"{error}; look with `tradeguard halt list` whether it stands, and repeat") from None
    receipt = drive(switch.wait(record, wait / 1e9, hold))
    proposal = record.proposal
    end = "" if proposal.until is None else f" until {show_time(proposal.until)}"
    head = f"{proposal.scope} is {proposal.mode.name}{end}."
    screen.show({"record": json.loads(record.encode()), **_receipt(receipt)}, [head, *_tell(receipt)])
    if not receipt.done:
        raise click.exceptions.Exit(1)


def _receipt(receipt: Receipt) -> dict[str, Any]:
    nodes = {name: {"in_flight": ack.flights, "left": ack.left} for name, ack in receipt.obeyed.items()}
    return {"done": receipt.done, "obeyed": nodes, "silent": list(receipt.silent)}


def _tell(receipt: Receipt) -> list[str]:
    lines = [
        f"{plain(name)} obeys; {ack.flights} were in flight, {ack.left} still are"
        for name, ack in receipt.obeyed.items()
    ]
    lines += [f"{plain(name)} HAS NOT ANSWERED" for name in receipt.silent]
    return lines or ["No node has said that it is there."]


def _lay_out(record: Record) -> list[str]:
    proposal = record.proposal
    return lay_out(
        {
            "scope": proposal.scope,
            "mode": proposal.mode.name,
            "until": "for good" if proposal.until is None else show_time(proposal.until),
            "reason": proposal.reason,
            "proposed": show_time(proposal.at),
            "signed by": ", ".join(key_id for key_id, _ in record.signatures),
        }
    )


def _describe(stand: Stand) -> dict[str, Any]:
    record = stand.record
    known: dict[str, Any] = {} if record is None else json.loads(record.encode())["proposal"]
    signers = [] if record is None else [key_id for key_id, _ in record.signatures]
    return {
        **known,
        "scope": stand.scope,
        "mode": Mode(min(max(stand.stored.value, 0), Mode.BLOCKED)).name,
        "until": stand.stored.until,
        "signed_by": signers,
        "doubt": stand.doubt,
        **_receipt(stand.receipt),
    }


def _table(stands: list[Stand]) -> list[str]:
    if not stands:
        return ["Nothing is halted."]
    table = Table("SCOPE", "MODE", "UNTIL", "SIGNED BY", "NODES", "REASON")
    lines = list(table.lines([_row(_describe(stand)) for stand in stands]))
    return [*lines, *(f"{plain(stand.scope)}: {plain(stand.doubt)}" for stand in stands if stand.doubt)]


def _row(known: Mapping[str, Any]) -> list[str]:
    nodes = f"{len(known['obeyed'])} of {len(known['obeyed']) + len(known['silent'])}"
    until = "-" if known["until"] is None else show_time(known["until"])
    signers = ", ".join(known["signed_by"]) or "nobody"
    return [plain(known["scope"]), known["mode"], until, plain(signers), nodes, plain(known.get("reason", ""))]
