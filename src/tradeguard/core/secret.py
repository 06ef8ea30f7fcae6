"""Secret: bytes that do not leave by accident."""

import hmac
from typing import Final, NoReturn, final

_MASK: Final = "Secret(***)"


@final
class Secret:
    """Holds secret bytes: masked in every text form, neither pickled nor copied, compared in constant time.

    Args:
        value: the secret; text is taken as UTF-8.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint of the secret

    def __init__(self, value: bytes | str) -> None:
        self._value: Final = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """Return the bytes: the one way out, easy to search for."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return _MASK

    def __format__(self, _spec: str) -> str:
        return _MASK

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a Secret is neither pickled nor copied; pass the object itself or call reveal()")
