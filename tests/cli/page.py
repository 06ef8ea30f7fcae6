"""The part of docs/cli.md that is made from the program: `python tests/cli/page.py` writes it anew."""

from collections.abc import Iterator
from pathlib import Path

import click

from tradeguard.cli.app import APP, Commands

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
MARK = "<!-- What follows is written by tests/cli/page.py. -->\n"


def sections(group: Commands, parent: click.Context | None = None) -> Iterator[str]:
    """Give the help of a group and of everything below it."""
    with click.Context(
        group, info_name=group.name, parent=parent, **group.context_settings, terminal_width=80
    ) as context:
        if parent is None:
            yield f"```text\n{group.get_help(context)}\n```\n"
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, Commands):
                yield from sections(command, context)
                continue
            settings = {"terminal_width": 80, **context.command.context_settings}
            with click.Context(command, info_name=name, parent=context, **settings) as below:
                yield f"### {below.command_path}\n\n```text\n{command.get_help(below)}\n```\n"


def render() -> str:
    """Return the help of every command, as the page has it."""
    return MARK + "\n" + "\n".join(sections(APP))


if __name__ == "__main__":
    written, _, _ = PAGE.read_text().partition(MARK)
    PAGE.write_text(written + render())
