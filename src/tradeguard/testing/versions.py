"""Versions: what every store of keys holds, whatever it keeps (rows, records): versions, secrets, pages, changes.

All or nothing, exact under races, and nothing missed by who follows it.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, Generic, TypeVar

from tradeguard.core.errors import KeyConflict
from tradeguard.core.key import Changes, KeyRecord, KeyRow, Mark
from tradeguard.core.ports import Closing, KeyAdmin, KeyTable
from tradeguard.testing.suite import SETTINGS, Suite, given, pytest, settings, st

S = TypeVar("S", KeyTable, KeyAdmin)
K = TypeVar("K", KeyRow, KeyRecord)
Key = tuple[str, int, bytes]
"""A key as the tests speak of it: id, version, secret."""


def key(id: str, version: int = 1, secret: bytes | None = None) -> Key:
    """Return a key with a secret that is its own unless one is given."""
    return id, version, id.encode() if secret is None else secret


CONFLICTS: list[tuple[list[Key], str]] = [
    ([key("a", secret=b"new")], "key a exists; give the new one an id of its own"),
    ([key("c", secret=b"b")], "key c has the secret of key b"),
    ([key("a", 2)], "key a was changed meanwhile: version 2 is stored; look again"),
    ([key("a", 4)], "key a was changed meanwhile: version 2 is stored; look again"),
    ([key("a", 3, b"other")], "key a keeps the secret that it was made with; rotate it instead"),
    ([key("c", 2)], "key c is not known, so there is no version 1 to follow"),
    ([key("c", 0)], "key c is not known, so there is no version -1 to follow"),
    ([key("c"), key("c", secret=b"new")], "key c exists"),
    ([key("c"), key("d", secret=b"c")], "key d has the secret of key c"),
]


class Versions(Suite, Generic[S, K]):
    """What both suites hold. A subclass says how a key is made and found."""

    @staticmethod
    def make() -> S:
        """Return an empty store; a class that is tested says how."""
        raise NotImplementedError("make = staticmethod(lambda: MyStore(...))")

    def keep(self, key: Key, note: str = "") -> K:
        """Return a key as the store keeps it; `note` makes it differ from others of the same version."""
        raise NotImplementedError

    def find(self, store: S, id: str) -> K | None:
        """Find one."""
        raise NotImplementedError

    def page(self, store: S, after: str, limit: int) -> list[K]:
        """Find the next ones."""
        raise NotImplementedError

    def holder(self, store: S, secret: bytes) -> str | None:
        """Find who has a secret."""
        raise NotImplementedError

    def note(self, kept: K) -> str:
        """Return what was noted when it was made."""
        raise NotImplementedError

    def put(self, store: S, *keys: Key) -> None:
        """Put keys in one step."""
        records: Any = [self.keep(key) for key in keys]
        self.run(store, store.put(records))

    def versions(self, store: S) -> dict[str, int]:
        """Return the version of every key."""
        return {found.id: found.version for found in self.page(store, "", 1000)}

    def since(self, store: S, mark: Mark | None) -> Changes:
        """Return what has changed."""
        return self.run(store, store.changes(mark))

    @pytest.mark.parametrize("id", ["", "a ", "A", "b", "%", "a%", "a'--", "a\x00"])
    def test_only_the_exact_id_is_found(self, id: str) -> None:
        """Ids are compared byte for byte: no wildcard, no trimming, no injection."""
        store = self.make()
        self.put(store, key("a"))
        assert self.find(store, id) is None

    def test_a_next_version_takes_the_place_of_the_one_before(self) -> None:
        """Of a key the latest version is found, and only that."""
        store = self.make()
        self.put(store, key("a"))
        self.put(store, key("a", 2))
        found = self.find(store, "a")
        assert found is not None
        assert found.version == 2
        assert self.versions(store) == {"a": 2}

    def test_versions_may_follow_each_other_in_one_put(self) -> None:
        """A `put` is taken in its order, so it may hold several versions of a key."""
        store = self.make()
        self.put(store, key("a"), key("a", 2), key("b"), key("a", 3))
        assert self.versions(store) == {"a": 3, "b": 1}

    def test_nothing_to_put_is_no_change(self) -> None:
        """An empty `put` is allowed, and whoever follows the store hears nothing."""
        store = self.make()
        mark = self.since(store, None).mark
        self.put(store)
        assert self.since(store, mark) == Changes(mark, ())

    @pytest.mark.parametrize(("keys", "reason"), CONFLICTS)
    @pytest.mark.parametrize("place", ["alone", "first", "last"])
    def test_a_conflict_says_why_and_nothing_is_put(self, keys: Sequence[Key], reason: str, place: str) -> None:
        """A taken id, a taken secret or a wrong version is `KeyConflict`, and undoes the whole `put`."""
        store = self.make()
        self.put(store, key("a"), key("a", 2), key("b"))
        mark, before = self.since(store, None).mark, self.versions(store)
        good: list[Key] = [] if place == "alone" else [key("x"), key("b", 2)]
        with pytest.raises(KeyConflict, match=reason):
            self.put(store, *([*good, *keys] if place == "last" else [*keys, *good]))
        assert self.versions(store) == before
        assert self.holder(store, b"x") is None
        assert self.since(store, mark) == Changes(mark, ())

    @pytest.mark.parametrize("secret", [b"b", b"stranger"])
    def test_a_next_version_with_another_secret_is_a_conflict(self, secret: bytes) -> None:
        """A key keeps the secret that it was made with."""
        store = self.make()
        self.put(store, key("a"), key("b"))
        with pytest.raises(KeyConflict, match="key a (keeps the secret that it was made|has the secret of key b)"):
            self.put(store, key("a", 2, secret))
        assert self.versions(store) == {"a": 1, "b": 1}

    def test_the_holder_of_a_secret_is_found_by_it(self) -> None:
        """`holder` names the one key that has a secret, in whatever version."""
        store = self.make()
        self.put(store, key("a", secret=b"\x00one"), key("b", secret=b"two"))
        self.put(store, key("b", 2, b"two"))
        assert [self.holder(store, secret) for secret in (b"\x00one", b"two", b"three")] == ["a", "b", None]

    def test_pages_go_through_all_keys_once_by_id(self) -> None:
        """Pages have at most as many keys as asked for, by id in the order of code points."""
        store, names = self.make(), ["10", "9", "A", "Z", "_", "a", "b", "-"]
        self.put(store, *map(key, names))
        found: list[str] = []
        while page := self.page(store, found[-1] if found else "", 3):
            assert len(page) <= 3
            found += [one.id for one in page]
        assert found == sorted(names)

    def test_a_page_of_nothing_is_empty(self) -> None:
        """A limit of 0 is allowed."""
        store = self.make()
        self.put(store, key("a"))
        assert self.page(store, "", 0) == []

    def test_who_has_no_mark_gets_one_and_must_look_at_everything(self) -> None:
        """Without a mark `changes` gives one, and says that anything may have changed."""
        store = self.make()
        self.put(store, key("a"))
        first = self.since(store, None)
        assert first.ids is None
        assert self.since(store, first.mark).ids == ()

    def test_what_changed_since_a_mark_is_told_once(self) -> None:
        """`changes` names each changed id once, and nothing again for the new mark."""
        store = self.make()
        self.put(store, key("a"), key("b"), key("c"))
        mark = self.since(store, None).mark
        self.put(store, key("b", 2), key("d"))
        self.put(store, key("b", 3))
        changes = self.since(store, mark)
        assert sorted(changes.ids or ()) == ["b", "d"]
        assert self.since(store, changes.mark) == Changes(changes.mark, ())

    def test_a_mark_of_another_store_means_that_anything_may_have_changed(self) -> None:
        """A mark of another epoch tells nothing about this store."""
        store = self.make()
        self.put(store, key("a"))
        mark = self.since(store, None).mark
        assert self.since(store, Mark("another", mark.number)) == Changes(mark, None)

    @settings(SETTINGS, max_examples=50)
    @given(
        steps=st.lists(st.lists(st.sampled_from("abcde"), max_size=4, unique=True), max_size=12),
        start=st.integers(0, 12),
    )
    def test_who_follows_from_any_point_hears_of_every_change(self, steps: list[list[str]], start: int) -> None:
        """Whatever is put after a mark is told by `changes`, in any order of work."""
        store, versions, changed = self.make(), dict.fromkeys("abcde", 0), set[str]()
        mark = self.since(store, None).mark
        for number, names in enumerate(steps):
            if number == start:
                mark, changed = self.since(store, None).mark, set[str]()
            for name in names:
                versions[name] += 1
            self.put(store, *(key(name, versions[name]) for name in names))
            changed |= set(names)
        told = self.since(store, mark).ids
        assert told is not None
        assert len(told) == len(set(told))
        assert set(told) == changed
        if isinstance(store, Closing):
            store.close()

    def test_the_latest_use_counts(self) -> None:
        """`touch` never sets a use back; `uses` leaves out what was never used."""
        store = self.make()
        self.put(store, key("a"), key("b"), key("c"))
        self.run(store, store.touch({"a": 5, "b": 2**62}))
        self.run(store, store.touch({"a": 3, "b": 1, "c": 1}))
        assert self.run(store, store.uses(["a", "b", "c", "d"])) == {"a": 5, "b": 2**62, "c": 1}
        self.run(store, store.touch({"a": 6}))
        assert self.run(store, store.uses(["a"])) == {"a": 6}
        assert self.run(store, store.uses([])) == {}

    def test_a_use_is_no_change_of_a_key(self) -> None:
        """`touch` wakes nobody who follows the store."""
        store = self.make()
        self.put(store, key("a"))
        mark = self.since(store, None).mark
        self.run(store, store.touch({"a": 5}))
        self.run(store, store.touch({}))
        assert self.since(store, mark).ids == ()

    def _conflicts(self, store: S, keys: list[tuple[Key, str]]) -> list[bool]:
        """Let each of them be put by another at the same time; tell who heard of a conflict."""

        async def put(place: int) -> bool:
            records: Any = [self.keep(*keys[place])]
            work: Coroutine[Any, Any, None] = store.put(records)
            try:
                await work
            except KeyConflict:
                return True
            return False

        return self.race(store, put)

    def test_of_many_with_one_next_version_exactly_one_wins(self) -> None:
        """Of several that write the same version at once, one succeeds and the others hear of a conflict."""
        store = self.make()
        self.put(store, key("a"))
        lost = self._conflicts(store, [(key("a", 2), f"{place}") for place in range(8)])
        assert lost.count(False) == 1
        found = self.find(store, "a")
        assert found is not None
        assert (found.version, self.note(found)) == (2, f"{lost.index(False)}")

    def test_of_many_with_one_secret_exactly_one_wins(self) -> None:
        """Of several keys with one secret, put at once, one is stored."""
        store = self.make()
        lost = self._conflicts(store, [(key(f"k{place}", secret=b"shared"), "") for place in range(8)])
        assert lost.count(False) == 1
        assert self.versions(store) == {f"k{lost.index(False)}": 1}
