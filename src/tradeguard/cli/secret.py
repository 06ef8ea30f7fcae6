"""Secrets on their way in and out: from a file, stdin or the environment, never from an argument; out once."""

import errno
import json
import os
import stat
import sys
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, cast

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.cli.options import FILE, together
from tradeguard.cli.screen import Screen, Stop, Unusable, plain, silence
from tradeguard.core.errors import ConfigError
from tradeguard.keys.issuer import Issued
from tradeguard.keys.text import decode_base64
from tradeguard.signing.material import PAIRS, read_public, signature_sizes
from tradeguard.signing.private import PrivateKey, read_private_key

VARIABLE: Final = "TRADEGUARD_SECRET"
BODY: Final = 10_485_760  # bytes of a body in a file, or of an answer
_LARGEST: Final = 65_536  # bytes of a secret or key in a file
_PROOFS: Final = frozenset(size for algorithm in PAIRS for size in signature_sizes(algorithm))
_MOST: Final = 256  # bytes of a passphrase: it stands in a header

with_secret: Final = together(
    click.option(
        "--secret-file", type=FILE, help="A file with the secret or private key alone, or as `keys new` wrote it."
    ),
    click.option("--secret-stdin", is_flag=True, help="Read it from stdin. Without either: TRADEGUARD_SECRET."),
)
with_secret_out: Final = click.option(
    "--secret-out",
    type=FILE,
    help="Write the secret to this new file (mode 0600) instead of showing it; one with a passphrase as JSON.",
)


with_key: Final = click.option(
    "--key", metavar="ID", help="The id of the key. [default: what a secret file in JSON says]"
)


class Held(NamedTuple):
    """What the holder of a key was given; `id` and `passphrase` only where they stand beside the secret."""

    secret: bytes
    id: str = ""
    passphrase: str | None = None

    def choose_id(self, given: str | None, option: str = "--key") -> str:
        """Return the id of the key: as the command was given it, or as it stands beside the secret.

        Args:
            given: what the command line says, if anything.
            option: where it says so.

        Raises:
            UsageError: nothing says it, or both do and differ.
        """
        if given and self.id and given != self.id:
            held = plain(self.id)
            raise click.UsageError(
                f"{option} names {given}, but the secret is of key {held}: say {option} {held}, or give its secret"
            )
        if not given and not self.id:
            raise click.UsageError(f"say which key it is with {option}: the secret stands there without its id")
        return given or self.id


def read_held(secret_file: str | None, secret_stdin: bool) -> Held:
    """Return the secret that a command was given, with what else `keys new` writes beside it in JSON.

    Raises:
        UsageError: it is JSON without a secret; and see `read_secret`.
        Stop: it cannot be read.
    """
    content = read_secret(secret_file, secret_stdin)
    if content.lstrip().startswith(b"{"):
        with suppress(ValueError, RecursionError):
            return _take_out(cast("dict[str, Any]", json.loads(content)))  # it begins with a brace
    return Held(content)


def _take_out(written: dict[str, Any]) -> Held:
    secret, id, passphrase = (written.get(name) for name in ("secret", "id", "passphrase"))
    if isinstance(secret, str) and isinstance(id, str | None) and isinstance(passphrase, str | None):
        return Held(secret.encode(), id or "", passphrase)
    place = written.get("secret_file")
    cure = f"; it says that the secret is in {place}" if isinstance(place, str) else ""
    raise click.UsageError(
        'this is JSON, and has no secret: give the secret alone, or {"id": ..., "secret": ...} as `keys new '
        f"--secret-out` writes it{cure}"
    )


def read_secret(secret_file: str | None, secret_stdin: bool) -> bytes:
    """Return the secret that a command was given, without the line break at its end.

    Raises:
        UsageError: it was given twice, or not at all.
        Stop: it cannot be read.
    """
    if secret_file is not None and secret_stdin:
        raise click.UsageError("--secret-file or --secret-stdin, one of the two")
    if secret_file is not None:
        content = read_small(secret_file)
    elif secret_stdin:
        content = _read_stdin()
    elif VARIABLE in os.environ:
        content = os.environb[VARIABLE.encode()]
    else:
        raise click.UsageError(f"say where the secret is: --secret-file, --secret-stdin or {VARIABLE}")
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content or len(content) > _LARGEST:
        raise click.UsageError(f"the secret is empty, or longer than {_LARGEST} bytes")
    return content


def read_small(path: str, most: int = _LARGEST) -> bytes:
    """Return the content of a file.

    Args:
        path: of the file.
        most: how long it may be, in bytes.

    Raises:
        Stop: it cannot be read, or is longer.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    if len(content) > most:
        raise Unusable(f"{path}: it is longer than {most} bytes")
    return content


def warn_if_open(descriptor: int, name: str, screen: Screen) -> None:
    """Say that others can read a file that may hold secrets."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        screen.note(f"Warning: others can read {name}; if it holds secrets, chmod 600 it")


