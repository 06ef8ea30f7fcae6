"""Issuer: makes keys, changes them and ends them. Every call has an actor and leaves an event.

The order of things: what gives somebody power (issue, import, rotate, resume) is on record before it is done, and is
not done if it cannot be recorded. What takes power away (suspend, revoke) is done whether or not it can be: the number
`key:<id>` stops the key everywhere first, then the record is changed.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from tradeguard.core.errors import BackendDown, ConfigError, TradeguardError
from tradeguard.core.event import Event
from tradeguard.core.key import KeyRecord, key_number
from tradeguard.core.policy import Policy
from tradeguard.core.ports import Journal, KeyAdmin, Runtime, State, Ticket
from tradeguard.core.runtime import Threads
from tradeguard.core.secret import Secret
from tradeguard.keys import life
from tradeguard.keys.credentials import make_credentials
from tradeguard.keys.format import Env, Kind, make_id, plausible
from tradeguard.keys.kind import SPOKEN, find_kind
from tradeguard.keys.possession import check_possession
from tradeguard.keys.text import show_time
from tradeguard.signing.bearer import BEARER_SHA256
from tradeguard.signing.dialect import Dialect
from tradeguard.signing.material import ECDSA_P256_SHA256, ED25519, HMACS, RSA_SHA256, PublicKey

_PAIRS: Final[dict[str, Kind]] = {ED25519: "ed25519", RSA_SHA256: "rsa", ECDSA_P256_SHA256: "ecdsa"}
_KINDS: Final[dict[str, Kind]] = {**dict.fromkeys(HMACS, "hmac"), **_PAIRS, BEARER_SHA256: "bearer"}
_ISSUABLE: Final = frozenset({
    "scopes", "roles", "account", "parent", "on_behalf_of", "label", "tier", "networks", "restrictions", "binding",
    "not_before", "expires", "reason",
})  # fmt: skip
_log = logging.getLogger("tradeguard")


class Issued(NamedTuple):
    """A new key, and what its client is shown once.

    `secret` is what it signs with or sends along; None where it made it. `passphrase` is what it sends beside the
    signature, in dialects that have one.
    """

    record: KeyRecord
    secret: Secret | None
    passphrase: Secret | None = None


class Issuer:
    """Issues, imports, rotates, suspends, resumes, shortens, revokes and expires keys.

    Args:
        keys: the key store; in a server the one that its guard uses, so that the next request sees the change.
        journal: where every call leaves its event.
        state: the guard's state, which refuses old versions at once; None where it is not shared with this process.
        policy: roles, tiers and declared scopes.
        runtime: how this host waits for the journal, and its clock.
        policy_mark: of the guard, for the events.
        env: "live" or "test", as ids and secrets say it.
        rows: the dialects that keys may have.
    """

    def __init__(
        self,
        keys: KeyAdmin,
        journal: Journal,
        *,
        state: State | None = None,
        policy: Policy | None = None,
        runtime: Runtime | None = None,
        policy_mark: str = "",
        env: Env = "live",
        rows: Mapping[str, Dialect] = SPOKEN,
    ) -> None:
        self.keys, self.policy = keys, policy or Policy()
        self._env: Env = env
        self.rows = rows
        self._journal, self._state, self._runtime = journal, state, runtime or Threads()
        self.policy_mark = policy_mark

    async def issue(
        self,
        *,
        actor: str,
        owner: str,
        dialect: str = "tg1",
        algorithm: str = "",
        public_key: bytes | None = None,
        proof: bytes = b"",
        **fields: Any,
    ) -> Issued:
        """Issue a key.

        Args:
            actor: who issues it.
            owner: who will hold it.
            dialect: how its requests are signed; "bearer": its secret is sent along.
            algorithm: one that the dialect has; by default that of the public key, else the first of the dialect.
            public_key: the client's own, as PEM, DER or the 32 bytes of Ed25519; without one a pair is made, where the
                algorithm has pairs, and its private half shown once.
            proof: the client's signature over `possession_text`.
            fields: further fields of the record: scopes, roles, account, parent, on_behalf_of, label, tier, networks,
                restrictions, binding, not_before, expires, reason.

        Raises:
            ConfigError: the policy does not allow it, the dialect has no such algorithm, or the proof does not hold.
            BackendDown: it could not be recorded or stored; no key was made.
        """
        for name in fields.keys() - _ISSUABLE:
            raise ConfigError(f"{name!r} is not for a new key; it takes {', '.join(sorted(_ISSUABLE))}")
        kind = find_kind(dialect, self.rows)
        algorithm = kind.choose(algorithm, public_key)
        made = make_credentials(kind, algorithm, self._env, public_key)
        if public_key is not None:
            await check_possession(owner, made.material, proof)
        given: dict[str, Any] = {"scopes": (), **fields}
        record = self._fit(
            KeyRecord(
                **given,
                id=make_id(self._env, _KINDS[algorithm]),
                owner=owner,
                dialect=dialect,
                material=made.material,
                passphrase=made.blinded,
                created=self._runtime.now(),
                actor=actor,
            )
        )
        await self._add("keys.issued", [record])
        return Issued(record, made.secret, made.passphrase)

    async def import_keys(self, records: Sequence[KeyRecord], *, actor: str, reason: str = "") -> list[KeyRecord]:
        """Take over keys that a venue has issued before: their ids and secrets go on working. All of them, or none.

        A key that its holder has not shown to possess (a public key without proof) should be `pending`.

        Args:
            records: as read; state `active` or `pending`, version 1.
            actor: who imports them.
            reason: why; kept with each.

        Raises:
            ConfigError: the policy does not allow one of them.
            KeyConflict: an id or a secret is taken.
        """
        fitting = [self.check_import(record, actor=actor, reason=reason) for record in records]
        await self._add("keys.imported", fitting)
        return fitting

    def check_import(self, record: KeyRecord, *, actor: str, reason: str = "") -> KeyRecord:
        """Return a record as it would be imported; the policy is asked, the store is not.

        Raises:
            ConfigError: the policy does not allow it.
        """
        if record.state not in ("active", "pending") or record.version != 1:
            raise ConfigError(f"key {record.id}: import it as active or pending, and as version 1")
        if record.state == "pending" and not isinstance(record.material, PublicKey):
            raise ConfigError(f"key {record.id}: only a public key waits for a proof of possession")
        created = self._runtime.now() if record.created is None else record.created
        if not 0 <= created <= self._runtime.now():
            raise ConfigError(f"key {record.id}: it was created before now and after 1970")
        if not plausible(record.id):
            raise ConfigError(f"key {record.id}: it begins as our own ids do, and is none (a typo?); use another id")
        return self._fit(replace(record, created=created, actor=actor, reason=reason or record.reason))

    async def rotate(
        self,
        id: str,
        *,
        actor: str,
        overlap: int = life.DAY,
        reason: str = "",
        compromised: bool = False,
        public_key: bytes | None = None,
        proof: bytes = b"",
    ) -> Issued:
        """Replace a key by a new one that may do the same.

        Args:
            id: of the old key.
            actor: who rotates it.
            overlap: how long both verify, in ns: a day by default, at most 7.
            reason: why.
            compromised: the old key stops at once, whatever the overlap.
            public_key: the client's new one, where it makes its own; of the old one's algorithm.
            proof: the client's signature over `possession_text`.

        Raises:
            KeyConflict: the key cannot be rotated in its state, or was changed meanwhile; nothing was done.
        """
        old = await self.find(id)
        kind = find_kind(old.dialect, self.rows)
        made = make_credentials(kind, kind.choose(old.algorithm, public_key), self._env, public_key)
        if public_key is not None:
            await check_possession(old.owner, made.material, proof)
        new_id, now = make_id(self._env, _KINDS[old.algorithm]), self._runtime.now()
        retired, new = life.rotate(
            old, new_id, made.material, at=now, actor=actor, overlap=overlap, reason=reason, compromised=compromised,
            passphrase=made.blinded,
        )  # fmt: skip
        new = self._fit(new)
        await self._recorded("keys.rotated", old, actor, f"successor {new_id}; {reason}")
        if compromised:
            await self._stop(old)
        await self._put("keys.rotated", [retired, new])
        await self._stop(old)
        return Issued(new, made.secret, made.passphrase)

    async def activate(self, id: str, *, actor: str, proof: bytes, reason: str = "") -> KeyRecord:
        """Make a pending key usable: its holder has shown to possess it.

        Args:
            id: of the key.
            actor: who activates it.
            proof: the holder's signature over `possession_text`.
            reason: why.
        """
        record = await self.find(id)
        await check_possession(record.owner, record.material, proof)
        return await self._give("activate", record, actor, reason)

    async def resume(self, id: str, *, actor: str, reason: str = "") -> KeyRecord:
        """End a suspension."""
        return await self._give("resume", await self.find(id), actor, reason)

    async def suspend(self, id: str, *, actor: str, reason: str = "") -> KeyRecord:
        """Stop a key for a while."""
        return await self._take("suspend", await self.find(id), actor, reason)

    async def revoke(self, id: str, *, actor: str, reason: str = "", compromised: bool = False) -> KeyRecord:
        """End a key for good."""
        return await self._take("compromise" if compromised else "revoke", await self.find(id), actor, reason)

    async def shorten(self, id: str, until: int, *, actor: str, reason: str = "") -> KeyRecord:
        """Give a key an end (ns UTC), or an earlier one; see `life.shorten`."""
        record = await self.find(id)
        after = life.shorten(record, until, at=self._runtime.now(), actor=actor, reason=reason)
        return await self._lessen("keys.shortened", record, after, f"until {show_time(until)}; {reason}")

    async def expire(self, *, actor: str) -> list[KeyRecord]:
        """End all keys whose time is over. They do not verify any more as it is; this writes it down.

        Returns:
            The ended keys.
        """
        ended: list[KeyRecord] = []
        after, now = "", self._runtime.now()
        while page := await self.keys.list(after):
            after = page[-1].id
            due = [record for record in page if record.expires is not None and record.expires <= now]
            ended += [
                await self._take("expire", record, actor, "expired") for record in due if record.state not in life.ENDED
            ]
        return ended

    async def find(self, id: str) -> KeyRecord:
        """Return a key.

        Raises:
            ConfigError: there is none of this id.
        """
        if id.startswith("tgs_"):
            raise ConfigError("this is a secret, not the id of a key; whoever may have seen it has the key: rotate it")
        record = await self.keys.find(id)
        if record is None:
            raise ConfigError(f"there is no key {id!r}; `tradeguard keys list` shows those there are")
        return record

    def _fit(self, record: KeyRecord) -> KeyRecord:
        """Give a new record the scopes of its roles, and hold it against the policy."""
        if not record.actor:
            raise ConfigError(f"key {record.id}: say who does this (actor)")
        if not record.owner:
            raise ConfigError(f"key {record.id}: say who holds it (owner)")
        kind = find_kind(record.dialect, self.rows)
        kind.check_passphrase(record.passphrase, kind.choose(record.algorithm))
        granted = self.policy.scopes_of(record.roles)
        if record.granted != granted:
            record = replace(record, granted=granted)
        life.check_new(record, self.policy, self._runtime.now())
        return record

    async def _add(self, code: str, records: Sequence[KeyRecord]) -> None:
        for ticket in [self._append(code, record, record.actor, _summary(record)) for record in records]:
            await self._runtime.wait(ticket)
        await self._put(code, records)

    async def _give(self, verb: life.Verb, record: KeyRecord, actor: str, reason: str) -> KeyRecord:
        """Do what gives power: on record first, stored, and the old version stopped last."""
        after = life.step(record, verb, at=self._runtime.now(), actor=actor, reason=reason)
        await self._recorded(_CODES[verb], record, actor, reason)
        await self._put(_CODES[verb], [after])
        await self._stop(record)
        return after

    async def _take(self, verb: life.Verb, record: KeyRecord, actor: str, reason: str) -> KeyRecord:
        after = life.step(record, verb, at=self._runtime.now(), actor=actor, reason=reason)
        return await self._lessen(_CODES[verb], record, after, reason)

    async def _lessen(self, code: str, record: KeyRecord, after: KeyRecord, detail: str) -> KeyRecord:
        """Take power away: stopped first, stored, and done even where it cannot be recorded."""
        ticket = self._append(code, record, after.actor, detail)
        await self._stop(record)
        await self._put(code, [after])
        try:
            await self._runtime.wait(ticket)
        except BackendDown as error:
            _log.critical("%s of key %s by %s is not on record: %s", code, record.id, after.actor, error)
        return after

    async def _stop(self, record: KeyRecord) -> None:
        """Let no commit pass with this version of a key or an older one.

        A state that is down keeps no record from being changed: other processes then go by the record, when they look.
        """
        try:
            if self._state is not None:
                await self._state.lift(key_number(record.id), record.version)
        except BackendDown as error:
            _log.critical("key %s changes, and the state cannot be told: %s", record.id, error)

    async def _put(self, code: str, records: Sequence[KeyRecord]) -> None:
        try:
            await self.keys.put(records)
        except TradeguardError as error:
            for record in records:
                self._append(f"{code}.failed", record, record.actor, str(error))
            raise

    async def _recorded(self, code: str, record: KeyRecord, actor: str, detail: str) -> None:
        await self._runtime.wait(self._append(code, record, actor, detail))

    def _append(self, code: str, record: KeyRecord, actor: str, detail: str) -> Ticket:
        account, dialect = record.principal.account, record.dialect
        return self._journal.append(
            Event("key", self._runtime.now(), proven=True, code=code, key_id=record.id, account=account,
                  dialect=dialect, detail=detail[:256], actor=actor, policy=self.policy_mark)
        )  # fmt: skip


_CODES: Final[dict[life.Verb, str]] = {
    "activate": "keys.activated",
    "suspend": "keys.suspended",
    "resume": "keys.resumed",
    "revoke": "keys.revoked",
    "compromise": "keys.compromised",
    "expire": "keys.expired",
}


def _summary(record: KeyRecord) -> str:
    waiver = f"; waiver {record.waiver}" if record.waiver else ""
    return f"owner {record.owner}; {' '.join(sorted(record.principal.scopes))}{waiver}; {record.reason}"
