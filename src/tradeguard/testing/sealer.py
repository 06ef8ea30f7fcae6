"""SealerConformance: what everything that seals secrets holds: only the same context opens it, and nothing altered."""

from typing import Any

from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.ports import Sealer
from tradeguard.testing.suite import SETTINGS, Suite, given, pytest, settings, st

BYTES = st.binary(max_size=300)
SECRET, CONTEXT = b"0123456789abcdef0123456789abcdef", b"tradeguard key\0k-1"


class SealerConformance(Suite):
    """Holds a sealer against its promises. Set `make` to what returns one; all of them open the same secrets."""

    @staticmethod
    def make() -> Sealer:
        """Return a sealer; a class that is tested says how."""
        raise NotImplementedError("make = staticmethod(lambda: MySealer(...))")

    def seal(self, secret: bytes = SECRET, context: bytes = CONTEXT) -> bytes:
        """Seal a secret."""
        sealer = self.make()
        return self.run(sealer, sealer.seal(secret, context))

    def open(self, sealed: bytes, context: bytes = CONTEXT) -> bytes:
        """Open a secret, with another sealer than the one that sealed it."""
        sealer = self.make()
        return self.run(sealer, sealer.open(sealed, context))

    @settings(SETTINGS, max_examples=50)
    @given(secret=BYTES, context=BYTES)
    def test_what_was_sealed_opens_with_its_context(self, secret: bytes, context: bytes) -> None:
        """Whatever is sealed, empty or binary, comes back."""
        assert self.open(self.seal(secret, context), context) == secret

    @pytest.mark.parametrize("other", [b"", CONTEXT + b"\0", CONTEXT[:-1], b"tradeguard key\0k-2", CONTEXT.upper()])
    def test_another_context_does_not_open_it(self, other: bytes) -> None:
        """A sealed secret cannot be moved to another record."""
        with pytest.raises(Tampered):
            self.open(self.seal(), other)

    def test_the_secret_cannot_be_seen(self) -> None:
        """No part of the secret stands in what was sealed."""
        sealed = self.seal()
        assert SECRET not in sealed
        assert SECRET[:8] not in sealed
        assert SECRET.hex().encode() not in sealed

    def test_one_secret_sealed_twice_looks_different(self) -> None:
        """Equal secrets cannot be told by what was sealed."""
        assert len({self.seal() for _ in range(100)}) == 100

    @settings(SETTINGS)
    @given(data=st.data())
    def test_a_changed_one_does_not_open(self, data: Any) -> None:
        """One changed bit, anywhere, is refused."""
        sealed = self.seal()
        place: int = data.draw(st.integers(0, len(sealed) - 1))
        mask: int = data.draw(st.integers(1, 255))
        with pytest.raises((Tampered, ConfigError)):
            self.open(sealed[:place] + bytes([sealed[place] ^ mask]) + sealed[place + 1 :])

    @settings(SETTINGS)
    @given(data=st.data())
    def test_one_that_was_cut_or_grew_does_not_open(self, data: Any) -> None:
        """No part of a sealed secret opens, and nothing may be added to it."""
        sealed = self.seal()
        cut: int = data.draw(st.integers(0, len(sealed) - 1))
        for wrong in (sealed[:cut], sealed[cut + 1 :], sealed + bytes(cut + 1), sealed * 2):
            with pytest.raises((Tampered, ConfigError)):
                self.open(wrong)

    @settings(SETTINGS)
    @given(noise=BYTES)
    def test_noise_does_not_open(self, noise: bytes) -> None:
        """Bytes that nobody sealed are refused, not a crash."""
        with pytest.raises((Tampered, ConfigError)):
            self.open(noise)

    def test_no_error_holds_the_secret(self) -> None:
        """What is raised can be logged."""
        sealed = self.seal()
        with pytest.raises((Tampered, ConfigError)) as caught:
            self.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
        assert SECRET.decode() not in f"{caught.value!r}"

    def test_many_seal_and_open_at_once(self) -> None:
        """Threads or tasks do not disturb each other."""
        sealer = self.make()

        async def use(place: int) -> bytes:
            return await sealer.open(await sealer.seal(b"%d" % place, CONTEXT), CONTEXT)

        assert self.race(sealer, use) == [b"%d" % place for place in range(8)]
