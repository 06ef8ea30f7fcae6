"""Sealed keys: what a thief of the table gets, and what a writer of it can do: nothing that verifies."""

import logging
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from conftest import Run
from support import NOW, READER, SECOND, SECRET, make_guard, sign

from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Denial
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError, KeyConflict, Tampered
from tradeguard.core.key import Changes, KeyRecord, KeyRow, Mark, Material, key_number
from tradeguard.core.policy import Policy
from tradeguard.core.ports import Colour, KeyAdmin, KeyTable
from tradeguard.core.secret import Secret
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.codec import describe, encode_fields
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

MASTER, OTHER = (MasterKey(Secret(bytes([number]) * 32)) for number in (1, 2))
PLAIN = b"find me if you can, 32 bytes....."  # a secret to search for


class Rows:
    """A table of rows in memory, honest but open: `rows` and `kept` are there for everybody to write to."""

    colour: Colour = "instant"

    def __init__(self) -> None:
        self.rows: dict[str, KeyRow] = {}
        self.kept: dict[str, bytes] = {}
        self.changed: list[str] = []
        self.used: dict[str, int] = {}
        self.gets = self.closed = 0

    async def get(self, id: str, /) -> KeyRow | None:
        self.gets += 1
        return self.rows.get(id)

    async def put(self, rows: Sequence[KeyRow], /) -> None:
        new = dict(self.rows)
        for row in rows:
            before = new.get(row.id)
            holder = next((other.id for other in new.values() if other.fingerprint == row.fingerprint), None)
            if row.version != (1 if before is None else before.version + 1) or holder not in (None, row.id):
                raise KeyConflict(f"key {row.id}")
            new[row.id] = row
        self.rows = new
        self.changed += [row.id for row in rows]

    async def page(self, after: str, limit: int, /) -> list[KeyRow]:
        return [self.rows[id] for id in sorted(id for id in self.rows if id > after)[:limit]]

    async def holder(self, fingerprint: bytes, /) -> str | None:
        return next((row.id for row in self.rows.values() if row.fingerprint == fingerprint), None)

    async def changes(self, mark: Mark | None, /) -> Changes:
        latest = Mark("rows", len(self.changed))
        return Changes(latest, None if mark is None else tuple(self.changed[mark.number :]))

    async def touch(self, uses: Mapping[str, int], /) -> None:
        self.used |= uses

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        return {id: self.used[id] for id in ids if id in self.used}

    async def keep(self, name: str, value: bytes | None = None, /) -> bytes | None:
        if value is not None:
            self.kept.setdefault(name, value)
        return self.kept.get(name)

    def close(self) -> None:
        self.closed += 1

    # what an attacker does

    def write(self, row: KeyRow, id: str | None = None) -> None:
        self.rows[id or row.id] = row

    def delete(self, id: str) -> None:
        self.rows.pop(id, None)

    def keep_instead(self, value: bytes | None) -> None:
        self.kept.pop("box", None)
        if value is not None:
            self.kept["box"] = value


class File(SQLiteKeys):
    """The same in a file, written to past the library by whoever can write the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, busy=5.0)
        self.path, self.gets = path, 0

    async def get(self, id: str, /) -> KeyRow | None:
        self.gets += 1
        return await super().get(id)

    def write(self, row: KeyRow, id: str | None = None) -> None:
        columns = "version = ?, fingerprint = ?, fields = ?, sealed = ?, mac = ?"
        with sqlite3.connect(self.path) as connection:
            done = connection.execute(f"UPDATE key SET {columns} WHERE id = ?", (*row[1:], id or row.id))
            if not done.rowcount:
                connection.execute("INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, 0)", (id or row.id, *row[1:]))
        connection.close()

    def delete(self, id: str) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute("DELETE FROM key WHERE id = ?", (id,))
        connection.close()

    def keep_instead(self, value: bytes | None) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute("DELETE FROM kept")
            if value is not None:
                connection.execute("INSERT INTO kept VALUES ('box', ?)", (value,))
        connection.close()


Table = Rows | File


@pytest.fixture(params=["memory", "sqlite"])
def make_table(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Make new tables of one kind."""
    made: list[Table] = []

    def make() -> Table:
        made.append(Rows() if request.param == "memory" else File(tmp_path / f"keys{len(made)}.db"))
        return made[-1]

    yield make
    for table in made:
        table.close()


@pytest.fixture
def table(make_table: Callable[[], Table]) -> Table:
    return make_table()


