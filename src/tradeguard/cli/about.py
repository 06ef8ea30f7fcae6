"""`tradeguard version | completion`: of the program itself. It imports nothing heavy."""

import platform
from typing import Final

import click
from click.shell_completion import get_completion_class

import tradeguard
from tradeguard.cli.options import with_json
from tradeguard.cli.screen import Screen

_SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_TRADEGUARD_COMPLETE"


@click.command("version")
@with_json
def version(screen: Screen) -> None:
    """Show the version."""
    known = {"tradeguard": tradeguard.__version__, "python": platform.python_version()}
    screen.show(known, f"tradeguard {known['tradeguard']} (Python {known['python']})")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@with_json
@click.pass_context
def completion(context: click.Context, screen: Screen, shell: str) -> None:
    """Print the script that completes commands in a shell.

    Bash: put `eval "$(tradeguard completion bash)"` into ~/.bashrc; zsh: the like into ~/.zshrc; fish: write it to
    ~/.config/fish/completions/tradeguard.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(context.find_root().command, {}, "tradeguard", _VARIABLE).source()
    screen.show({"shell": shell, "script": script}, script)