def read_passphrase(path: str) -> str:
    """Return the passphrase in a file, without the line break at its end.

    Raises:
        UsageError: it is empty, long or no text.
        Stop: it cannot be read.
    """
    content = read_small(path).removesuffix(b"\n").removesuffix(b"\r")
    if not content or len(content) > _MOST or not content.isascii():
        raise click.UsageError(f"--passphrase-file {path}: a passphrase has 1 to {_MOST} ASCII characters")
    return content.decode()


def make_private_key(content: bytes) -> PrivateKey:
    """Read a private key of Ed25519, RSA or P-256: PEM, or the 32 bytes of Ed25519 in base64.

    Raises:
        UsageError: it is none.
    """
    raw = _decode(content, {32})
    try:
        return read_private_key(content.strip() if raw is None else raw)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def make_ed25519_key(content: bytes) -> Ed25519PrivateKey:
    """Read an Ed25519 private key: PEM, or its 32 bytes in base64.

    Raises:
        UsageError: it is none.
    """
    try:
        key = make_private_key(content)
    except click.UsageError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise click.UsageError("this is no Ed25519 private key: a PEM without password, or 32 bytes in base64")
    return key


def read_public_key(path: str) -> bytes:
    """Read a public key from a file: PEM, or base64 of its DER or of the 32 bytes of Ed25519.

    Returns:
        It in the form in which it is kept.

    Raises:
        UsageError: it is none.
    """
    content = read_small(path).strip()
    value = content if content.startswith(b"-----BEGIN") else _decode(content)
    try:
        if value is None:
            raise ConfigError("a public key is PEM, or base64 of its DER or of the 32 bytes of Ed25519")
        return read_public(value).reveal()
    except ConfigError as error:
        raise click.UsageError(f"{path} is no public key: {error}") from None


def read_proof(path: str) -> bytes:
    """Read a proof of possession from a file: a signature in base64.

    Raises:
        UsageError: it is none.
    """
    proof = _decode(read_small(path).strip(), _PROOFS)
    if proof is None:
        raise click.UsageError(f"{path} is no proof of possession: `tradeguard sign possession` makes one")
    return proof


class Handover:
    """Where new secrets go, each once: to stdout, or to a new file. Enter it before the first key is made.

    Args:
        screen: for the result.
        path: the file; None for stdout.

    Raises:
        Stop: the file exists or cannot be made, or stdout is closed: then no key is made.
    """

    def __init__(self, screen: Screen, path: str | None) -> None:
        self._screen, self._path, self._used, self._file = screen, path, False, -1

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise Unusable(f"--secret-out {self._path}: {error.strerror}; name a new file") from None
        elif sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise Unusable("stdout is closed, so the secret could not be shown; nothing was done")
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._path is not None:
            os.close(self._file)
            if not self._used:
                os.unlink(self._path)

    def give(self, issued: Issued, document: dict[str, Any], lines: list[str], *, many: bool, cure: str) -> None:
        """Show a new key, with its secret where it has one.

        Args:
            issued: the key.
            document: what programs read of it.
            lines: what people do.
            many: several keys come; a file then says which secret is whose.
            cure: what to do where nobody gets to see the secret.

        Raises:
            Stop: the secret cannot be written.
        """
        shown = {
            name: value.reveal().decode()
            for name, value in (("secret", issued.secret), ("passphrase", issued.passphrase))
            if value is not None
        }
        told = "The secret is shown this once. Hand it over safely; nobody can look it up later."
        try:
            if shown and self._path is not None:
                one_text = not many and len(shown) == 1
                self._write(shown["secret"] if one_text else json.dumps({"id": issued.record.id, **shown}))
            elif shown:
                self._screen.show({**document, **shown}, [*lines, *_lay_out(shown), told])
                sys.stdout.flush()
        except (OSError, ValueError) as error:
            silence()
            reason = error.strerror if isinstance(error, OSError) else error
            raise Stop(
                f"key {issued.record.id} was made, but its secret could not be written ({reason}), so nobody has it; "
                f"{cure}"
            ) from None
        if shown and self._path is not None:
            where = [f"{name:<10} in {self._path}" for name in shown]
            self._screen.show({**document, "secret_file": self._path}, [*lines, *where])
        elif not shown:
            self._screen.show(document, lines)

    def _write(self, line: str) -> None:
        data = line.encode() + b"\n"
        if os.write(self._file, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file)
        self._used = True


def _read_stdin() -> bytes:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise click.UsageError("stdin is closed")
    if sys.stdin.isatty():
        text: str = click.prompt("Secret", hide_input=True, err=True)
        return text.encode()
    return sys.stdin.buffer.read(_LARGEST + 2)


def _lay_out(shown: dict[str, str]) -> list[str]:
    """Return secrets as people copy them: a PEM on lines of its own."""
    lines: list[str] = []
    for name, text in shown.items():
        lines += [name, *text.splitlines()] if "\n" in text else [f"{name:<10} {text}"]
    return lines


def _decode(text: bytes, sizes: Collection[int] = ()) -> bytes | None:
    """Read base64 of either alphabet, with or without padding; None unless it is of one of these sizes, if any."""
    try:
        value = decode_base64(text.decode("ascii"))
    except ValueError:
        return None
    return value if not sizes or len(value) in sizes else None