class CountingSealer(LocalSealer):
    """A sealer that says how often it was asked."""

    __slots__ = ("calls",)

    def __init__(self, keys: MasterKeys) -> None:
        super().__init__(keys)
        self.calls: Counter[str] = Counter()

    async def seal(self, plaintext: bytes, context: bytes, /) -> bytes:
        self.calls["seal"] += 1
        return await super().seal(plaintext, context)

    async def open(self, sealed: bytes, context: bytes, /) -> bytes:
        self.calls["open"] += 1
        return await super().open(sealed, context)


def sealer(*keys: MasterKey) -> CountingSealer:
    return CountingSealer(MasterKeys(keys or (MASTER,)))


def record(id: str = "mine", secret: bytes = SECRET, **fields: Any) -> KeyRecord:
    given: dict[str, Any] = {"dialect": "tg1", "material": Hmac(secret), "scopes": {"orders:read"}, "owner": "ann"}
    return KeyRecord(id=id, **{**given, **fields})


def row_of(table: Table, id: str = "mine") -> KeyRow:
    row = drive(table.get(id))
    assert row is not None
    return row


def box_of(table: Table) -> bytes:
    box = drive(table.keep("box"))
    assert box is not None
    return box


# what it keeps and gives back


def test_it_is_a_key_store_over_a_table(table: Table) -> None:
    assert isinstance(SealedKeys(table, sealer()), KeyAdmin)
    tables: list[KeyTable] = [Rows(), table]
    assert [SealedKeys(each, sealer()).colour for each in tables] == ["instant", table.colour]


