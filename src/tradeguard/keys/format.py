"""How the ids and secrets of API keys look that tradeguard makes: prefix, random body, checksum.

    id       tg_<env>_<kind>_ + 24 base62 + 6 base62          public
    secret   tgs_<env>_       + 43 base62 + 6 base62          256 bits

Passphrases, which some dialects have beside the secret, are 24 base62 and nothing else: 142 bits.
The checksum is CRC32 (zlib) over all that stands before it, prefix included, in base62 (0-9 A-Z a-z) with leading
zeros. It finds typos without a look-up and keeps secret scanners from false alarms; it proves nothing.
"""

import re
import secrets
from typing import Any, Final, Literal, get_args
from zlib import crc32

from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret

Env = Literal["live", "test"]
Kind = Literal["hmac", "ed25519", "rsa", "ecdsa", "bearer"]
Scanner = Literal["gitleaks", "github", "precommit"]

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_ID_BODY, _SECRET_BODY, _CHECK = 24, 43, 6  # characters; 62**43 > 2**256, 62**6 > 2**32
_PASSPHRASE: Final = 24  # characters
_OURS: Final = ("tg_", "tgs_")
_ENV: Final = f"(?:{'|'.join(get_args(Env))})"
_KIND: Final = f"(?:{'|'.join(get_args(Kind))})"

# The one source of what our ids and secrets look like. Plain enough for Python, RE2 and Hyperscan; no anchors.
ID_PATTERN: Final = f"tg_{_ENV}_{_KIND}_[0-9A-Za-z]{{{_ID_BODY + _CHECK}}}"
SECRET_PATTERN: Final = f"tgs_{_ENV}_[0-9A-Za-z]{{{_SECRET_BODY + _CHECK}}}"
_ID = re.compile(ID_PATTERN)
_SECRET = re.compile(SECRET_PATTERN)


def make_id(env: Env, kind: Kind) -> str:
    """Return a new public key id.

    Args:
        env: "live" or "test".
        kind: "hmac", "ed25519", "rsa", "ecdsa" or "bearer".

    Raises:
        ConfigError: another env or kind.
    """
    return _make(f"tg_{_one_of(Env, env)}_{_one_of(Kind, kind)}_", _ID_BODY)


def make_secret(env: Env) -> Secret:
    """Return a new secret of 256 bits, to sign with or to send along: the client uses this text as UTF-8.

    Args:
        env: "live" or "test".

    Raises:
        ConfigError: another env.
    """
    return Secret(_make(f"tgs_{_one_of(Env, env)}_", _SECRET_BODY))


def make_passphrase() -> Secret:
    """Return a new passphrase, to send beside the signatures of a dialect that has one."""
    return Secret(_draw(_PASSPHRASE))


def plausible(id: str) -> bool:
    """Tell without a look-up whether an id can be a key's: any foreign one, and ours if its checksum holds.

    One of our secrets in the place of an id is not plausible.
    """
    return not id.startswith(_OURS) or (_ID.fullmatch(id) is not None and _checksum(id[:-_CHECK]) == id[-_CHECK:])


def check_secret(text: str) -> bool:
    """Tell whether a text is a secret of ours without a typo. It says nothing about whether any key has it."""
    return _SECRET.fullmatch(text) is not None and _checksum(text[:-_CHECK]) == text[-_CHECK:]


def scanner_rules(kind: Scanner) -> str:
    """Return the rule that makes a secret scanner find our secrets. Ids are public, and are not looked for.

    Args:
        kind: "gitleaks" (for .gitleaks.toml), "github" (the fields of a custom pattern of GitHub secret scanning) or
            "precommit" (an entry for the `repos` of .pre-commit-config.yaml).

    Raises:
        ConfigError: another scanner.
    """
    return _RULES[_one_of(Scanner, kind)]


# No \b around the pattern: after the n of an escaped line break a secret is one too.
_RULES: Final = {
    "gitleaks": f"""\
[[rules]]
id = "tradeguard-secret"
description = "An API secret of tradeguard: revoke the key, then remove the secret"
regex = '''{SECRET_PATTERN}'''
keywords = ["tgs_"]
""",
    "github": f"""\
Pattern name: tradeguard secret
Secret format: {SECRET_PATTERN}
Before secret: \\A|[^0-9A-Za-z]
After secret: \\z|[^0-9A-Za-z]
""",
    "precommit": f"""\
- repo: local
  hooks:
    - id: tradeguard-secret
      name: no API secret of tradeguard
      language: pygrep
      entry: '{SECRET_PATTERN}'
""",
}


def _one_of(options: Any, value: str) -> str:
    if value not in get_args(options):
        raise ConfigError(f"{value!r} is not known here; use one of {', '.join(get_args(options))}")
    return value


def _make(prefix: str, size: int) -> str:
    text = prefix + _draw(size)
    return text + _checksum(text)


def _draw(size: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(size))  # choice draws anew, so it has no bias


def _checksum(text: str) -> str:
    """Return the CRC32 of a text as 6 base62 digits, two at a time."""
    rest, low = divmod(crc32(text.encode()), 62**2)
    return _PAIRS[rest // 62**2] + _PAIRS[rest % 62**2] + _PAIRS[low]
