"""The command line: `tradeguard`, or `python -m tradeguard`. Needs `pip install "tradeguard[cli]"`.

Exit codes: 0 it is done; 1 it was refused, or something was found; 2 the command or the configuration is wrong.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from tradeguard.core.errors import ConfigError
from tradeguard.keys.format import SECRET_PATTERN, check_secret


def main() -> NoReturn:
    """Run the command that the process was started with, and exit."""
    arguments = sys.argv[1:]
    try:
        refuse_secrets(arguments)
        app = import_module("tradeguard.cli.app").APP
    except ConfigError as error:
        text = json.dumps({"error": str(error)}) if "--json" in arguments else f"Error: {error}"
        if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stderr.write(f"{text}\n")
        sys.exit(2)
    code = 1
    try:
        app.main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process, also where an application that was looked at has started threads that go on."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if all(thread.daemon for thread in others):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or nobody reads any more
            stream.flush()
    os._exit(code)


def refuse_secrets(arguments: Sequence[str]) -> None:
    """Refuse a command line with a secret of ours in it.

    Raises:
        ConfigError: there is one; the text says what to do now.
    """
    if any(check_secret(found) for argument in arguments for found in re.findall(SECRET_PATTERN, argument)):
        raise ConfigError(
            "there is a secret on the command line: it now stands in the history of the shell, and all users of this "
            "machine could see it. Rotate its key with --compromised, and give secrets by --secret-file, "
            "--secret-stdin or TRADEGUARD_SECRET; nothing was done"
        )