def test_a_record_comes_back_as_it_was_and_verifies(table: Table, run: Run) -> None:
    keys = SealedKeys(table, sealer(), policy=Policy(roles={"desk": ["orders:write"]}))
    mine = record(roles={"desk"}, networks=["203.0.113.0/24"], expires=NOW, label="bot", tier="")
    ed = record(
        "ed", material=Ed25519(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
    )

    async def work() -> None:
        await keys.put([mine, ed])
        found = await keys.find("mine")
        assert found is not None
        assert describe(found) == describe(mine)
        assert found.principal.scopes == {"orders:read", "orders:write"}
        assert found.material.fingerprint(b"salt") == mine.material.fingerprint(b"salt")
        assert [each.id for each in await keys.list()] == ["ed", "mine"]
        assert await keys.find("no-such") is None
        assert await keys.holder(Hmac(SECRET)) == "mine"
        assert await keys.holder(ed.material) == "ed"
        assert await keys.holder(Hmac(SECRET + b"2")) is None
        await keys.put([replace(mine, state="suspended", version=2)])
        assert ((await keys.find("mine")) or mine).state == "suspended"

    run(work())


def test_another_process_reads_what_this_one_wrote(table: Table, run: Run) -> None:
    run(SealedKeys(table, sealer()).put([record()]))
    assert run(SealedKeys(table, sealer()).find("mine")) is not None
    assert run(SealedKeys(table, sealer()).holder(Hmac(SECRET))) == "mine"


def test_two_that_begin_at_once_end_up_with_one_box(table: Table, run: Run) -> None:
    one, two = SealedKeys(table, sealer()), SealedKeys(table, sealer())
    run(one.unlock())
    run(two.unlock())
    run(one.put([record()]))
    assert run(two.find("mine")) is not None
    with pytest.raises(KeyConflict):
        run(two.put([record("twin")]))


def test_uses_and_changes_are_those_of_the_table(table: Table, run: Run) -> None:
    keys = SealedKeys(table, sealer())

    async def work() -> None:
        first = await keys.changes(None)
        await keys.put([record()])
        assert (await keys.changes(first.mark)).ids == ("mine",)
        await keys.touch({"mine": 5})
        assert await keys.uses(["mine", "other"]) == {"mine": 5}

    run(work())


def test_closing_closes_the_table() -> None:
    rows = Rows()
    SealedKeys(rows, sealer()).close()
    assert rows.closed == 1


def test_material_that_lives_elsewhere_cannot_be_kept(run: Run) -> None:
    class Hsm:
        algorithm = "hmac-sha256"

        def fingerprint(self, salt: bytes) -> bytes:
            return salt

        async def verify(self, message: bytes, signature: bytes) -> bool:
            return False

    material: Material = Hsm()
    with pytest.raises(ConfigError, match="key mine: its Hsm cannot be kept in a key store"):
        run(SealedKeys(Rows(), sealer()).put([record(material=material)]))


def test_roles_are_those_of_the_policy_that_is_set_now(table: Table, run: Run) -> None:
    keys = SealedKeys(table, sealer())
    run(keys.put([record(roles={"desk"})]))
    for scopes in ([], ["orders:cancel"]):
        keys.policy = Policy(roles={"desk": scopes})
        found = run(keys.find("mine"))
        assert found.principal.scopes == {"orders:read", *scopes}


# what a thief of the table gets


def test_the_secret_stands_nowhere_in_the_rows(table: Table, tmp_path: Path) -> None:
    keys = SealedKeys(table, sealer())
    drive(keys.put([record(secret=PLAIN)]))
    content = b"".join(b"".join(map(repr_bytes, row)) for row in drive(table.page("", 100))) + box_of(table)
    table.close()
    content += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ann" in content  # what is not secret is there: the search would have found it
    for form in (PLAIN, PLAIN.hex().encode(), PLAIN[:16], PLAIN[16:]):
        assert form not in content


def repr_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def test_equal_secrets_look_different_in_two_stores(make_table: Callable[[], Table]) -> None:
    rows = []
    for one in (make_table(), make_table()):
        drive(SealedKeys(one, sealer()).put([record()]))
        rows.append(row_of(one))
    assert rows[0].fields == rows[1].fields
    for name in ("fingerprint", "sealed", "mac"):
        assert getattr(rows[0], name) != getattr(rows[1], name)


def test_the_same_record_is_sealed_anew_with_each_version(table: Table) -> None:
    keys = SealedKeys(table, sealer())
    drive(keys.put([record()]))
    first = row_of(table)
    drive(keys.put([record(version=2)]))
    assert row_of(table).sealed != first.sealed
    assert row_of(table).fingerprint == first.fingerprint


# what a writer of the table can do


def widen(row: KeyRow, _: KeyRow) -> KeyRow:
    assert b"orders:read" in row.fields
    return row._replace(fields=row.fields.replace(b'"orders:read"', b'"orders:*","keys:admin"'))


def rename(row: KeyRow, _: KeyRow) -> KeyRow:
    return row._replace(fields=row.fields.replace(b'"mine"', b'"theirs"'))


def forge(row: KeyRow, _: KeyRow) -> KeyRow:
    return row._replace(fields=encode_fields(record(scopes={"funds:withdraw"}, expires=NOW * 2)))


ATTACKS: dict[str, Callable[[KeyRow, KeyRow], KeyRow]] = {
    "scopes widened": widen,
    "another id in the fields": rename,
    "all fields written anew": forge,
    "no fields": lambda row, _: row._replace(fields=b""),
    "sealed part of another row": lambda row, other: row._replace(sealed=other.sealed),
    "fields of another row": lambda row, other: row._replace(fields=other.fields),
    "mac of another row": lambda row, other: row._replace(mac=other.mac),
    "another row under this id": lambda row, other: other._replace(id=row.id),
    "another version": lambda row, _: row._replace(version=row.version + 1),
    "another fingerprint": lambda row, _: row._replace(fingerprint=bytes(16)),
    "no mac": lambda row, _: row._replace(mac=b""),
    "a mac cut short": lambda row, _: row._replace(mac=row.mac[:31]),
    "a mac of zeros": lambda row, _: row._replace(mac=bytes(32)),
    "a byte moved over a boundary": lambda row, _: row._replace(
        fields=row.fields + row.sealed[:1], sealed=row.sealed[1:]
    ),
    "the sealed part bent": lambda row, _: row._replace(sealed=row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])),
    "nothing sealed": lambda row, _: row._replace(sealed=b""),
    "sealed under a master key that there is not": lambda row, _: row._replace(
        sealed=row.sealed[:1] + b"none" + row.sealed[5:]
    ),
    "sealed by a version that there is not": lambda row, _: row._replace(sealed=b"\x02" + row.sealed[1:]),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_changed_row_is_refused_and_logged_and_the_others_go_on(
    attack: Callable[[KeyRow, KeyRow], KeyRow], table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    keys = SealedKeys(table, sealer())
    drive(keys.put([record(secret=PLAIN), record("other", b"the other secret")]))
    row, other = row_of(table), row_of(table, "other")
    changed = attack(row, other)
    if changed.fingerprint == other.fingerprint:
        table.delete("other")
    table.write(changed)
    assert drive(keys.find("mine")) is None
    assert "key mine is refused: " in caplog.text
    assert [entry.levelno for entry in caplog.records] == [logging.CRITICAL]
    for secret in (PLAIN.decode(), PLAIN.hex(), row.sealed.hex(), row.mac.hex()):
        assert secret not in caplog.text
    assert [each.id for each in drive(keys.list())] == [id for id in ("other",) if drive(table.get(id))]
    table.write(row)
    assert drive(keys.find("mine")) is not None  # it was that, and nothing else


def test_a_row_copied_under_another_id_is_refused(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    keys = SealedKeys(table, sealer())
    drive(keys.put([record()]))
    row = row_of(table)
    table.delete("mine")
    table.write(row._replace(id="copy"), "copy")
    assert drive(keys.find("copy")) is None
    assert "key copy is refused" in caplog.text


def test_rows_of_another_store_under_the_same_master_key_are_refused(
    make_table: Callable[[], Table], caplog: pytest.LogCaptureFixture
) -> None:
    table, other = make_table(), make_table()
    keys, theirs = SealedKeys(table, sealer()), SealedKeys(other, sealer())
    drive(keys.put([record("unrelated", b"an unrelated one")]))
    drive(theirs.put([record()]))
    table.write(row_of(other))
    assert drive(keys.find("mine")) is None
    assert "key mine is refused" in caplog.text


def test_a_box_that_is_gone_is_not_made_anew_while_there_are_keys(table: Table) -> None:
    drive(SealedKeys(table, sealer()).put([record()]))
    table.keep_instead(None)
    with pytest.raises(ConfigError, match="has keys, but not what verifies them; restore it from a copy"):
        drive(SealedKeys(table, sealer()).find("mine"))
    assert drive(table.keep("box")) is None


@pytest.mark.parametrize(
    "bend",
    [lambda box: box[:-1] + bytes([box[-1] ^ 1]), lambda box: box[:60], lambda _: b""],
    ids=["bent", "cut", "empty"],
)
def test_a_box_that_was_changed_does_not_open(table: Table, bend: Callable[[bytes], bytes]) -> None:
    drive(SealedKeys(table, sealer()).put([record()]))
    table.keep_instead(bend(box_of(table)))
    with pytest.raises(Tampered):
        drive(SealedKeys(table, sealer()).unlock())


def test_the_box_of_another_store_verifies_none_of_the_rows(make_table: Callable[[], Table]) -> None:
    table, other = make_table(), make_table()
    drive(SealedKeys(table, sealer()).put([record()]))
    drive(SealedKeys(other, sealer()).unlock())
    table.keep_instead(box_of(other))
    keys = SealedKeys(table, sealer())
    assert drive(keys.find("mine")) is None
    assert drive(keys.list()) == []


def test_a_box_made_by_the_writer_does_not_open(make_table: Callable[[], Table]) -> None:
    table, own = make_table(), make_table()
    drive(SealedKeys(table, sealer()).put([record()]))
    attacker = SealedKeys(own, sealer(OTHER))
    drive(attacker.put([record("mine", b"the attackers own")]))
    table.keep_instead(box_of(own))
    table.write(row_of(own))
    with pytest.raises(ConfigError, match=f"master key {OTHER.id} is missing"):
        drive(SealedKeys(table, sealer()).find("mine"))


def test_the_sealed_part_of_a_key_is_no_box(table: Table) -> None:
    drive(
        SealedKeys(table, sealer()).put(
            [record(secret=b"64 bytes that would be a salt and a key of the writers own choice")]
        )
    )
    table.keep_instead(row_of(table).sealed)
    with pytest.raises(Tampered):
        drive(SealedKeys(table, sealer()).unlock())


def test_a_wrong_master_key_is_named(table: Table) -> None:
    drive(SealedKeys(table, sealer()).put([record()]))
    for call in ("unlock", "list"):
        with pytest.raises(ConfigError, match=f"master key {MASTER.id} is missing: add it to those at hand"):
            drive(getattr(SealedKeys(table, sealer(OTHER)), call)())
    assert drive(SealedKeys(table, sealer(OTHER, MASTER)).find("mine")) is not None


def test_a_page_of_rows_that_do_not_verify_is_skipped(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    keys = SealedKeys(table, sealer())
    drive(keys.put([record(f"k{number}", b"%016d" % number) for number in range(6)]))
    for number in (0, 1, 2, 5):
        table.write(row_of(table, f"k{number}")._replace(mac=bytes(32)))
    assert [each.id for each in drive(keys.list("", 2))] == ["k3"]
    assert [each.id for each in drive(keys.list("k3", 2))] == ["k4"]
    assert drive(keys.list("k4", 2)) == []
    assert "key k0 is refused" in caplog.text


def test_deleting_a_row_only_takes_power_away(table: Table) -> None:
    keys = SealedKeys(table, sealer())
    drive(keys.put([record()]))
    table.delete("mine")
    assert drive(keys.find("mine")) is None


# seen from outside


MINE = Signer(TG1, "mine", SECRET)


def guard_over(keys: Any, state: Memory | None = None) -> Any:
    state = Memory(since=1) if state is None else state  # an empty one is false
    return make_guard([Signature(keys, (TG1,)), Freshness(), Scope(), Replay()], state=state)


def test_an_old_row_brought_back_is_refused_by_the_commit(table: Table, run: Run) -> None:
    keys, state = SealedKeys(table, sealer()), Memory(since=1)
    run(keys.put([record()]))
    guard = guard_over(keys, state)
    old = row_of(table)
    assert not isinstance(run(guard.admit(sign(MINE))), Denial)
    run(state.set(key_number("mine"), 1))
    run(keys.put([record(state="revoked", version=2)]))
    assert run(guard.admit(sign(MINE))).code == "signature.unusable"
    table.write(old)
    denial = run(guard.admit(sign(MINE)))
    assert (denial.code, denial.status, denial.executed) == ("signature.superseded", 503, False)
    assert not isinstance(run(guard_over(keys).admit(sign(MINE))), Denial)  # the number is what it takes


CASES = ("unknown", "wrong", "revoked", "suspended", "tampered", "cold")


def count_work(work: Callable[[], Any], opens: CountingSealer, table: Table) -> tuple[Any, Counter[str]]:
    """Do it; return what came of it and the calls of sealer, table and MAC, the latter seen by the profiler."""
    calls: Counter[str] = Counter()

    def note(_frame: FrameType, event: str, arg: Any) -> None:
        name = getattr(arg, "__qualname__", "")
        if event == "c_call" and name in ("hmac_digest", "compare_digest"):
            calls[name] += 1

    opens.calls.clear()
    table.gets = 0
    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return result, calls + opens.calls + Counter(gets=table.gets)


@pytest.mark.parametrize("wrong", [False, True], ids=["signed rightly", "signed wrongly"])
def test_unknown_revoked_suspended_tampered_and_cold_keys_cost_the_same_and_look_the_same(
    table: Table, wrong: bool
) -> None:
    opens = sealer()
    keys = SealedKeys(table, opens)
    secrets = {name: name.encode() * 8 for name in CASES}
    states: dict[str, Any] = {"revoked": "revoked", "suspended": "suspended"}
    drive(keys.put([record(n, secrets[n], state=states.get(n, "active")) for n in CASES if n != "unknown"]))
    table.write(row_of(table, "tampered")._replace(fields=row_of(table, "revoked").fields))
    seen: dict[str, Counter[str]] = {}
    faces = set()
    for name in CASES:
        guard = guard_over(CachedKeys(keys, clock=lambda: 10**12))
        drive(guard.admit(sign(Signer(TG1, "nobody", SECRET))))  # has polled and unlocked
        secret = b"none of the secrets" if wrong or name == "wrong" else secrets[name]
        request = sign(Signer(TG1, name, secret))
        decision, seen[name] = count_work(lambda: drive(guard.admit(request)), opens, table)  # noqa: B023
        assert isinstance(decision, Denial) != (name == "cold" and not wrong)
        if isinstance(decision, Denial):
            faces.add((decision.status, decision.public, decision.text, decision.retry_after, decision.executed))
    assert len(faces) == 1
    assert next(iter(faces))[:2] == (401, "unauthorized")
    assert (seen["cold"]["open"], seen["cold"]["gets"], seen["cold"]["hmac_digest"]) == (1, 1, 2)  # row and request
    assert all(calls == seen["cold"] for calls in seen.values()), seen


@pytest.mark.parametrize("bend", ["mac", "sealed", "key id"])
def test_however_a_row_was_changed_it_costs_one_opening(table: Table, bend: str) -> None:
    opens = sealer()
    keys = SealedKeys(table, opens)
    drive(keys.put([record()]))
    row = row_of(table)
    changed = {
        "mac": row._replace(mac=bytes(32)),
        "sealed": row._replace(sealed=row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])),
        "key id": row._replace(sealed=row.sealed[:1] + b"none" + row.sealed[5:]),
    }
    table.write(changed[bend])
    _, unknown = count_work(lambda: drive(keys.find("none")), opens, table)
    found, calls = count_work(lambda: drive(keys.find("mine")), opens, table)
    assert found is None
    assert calls == unknown


def test_the_readers_key_of_the_other_tests_is_no_key_here(table: Table) -> None:
    assert (
        drive(guard_over(SealedKeys(table, sealer())).admit(sign(READER, at=NOW - SECOND))).code == "signature.unknown"
    )
