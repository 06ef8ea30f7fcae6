"""`tradeguard keys activate | rotate | suspend | resume | expire | revoke`: what becomes of a key."""

import time
from dataclasses import replace
from typing import Final

import click

from tradeguard.cli.desk import Desk, open_desk, open_issuer, say_soon, say_when
from tradeguard.cli.issue import show_issued, with_possession
from tradeguard.cli.options import (
    DURATION,
    FILE,
    TIME,
    confirm,
    together,
    with_actor,
    with_config,
    with_dry_run,
    with_json,
    with_yes,
)
from tradeguard.cli.record import document, fields, state_now
from tradeguard.cli.screen import Screen, lay_out
from tradeguard.cli.secret import Handover, read_proof, read_public_key, with_secret_out
from tradeguard.core.drive import drive
from tradeguard.core.key import KeyRecord
from tradeguard.keys import life
from tradeguard.keys.format import Env
from tradeguard.keys.text import show_time

_with_id: Final = together(click.argument("id"), with_actor)
_with_rest: Final = together(with_config, with_json)
_with_compromised: Final = click.option("--compromised", is_flag=True, help="Somebody else may have the secret.")
_NOTHING: Final = "Nothing was changed."


@click.command("activate")
@_with_id
@click.option("--proof", type=FILE, required=True, help="What `tradeguard sign possession` printed for the client.")
@_with_rest
def keys_activate(screen: Screen, config: str | None, id: str, actor: str, reason: str, proof: str) -> None:
    """Make a pending key usable.

    Its holder has shown to possess the private key.
    """
    with open_desk(config, screen) as desk, open_issuer(desk) as issuer:
        desk.find(id)
        record = drive(issuer.activate(id, actor=actor, proof=read_proof(proof), reason=reason))
        _show(screen, record, say_soon(desk.loaded))


@click.command("resume")
@_with_id
@_with_rest
def keys_resume(screen: Screen, config: str | None, id: str, actor: str, reason: str) -> None:
    """End the suspension of a key."""
    with open_desk(config, screen) as desk, open_issuer(desk) as issuer:
        desk.find(id)
        record = drive(issuer.resume(id, actor=actor, reason=reason))
        _show(screen, record, say_soon(desk.loaded))


@click.command("suspend")
@_with_id
@with_dry_run
@_with_rest
def keys_suspend(screen: Screen, config: str | None, id: str, actor: str, reason: str, dry_run: bool) -> None:
    """Stop a key for a while."""
    with open_desk(config, screen) as desk:
        if dry_run:
            _try_out(screen, desk.find(id), "suspend", actor)
            return
        desk.find(id)
        with open_issuer(desk) as issuer:
            record = drive(issuer.suspend(id, actor=actor, reason=reason))
        _show(screen, record, say_when(desk.loaded))


@click.command("expire")
@_with_id
@click.option("--at", type=TIME, required=True, help="Its end: 90d, 2027-01-31 or 2027-01-31T12:00:00Z.")
@with_dry_run
@_with_rest
def keys_expire(
    *, screen: Screen, config: str | None, id: str, actor: str, reason: str, at: int, dry_run: bool
) -> None:
    """Give a key an end, or an earlier one.

    An end is brought forward and never put off: for a longer time rotate the key; to end it at once, revoke it.
    """
    with open_desk(config, screen) as desk:
        old = desk.find(id)
        if dry_run:
            after = life.shorten(old, at, at=time.time_ns(), actor=actor, reason=reason)
            text = f"{id} of {old.owner} would end {show_time(at)}. {_NOTHING}"
            screen.show({"dry_run": True, **document(after, time.time_ns())}, text)
            return
        with open_issuer(desk) as issuer:
            record = drive(issuer.shorten(id, at, actor=actor, reason=reason))
        screen.show(document(record, time.time_ns()), f"{id} of {record.owner} ends {show_time(at)}.")


