"""Kept: the last signed records in a file of this machine, so that a restart does not forget what the store has lost.

The file is as good as the machine: what stands in it is not verified again, since an operator's key may have ended.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from tradeguard.core.errors import ConfigError
from tradeguard.core.halt import Record, parse_record


def load(path: Path) -> dict[str, Record]:
    """Return the records of a file by scope; none where there is no file.

    Raises:
        ConfigError: it is damaged, or cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; the halts that this node holds stand in it") from None
    try:
        records = [parse_record(line) for line in lines]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; look at `tradeguard halt list`, then remove the file") from None
    return {record.proposal.scope: record for record in records}


def store(path: Path, held: Mapping[str, Record]) -> None:
    """Put records into a file; of each scope the later one stays, as other processes may write it too.

    Raises:
        ConfigError: what is there is damaged.
        OSError: it cannot be written.
    """
    records = load(path)
    for scope, record in held.items():
        before = records.get(scope)
        if before is None or before.proposal.number < record.proposal.number:
            records[scope] = record
    new = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(record.encode() + b"\n" for record in records.values()))
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
