"""Possession: how the holder of a private key shows that it is theirs, before its public half is let in."""

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import Material
from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.material import PublicKey


def possession_text(owner: str, public_key: bytes) -> bytes:
    """Return what the holder of a private key signs to show that it is theirs.

    Args:
        owner: of the key to be; nobody else can use the signature.
        public_key: as its material reveals it: the 32 bytes of Ed25519, DER of RSA and ECDSA.
    """
    return b"tradeguard proof of possession\n" + owner.encode() + b"\n" + encode_base64url(public_key)


async def check_possession(owner: str, material: Material, proof: bytes) -> None:
    """Hold a proof of possession against a public key.

    Raises:
        ConfigError: it does not hold.
    """
    if not isinstance(material, PublicKey):
        raise ConfigError("only a public key takes a proof of possession")
    if not await material.verify(possession_text(owner, material.reveal()), proof):
        raise ConfigError(
            "the proof of possession does not hold: sign possession_text(owner, public_key) with the private key"
        )
