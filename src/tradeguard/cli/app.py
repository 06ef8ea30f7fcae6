"""The tree of commands: each with its line in `--help` and its file, which is imported when it is used."""

import errno
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from tradeguard.core.errors import ConfigError, TradeguardError

try:
    import click
    from click.shell_completion import CompletionItem
except ImportError as error:
    raise ConfigError('the command line needs click: pip install "tradeguard[cli]"') from error

from tradeguard.cli.screen import Notes, Unusable, silence, write_error

Tree = Mapping[str, "tuple[str, str | Tree]"]
TREE: Final[Tree] = {
    "init": ("Write a configuration, a data directory and a master key.", "init"),
    "keys": (
        "Issue, import, look at and change API keys.",
        {
            "new": ("Issue a key and show its secret, once.", "issue"),
            "import": ("Take over the keys of an existing venue.", "intake"),
            "export": ("Write out all keys, never their secrets.", "look"),
            "list": ("List keys.", "look"),
            "show": ("Show all that is known of a key, but its secret.", "look"),
            "activate": ("Make a pending key usable.", "change"),
            "rotate": ("Replace a key by a new one that may do the same.", "change"),
            "suspend": ("Stop a key for a while.", "change"),
            "resume": ("End the suspension of a key.", "change"),
            "expire": ("Give a key an end, or an earlier one.", "change"),
            "revoke": ("End a key for good.", "change"),
            "reseal": ("Put all secrets under the first master key.", "reseal"),
            "patterns": ("Print a rule that makes a secret scanner find secrets.", "look"),
        },
    ),
    "operations": (
        "Look at the map: what each request takes.",
        {
            "show": ("Show what each request takes, or which row matches one.", "policy"),
            "check": ("Find routes without a row, and rows without a route.", "routes"),
        },
    ),
    "coexist": ("Show who still comes by the host's own authentication.", "coexist"),
    "dialects": ("Show how requests can be signed, and what that covers.", "dialects"),
    "config": (
        "Look at the configuration.",
        {
            "show": ("Show every value and where it comes from.", "policy"),
            "check": ("Find what is wrong or doubtful.", "policy"),
            "schema": ("Print the JSON Schema of the file, for editors.", "policy"),
        },
    ),
    "sign": (
        "Sign as a client does.",
        {
            "curl": ("Print a curl command that sends a signed request.", "sign"),
            "possession": ("Prove the possession of a private key.", "sign"),
        },
    ),
    "curl": ("Send a signed request and show the answer.", "sign"),
    "halt": (
        "Stop trading, and let it go on.",
        {
            "set": ("Stop something by your signature alone.", "halt"),
            "propose": ("Sign something that takes two operators.", "halt"),
            "confirm": ("Sign what another operator has proposed.", "halt"),
            "list": ("Show what stands, who has signed it and which nodes obey.", "halt"),
        },
    ),
    "docs": (
        "Write documentation for others.",
        {"customer": ("Write the page that tells customers how to sign.", "customer")},
    ),
    "explain": ("Find where a client's string-to-sign leaves the server's.", "explain"),
    "why": ("Explain what became of a request, from the journal.", "why"),
    "version": ("Show the version.", "about"),
    "completion": ("Print the script that completes commands in a shell.", "about"),
}
_USUAL: Final = {"operations": "show"}
"""The command of a group that is meant where none is named: `tradeguard operations GET /v1/time`."""


class Commands(click.Group):
    """A group whose commands are imported when they are used.

    Args:
        name: of the group.
        tree: its part of the tree.
        help: its line.
        more: for click.
    """

    def __init__(self, name: str, tree: Tree, help: str, **more: Any) -> None:
        super().__init__(name, help=help, context_settings={"help_option_names": ["-h", "--help"]}, **more)
        self._tree, self._path = tree, () if name == "tradeguard" else (name,)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; where the group has a usual command and none is named, it is that one."""
        usual = _USUAL.get(self.name or "")
        if usual is not None and (not args or args[0] not in (*self._tree, *ctx.help_option_names)):
            args = [usual, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the tree."""
        return list(self._tree)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command.

        Raises:
            Stop: a package that it needs is missing.
        """
        if cmd_name not in self._tree:
            return None
        line, where = self._tree[cmd_name]
        if isinstance(where, str):
            return _load(where, "_".join((*self._path, cmd_name)))
        return Commands(cmd_name, where, line)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; a typo is told the nearest right name."""
        if args and args[0] not in self._tree and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}; there are {', '.join(self._tree)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (line, _) in self._tree.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing any."""
        found = [(name, line) for name, (line, _) in self._tree.items() if name.startswith(incomplete)]
        items = [CompletionItem(name, help=line) for name, line in found]
        return items + click.Command.shell_complete(self, ctx, incomplete)


def _load(home: str, name: str) -> click.Command:
    try:
        module = import_module(f"tradeguard.cli.{home}")
    except ConfigError as error:
        raise Unusable(str(error)) from error
    command: click.Command = getattr(module, name)
    return command


class App(Commands):
    """The whole command line: one place where errors become words and exit codes."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Run a command and exit.

        Args:
            args: what stands behind `tradeguard`.
            extra: for click.

        Raises:
            SystemExit: always, with 0, 1 or 2.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        extra |= {"standalone_mode": False, "prog_name": "tradeguard"}
        with Notes(as_json="--json" in arguments) as notes:
            code = self._run(arguments, extra | {"obj": notes})
        sys.exit(max(code, notes.alarms > 0))

    def _run(self, arguments: list[str], extra: dict[str, Any]) -> int:
        as_json = "--json" in arguments
        try:
            code = super().main(arguments, **extra)
            if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
                sys.stdout.flush()
        except click.Abort:
            write_error("stopped", as_json=as_json)
        except click.ClickException as error:
            _explain(error, as_json=as_json)
            return error.exit_code
        except TradeguardError as error:
            write_error(str(error), as_json=as_json)
        except OSError as error:
            silence()
            if error.errno != errno.EPIPE:  # whoever reads has seen enough
                write_error(f"stdout cannot take the output: {error.strerror}", as_json=as_json)
        else:
            return code if isinstance(code, int) else 0
        return 1


def _explain(error: click.ClickException, *, as_json: bool) -> None:
    if as_json or not isinstance(error, click.UsageError):
        write_error(error.format_message(), as_json=as_json)
    else:
        error.show()


def _show_version(context: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.exit(APP.main(["version"]))


_VERSION: Final = click.Option(
    ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
APP: Final = App(
    "tradeguard", TREE, "API keys, policy and record of a venue that tradeguard guards.", params=[_VERSION]
)
