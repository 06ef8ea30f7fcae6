"""Measure sealing beside AES-GCM, interleaved; print both and the ratio.

    python benchmarks/sealing.py [--rounds 40] [--calls 1000]

The figure is the fastest burst. AES-GCM has one key and a random nonce for each secret; sealing has a key for each.
"""

import argparse
import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tradeguard.core.secret import Secret
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer

Work = Callable[[int], Awaitable[None]]
SECRET, CONTEXT = os.urandom(32), b"keys\0tg_live_hmac_0123456789"
SEALER = LocalSealer(MasterKeys([MasterKey(Secret(os.urandom(32)))]))
CIPHER = AESGCM(os.urandom(32))


def encrypt() -> bytes:
    """Encrypt with AES-GCM."""
    nonce = os.urandom(12)
    return nonce + CIPHER.encrypt(nonce, SECRET, CONTEXT)


def decrypt(encrypted: bytes) -> bytes:
    """Decrypt with AES-GCM."""
    return CIPHER.decrypt(encrypted[:12], encrypted[12:], CONTEXT)


async def seal(calls: int) -> None:
    """Seal."""
    for _ in range(calls):
        await SEALER.seal(SECRET, CONTEXT)


async def open_sealed(calls: int) -> None:
    """Open what was sealed."""
    sealed = await SEALER.seal(SECRET, CONTEXT)
    for _ in range(calls):
        await SEALER.open(sealed, CONTEXT)


async def encrypt_plain(calls: int) -> None:
    """Encrypt, as often."""
    for _ in range(calls):
        encrypt()


async def decrypt_plain(calls: int) -> None:
    """Decrypt, as often."""
    encrypted = encrypt()
    for _ in range(calls):
        decrypt(encrypted)


async def time_all(works: Mapping[str, Work], rounds: int, calls: int) -> dict[str, float]:
    """Return the fastest burst of each, in µs per call."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name in random.sample(list(works), len(works)):
            began = time.perf_counter()
            await works[name](calls)
            best[name] = min(best[name], (time.perf_counter() - began) / calls * 1e6)
    return best


async def measure(rounds: int, calls: int) -> dict[str, float]:
    """Return the fastest burst of each, in µs per call."""
    works = {"seal": seal, "open": open_sealed, "AES-GCM encrypt": encrypt_plain, "AES-GCM decrypt": decrypt_plain}
    return await time_all(works, rounds, calls)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=1000)
    options = parser.parse_args()
    best = asyncio.run(measure(options.rounds, options.calls))
    for name, took in best.items():
        print(f"{name:<16} {took:6.2f} µs")
    sealing, plain = best["seal"] + best["open"], best["AES-GCM encrypt"] + best["AES-GCM decrypt"]
    print(f"seal + open {sealing:.2f} µs, AES-GCM {plain:.2f} µs: {sealing / plain:.1f} times; mark: <= 15 µs")


if __name__ == "__main__":
    main()
