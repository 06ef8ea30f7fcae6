"""`manage.py tradeguard ...`: the command line, with the configuration that the settings name."""

import os
import sys
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand

from tradeguard.adapters.django.setting import read_setting


class Command(BaseCommand):
    """The command."""

    help = "API keys, policy and record: what `tradeguard` does, for the configuration of this project."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand everything behind `tradeguard` to the command line; it exits with its own code."""
        self.handle(words=argv[2:])

    def handle(self, *_: Any, words: list[str], **__: Any) -> None:
        """Run a command of the command line."""
        config = read_setting().get("config")
        if isinstance(config, str | os.PathLike):
            os.environ.setdefault("TRADEGUARD_CONFIG", os.fspath(config))
        sys.argv = ["tradeguard", *words]
        import_module("tradeguard.cli").main()  # by name: the command line stands above the adapters
