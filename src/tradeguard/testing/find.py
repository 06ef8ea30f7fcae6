"""KeysConformance: what a place that keys are found in holds: a venue's own table behind one method, `find`."""

from typing import ClassVar, get_args

from tradeguard.core.key import KEY_ID, KeyRecord, Material
from tradeguard.core.ports import Colour, Keys
from tradeguard.keys.cache import CachedKeys
from tradeguard.testing.suite import Suite, pytest


def _shown(record: KeyRecord) -> tuple[object, ...]:
    """Return what a record says, as something that can be compared."""
    who = record.principal
    allowed = who.id, who.account, who.scopes, who.networks.cidrs, who.tier, who.expires
    return *allowed, record.dialect, record.state, record.version, record.material.fingerprint(b"salt")


class KeysConformance(Suite):
    """Holds something that finds keys against its promises.

    Set `make` to what returns it, and `known` to the id of a key that it has; the id has a letter in it.
    """

    known: ClassVar[str]

    @staticmethod
    def make() -> Keys:
        """Return the keys; a class that is tested says how."""
        raise NotImplementedError("make = staticmethod(lambda: MyKeys(...))")

    def find(self, id: str) -> KeyRecord | None:
        """Find a key."""
        keys = self.make()
        return self.run(keys, keys.find(id))

    def test_its_colour_is_one_that_hosts_know(self) -> None:
        """`colour` says how it waits: instant, brief, blocking or async."""
        assert self.make().colour in get_args(Colour)

    def test_a_known_key_is_found_under_its_own_id(self) -> None:
        """`find` gives a `KeyRecord` with the id that was asked for, and material that verifies."""
        found = self.find(self.known)
        assert isinstance(found, KeyRecord)
        assert found.id == self.known
        assert isinstance(found.material, Material)

    def test_a_key_is_the_same_each_time_it_is_found(self) -> None:
        """Two lookups of an unchanged key say the same of it, its secret included."""
        one, two = self.find(self.known), self.find(self.known)
        assert one is not None
        assert two is not None
        assert _shown(one) == _shown(two)

    @pytest.mark.parametrize(
        "change",
        ["{}x", "x{}", "{} ", " {}", "{}\x00", "{}%", "%", "_" * 9, "", "{}' OR '1'='1", "{}\n", "*", "{}/../{}"],
    )
    def test_no_other_id_finds_it(self, change: str) -> None:
        """Ids are compared byte for byte: no wildcard, no trimming, no injection."""
        assert self.find(change.replace("{}", self.known)) is None

    def test_an_id_in_another_case_does_not_find_it(self) -> None:
        """Upper and lower case are different ids, also where the table's collation disagrees."""
        other = self.known.swapcase()
        assert other != self.known, "give a known id that has a letter in it"
        found = self.find(other)
        assert found is None or found.id == other  # a table that compares without case answers with the wrong one

    def test_the_longest_id_that_a_stranger_may_send_is_nobody(self) -> None:
        """An unknown id of 128 characters is None, not an error."""
        id = "k" * 128
        assert KEY_ID.fullmatch(id)
        assert self.find(id) is None

    def test_a_signature_of_somebody_else_does_not_verify(self) -> None:
        """`material.verify` is False for signatures of any length that the key did not make."""
        found, keys = self.find(self.known), self.make()
        assert found is not None
        for signature in (b"", bytes(32), bytes(64)):
            assert not self.run(keys, found.material.verify(b"message", signature))

    def test_many_find_it_at_once(self) -> None:
        """Lookups at the same time all find the key."""
        keys = self.make()
        found = self.race(keys, lambda _: keys.find(self.known))
        assert {record.id for record in found if record is not None} == {self.known}
        assert None not in found

    def test_it_works_behind_the_cache(self) -> None:
        """`CachedKeys` can stand in front of it."""
        keys = CachedKeys(self.make())
        found = self.run(keys, keys.find(self.known))
        assert found is not None
        assert found.id == self.known
        assert self.run(keys, keys.find(self.known + "x")) is None