@click.command("revoke")
@_with_id
@_with_compromised
@with_dry_run
@with_yes
@_with_rest
def keys_revoke(
    *, screen: Screen, config: str | None, id: str, actor: str, reason: str, compromised: bool, dry_run: bool, yes: bool
) -> None:
    """End a key for good.

    It cannot be taken back. The client gets 401 from then on.
    """
    with open_desk(config, screen) as desk:
        old = desk.find(id)
        if dry_run:
            _try_out(screen, old, "compromise" if compromised else "revoke", actor)
            return
        confirm(f"Revoke key {id} of {old.owner}, for good?", yes=yes)
        with open_issuer(desk) as issuer:
            record = drive(issuer.revoke(id, actor=actor, reason=reason, compromised=compromised))
        _show(screen, record, say_when(desk.loaded))


@click.command("rotate")
@_with_id
@click.option(
    "--overlap", type=DURATION, default="1d", show_default=True, help="How long both keys are good, 0s to 7d."
)
@click.option("--compromised", is_flag=True, help="Somebody else may have the secret: the old key stops at once.")
@with_possession
@with_secret_out
@with_dry_run
@with_yes
@_with_rest
def keys_rotate(
    *,
    screen: Screen,
    config: str | None,
    id: str,
    actor: str,
    reason: str,
    overlap: int,
    compromised: bool,
    public_key: str | None,
    proof: str | None,
    secret_out: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Replace a key by a new one that may do the same.

    The new secret is shown once. Until the overlap ends both keys are good, so that the client can change over.
    """
    if (public_key is None) != (proof is None):
        raise click.UsageError("--public-key and --proof go together: `tradeguard sign possession` makes the proof")
    own = (read_public_key(public_key), read_proof(proof)) if public_key and proof else (None, b"")
    with open_desk(config, screen) as desk:
        old = desk.find(id)
        if dry_run:
            _try_rotation(screen, desk, old, actor, overlap, compromised)
            return
        if compromised:
            confirm(f"Stop key {id} of {old.owner} at once, and replace it?", yes=yes)
        with Handover(screen, secret_out) as out, open_issuer(desk, _env_of(id)) as issuer:
            issued = drive(
                issuer.rotate(
                    id, actor=actor, overlap=overlap, reason=reason, compromised=compromised,
                    public_key=own[0], proof=own[1],
                )
            )  # fmt: skip
            show_issued(screen, out, issued, many=False, cure=_replace(issued.record.id))
        retired = desk.find(id)
        screen.note(_say_end(retired) if not compromised else f"{id} is compromised. {say_when(desk.loaded)}")


def _replace(id: str) -> str:
    return f"replace it: tradeguard keys rotate {id} --compromised --yes"


def _say_end(retired: KeyRecord) -> str:
    return f"Until {show_time(retired.expires)} {retired.id} is good too."


def _env_of(id: str) -> Env:
    return "test" if id.startswith("tg_test_") else "live"


def _show(screen: Screen, record: KeyRecord, effect: str) -> None:
    state = state_now(record, time.time_ns())
    screen.show(document(record, time.time_ns()), f"{record.id} of {record.owner} is {state}. {effect}")


def _try_out(screen: Screen, old: KeyRecord, verb: life.Verb, actor: str) -> None:
    """Say what a change would make of a key, or why it would be refused."""
    after = life.step(old, verb, at=time.time_ns(), actor=actor)
    text = f"{old.id} of {old.owner} is {old.state} and would be {after.state}. {_NOTHING}"
    screen.show({"dry_run": True, **document(after, time.time_ns())}, text)


def _try_rotation(screen: Screen, desk: Desk, old: KeyRecord, actor: str, overlap: int, compromised: bool) -> None:
    """Say which key would replace which, or why that would be refused."""
    now = time.time_ns()
    retired, new = life.rotate(old, "new", old.material, at=now, actor=actor, overlap=overlap, compromised=compromised)
    life.check_new(replace(new, granted=desk.policy.scopes_of(new.roles)), desk.policy, now)
    end = "at once" if compromised else show_time(retired.expires)
    text = [*lay_out(fields(new, now)), f"{old.id} would be {retired.state}, and end {end}. {_NOTHING}"]
    screen.show({"dry_run": True, "old": document(retired, now), "new": document(new, now)}, text)
