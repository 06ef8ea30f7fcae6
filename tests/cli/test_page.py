"""docs/cli.md: its help texts are those of the program, its commands exist, and its first steps work as written."""

import re
import shlex

import pytest
from cli.page import MARK, PAGE, render
from cli.test_app import COMMANDS
from cli.venue import Shell

from tradeguard.keys.lines import COLUMNS

WRITTEN = PAGE.read_text().partition(MARK)[0]


def test_the_page_has_the_help_of_every_command_word_for_word() -> None:
    assert PAGE.read_text() == WRITTEN + render(), "python tests/cli/page.py writes it anew"


def test_the_help_on_the_page_is_what_the_command_prints(shell: Shell) -> None:
    for path in COMMANDS:
        assert shell.run(*path, "--help").stdout.strip() in PAGE.read_text(), path


def steps() -> list[str]:
    """The command lines of the page's first part, those that go on joined."""
    blocks = re.findall(r"```sh\n(.*?)```", WRITTEN, re.DOTALL)
    return "".join(blocks).replace("\\\n", "").splitlines()


def test_every_command_line_on_the_page_is_one_of_the_program() -> None:
    lines = [line for line in steps() if "tradeguard " in line]
    assert len(lines) > 15
    for line in lines:
        for words in re.findall(r"tradeguard ((?:[a-z]+ ?)+)", line):
            first, *rest = words.split()
            assert (first,) in COMMANDS or (first, *rest[:1]) in COMMANDS, line


def test_the_first_steps_work_as_they_are_written(shell: Shell) -> None:
    block = re.search(r"```sh\n(.*?)```", WRITTEN, re.DOTALL)
    assert block is not None
    for line in block[1].replace("\\\n", "").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["tradeguard"]:
            result = shell.run(*words[1:])
            assert result.exit_code == 0, (line, result.output)


@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_every_column_of_an_import_is_explained(column: str) -> None:
    assert f"`{column}`" in WRITTEN
    command = COMMANDS["keys", "import"].help
    assert command is not None
    assert re.search(rf"\b{column}\b", command)
