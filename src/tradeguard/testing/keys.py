"""KeyTableConformance and KeyAdminConformance: what a store of keys holds: of rows, or of records."""

import hmac

from tradeguard.core.key import Changes, KeyRecord, KeyRow
from tradeguard.core.ports import KeyAdmin, KeyTable
from tradeguard.signing.material import Hmac
from tradeguard.testing.suite import pytest
from tradeguard.testing.versions import Key, Versions, key


class KeyTableConformance(Versions[KeyTable, KeyRow]):
    """Holds a `KeyTable` against its promises. Set `make` to what returns an empty one."""

    def keep(self, key: Key, note: str = "") -> KeyRow:
        """Return a row."""
        id, version, secret = key
        return KeyRow(id, version, secret, note.encode(), b"sealed", b"mac")

    def note(self, kept: KeyRow) -> str:
        """Return the fields."""
        return kept.fields.decode()

    def find(self, store: KeyTable, id: str) -> KeyRow | None:
        """Find a row."""
        return self.run(store, store.get(id))

    def page(self, store: KeyTable, after: str, limit: int) -> list[KeyRow]:
        """Find the next rows."""
        return self.run(store, store.page(after, limit))

    def holder(self, store: KeyTable, secret: bytes) -> str | None:
        """Find who has a fingerprint."""
        return self.run(store, store.holder(secret))

    def test_what_was_put_is_found_byte_for_byte(self) -> None:
        """Every column of a row comes back as it was put."""
        store = self.make()
        wanted = KeyRow("Az09_-", 1, bytes(range(256)), b"\x00\xff", b"", b"'; DROP TABLE key")
        self.run(store, store.put([wanted]))
        assert self.find(store, "Az09_-") == wanted

    def test_a_page_of_less_than_nothing_is_empty(self) -> None:
        """A negative limit gives nothing; it does not stand for no limit."""
        store = self.make()
        self.put(store, key("a"))
        assert self.page(store, "", -1) == []

    def test_a_mark_of_the_future_means_that_anything_may_have_changed(self) -> None:
        """A mark that the store has not reached yet (a copy was restored) is not trusted."""
        store = self.make()
        mark = self.since(store, None).mark
        assert self.since(store, mark._replace(number=mark.number + 1)) == Changes(mark, None)

    @pytest.mark.parametrize(("amount", "told"), [(10_000, True), (10_001, False)])
    def test_more_than_ten_thousand_changes_are_told_as_anything(self, amount: int, told: bool) -> None:
        """`changes` names 10,000 ids at most."""
        store = self.make()
        mark = self.since(store, None).mark
        self.put(store, *(key(f"k{number}") for number in range(amount)))
        changes = self.since(store, mark)
        assert (changes.ids is not None) is told
        assert self.since(store, changes.mark).ids == ()

    @pytest.mark.parametrize("value", [b"one", b"", bytes(range(256))])
    def test_the_first_value_of_a_name_is_kept(self, value: bytes) -> None:
        """`keep` never replaces what is there."""
        store = self.make()
        assert self.run(store, store.keep("salt")) is None
        assert self.run(store, store.keep("salt", value)) == value
        assert self.run(store, store.keep("salt", b"another")) == value
        assert self.run(store, store.keep("salt")) == value
        assert self.run(store, store.keep("other")) is None

    def test_of_many_that_keep_a_value_all_get_the_same(self) -> None:
        """Of several that `keep` a value at once, all get the one that is kept."""
        store = self.make()
        results = self.race(store, lambda place: store.keep("salt", b"%d" % place))
        assert len(set(results)) == 1
        assert self.run(store, store.keep("salt")) == results[0]

    def test_what_is_let_go_of_is_opened_again_by_the_next_use(self) -> None:
        """`close` may be called twice, and the store may be used after it."""
        store = self.make()
        self.put(store, key("a"))
        store.close()
        store.close()
        assert self.versions(store) == {"a": 1}


class KeyAdminConformance(Versions[KeyAdmin, KeyRecord]):
    """Holds a `KeyAdmin` against its promises. Set `make` to what returns an empty one."""

    def keep(self, key: Key, note: str = "") -> KeyRecord:
        """Return a record."""
        id, version, secret = key
        material = Hmac(secret.ljust(32, b"."))
        return KeyRecord(id=id, dialect="tg1", material=material, scopes=["orders:read"], version=version, label=note)

    def note(self, kept: KeyRecord) -> str:
        """Return the label."""
        return kept.label

    def find(self, store: KeyAdmin, id: str) -> KeyRecord | None:
        """Find a record."""
        return self.run(store, store.find(id))

    def page(self, store: KeyAdmin, after: str, limit: int) -> list[KeyRecord]:
        """Find the next records."""
        return self.run(store, store.list(after, limit))

    def holder(self, store: KeyAdmin, secret: bytes) -> str | None:
        """Find who has a material."""
        return self.run(store, store.holder(Hmac(secret.ljust(32, b"."))))

    def test_a_key_verifies_with_its_own_secret_only(self) -> None:
        """The material that is found is the one that was put."""
        store = self.make()
        self.put(store, key("a"), key("b"))
        found = self.find(store, "a")
        assert found is not None
        right, wrong = (hmac.digest(secret.ljust(32, b"."), b"message", "sha256") for secret in (b"a", b"b"))
        assert self.run(store, found.material.verify(b"message", right))
        assert not self.run(store, found.material.verify(b"message", wrong))
