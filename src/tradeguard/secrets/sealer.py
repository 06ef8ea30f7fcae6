"""LocalSealer: seals secrets under master keys that this process holds.

What a sealed secret is made of (`docs/decisions/0008-sealing.md` says why):

    1 byte     version, 1
    4 bytes    id of the master key
    40 bytes   the data key, 32 random bytes of this secret's own, wrapped under the master key (RFC 3394)
    the rest   Cobblestone-256 (https://c2sp.org/chunked-encryption) under the data key:
               24 bytes salt, 32 bytes commitment, the encrypted secret, 16 bytes tag

The Cobblestone context is the version byte, then the caller's context.
"""

from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.ports import Colour
from tradeguard.secrets.master import MasterKeys

_VERSION: Final = b"\x01"
_HEAD: Final = slice(0, 5)  # version and master key id
_KEY: Final = slice(5, 45)
_BODY: Final = slice(45, None)
_LEAST: Final = 45 + 24 + 32 + 16  # bytes, where the secret is empty
_PURPOSE: Final = b"tradeguard data key wrap"


class LocalSealer:
    """Seals and opens secrets; each secret has a data key of its own.

    Args:
        keys: the first seals, all open.
    """

    colour: Colour = "instant"
    __slots__ = ("_head", "_keys", "_primary")

    def __init__(self, keys: MasterKeys) -> None:
        self._keys: Final = {_VERSION + bytes.fromhex(key.id): key.derive(_PURPOSE) for key in keys.keys}
        self._head, self._primary = next(iter(self._keys.items()))

    async def seal(self, plaintext: bytes, context: bytes, /) -> bytes:
        """Encrypt; only the same context opens it again.

        Args:
            plaintext: the secret.
            context: what it belongs to, encoded so that no two records have the same.
        """
        data_key = Cobblestone256Encryptor.generate_key()
        encryptor = Cobblestone256Encryptor(data_key, _VERSION + context)
        return self._wrap(data_key) + encryptor.update(plaintext) + encryptor.finalize()

    async def open(self, sealed: bytes, context: bytes, /) -> bytes:
        """Decrypt.

        Raises:
            Tampered: it was changed, or sealed for another context.
            ConfigError: it was sealed under a master key that is not at hand; the text names the key's id.
        """
        decryptor = Cobblestone256Decryptor(self._unwrap(sealed), _VERSION + context)
        try:
            return decryptor.update(sealed[_BODY]) + decryptor.finalize()
        except InvalidTag:
            raise Tampered(
                "a sealed secret does not open: it was changed, or belongs to another record; restore it from a backup"
            ) from None

    async def rewrap(self, sealed: bytes, /) -> bytes:
        """Put a sealed secret under the primary master key; its body, and so its context, stay what they are.

        Raises:
            Tampered: the wrapped data key was changed. The body is not looked at.
            ConfigError: it was sealed under a master key that is not at hand.
        """
        return self._wrap(self._unwrap(sealed)) + sealed[_BODY]

    @staticmethod
    def key_id_of(sealed: bytes, /) -> str:
        """Return the id of the master key that a secret was sealed under.

        Raises:
            Tampered: it is no sealed secret of this version.
        """
        if sealed[:1] != _VERSION:
            raise Tampered("a sealed secret has an unknown version: it was changed, or a newer tradeguard made it")
        if len(sealed) < _LEAST:
            raise Tampered(f"a sealed secret is cut short: {len(sealed)} bytes; restore it from a backup")
        return sealed[_HEAD][1:].hex()

    def _wrap(self, data_key: bytes) -> bytes:
        return self._head + aes_key_wrap(self._primary.reveal(), data_key)

    def _unwrap(self, sealed: bytes) -> bytes:
        wrapping = self._keys.get(sealed[_HEAD])
        if wrapping is None or len(sealed) < _LEAST:
            id, at_hand = self.key_id_of(sealed), ", ".join(head[1:].hex() for head in self._keys)
            raise ConfigError(f"master key {id} is missing: add it to those at hand ({at_hand}) to open what it sealed")
        try:
            return aes_key_unwrap(wrapping.reveal(), sealed[_KEY])
        except InvalidUnwrap:
            raise Tampered(
                f"the data key of a sealed secret does not unwrap under master key {self.key_id_of(sealed)}: "
                "it was changed; restore it from a backup"
            ) from None
