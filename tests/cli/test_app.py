"""The command line as a whole: secrets in arguments, exit codes, JSON everywhere, closed and full stdout, start."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli.venue import Shell, Venue

from tradeguard.cli import main
from tradeguard.cli.app import APP, TREE, Commands
from tradeguard.keys.format import make_secret

SECRET = make_secret("live").reveal().decode()


def commands(group: Commands = APP, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, groups left out."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, Commands):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())
NAMES = [" ".join(path) for path in COMMANDS]


@pytest.mark.parametrize(
    "words",
    [
        (SECRET,),
        ("keys", "import", "--default", f"secret={SECRET}"),
        ("keys", "show", f"tg_live_{SECRET}"),
        ("sign", "curl", "GET", f"http://127.0.0.1/?key={SECRET}&x"),
        ("--", SECRET),
    ],
)
def test_a_secret_in_an_argument_is_refused_before_anything_else(shell: Shell, words: tuple[str, ...]) -> None:
    code, out, errors = shell.call(*words)
    assert (code, out) == (2, "")
    assert "history of the shell" in errors
    assert SECRET not in errors


def test_a_secret_with_a_typo_is_none_and_an_id_is_public(shell: Shell) -> None:
    wrong = SECRET[:-1] + ("A" if SECRET[-1] != "A" else "B")
    assert "history" not in shell.call("keys", "show", wrong)[2]


def test_the_refusal_of_a_secret_is_json_too(shell: Shell) -> None:
    code, _, errors = shell.call("keys", "show", SECRET, "--json")
    assert code == 2
    assert "history of the shell" in json.loads(errors)["error"]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_json_and_is_told_by_one_line(name: str) -> None:
    command = COMMANDS[tuple(name.split())]
    assert "screen" in {param.name for param in command.params}
    entry = TREE
    for word in name.split():
        line, entry = entry[word]  # type: ignore[assignment]
    assert command.help is not None
    assert command.help.startswith(line.removesuffix("."))


@pytest.mark.parametrize("name", [name for name in NAMES if "config" not in name])
def test_every_option_has_a_sentence(name: str) -> None:
    options = [param for param in COMMANDS[tuple(name.split())].params if isinstance(param, click.Option)]
    assert [option.name for option in options if not option.help or option.help.startswith("[")] == []


def test_every_command_that_needs_a_configuration_says_what_is_missing_in_words_and_as_json(shell: Shell) -> None:
    for words in (("keys", "list"), ("keys", "show", "x"), ("operations",), ("config", "show"), ("why", "x")):
        assert "tradeguard init" in shell.refuse(*words, code=2)


@pytest.mark.parametrize(
    "words", [("kyes",), ("keys", "lst"), ("keys", "new", "--ownr", "x"), ("keys", "new"), ("dialects", "x")]
)
def test_a_wrong_command_is_exit_code_2_with_the_cure(shell: Shell, words: tuple[str, ...]) -> None:
    result = shell.run(*words)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert shell.refuse(*words, code=2)


def test_a_typo_is_told_the_commands_there_are(shell: Shell) -> None:
    assert "there are new, import, export" in shell.refuse("keys", "lst", code=2)


def test_no_command_shows_the_help(shell: Shell) -> None:
    assert "Commands:" in shell.run().output
    assert shell.run("-h").exit_code == 0
    assert "rotate" in shell.run("keys", "--help").stdout


def test_an_empty_environment_is_enough(venue: Venue) -> None:
    environ = {name: value for name, value in venue.environ.items() if name in ("PYTHONPATH", "PATH")}
    assert venue.call("keys", "list", env=environ)[0] == 0


def test_the_environment_names_the_configuration_and_an_argument_beats_it(venue: Venue, tmp_path: Path) -> None:
    assert Shell(tmp_path / "other").run("keys", "list", TRADEGUARD_CONFIG=str(venue.config)).exit_code == 0
    words = ("keys", "list", "--config", str(venue.config))
    assert Shell(tmp_path / "other").run(*words, TRADEGUARD_CONFIG="/nowhere").exit_code == 0


def test_the_secret_of_the_command_line_in_the_environment_is_no_stray_setting(venue: Venue) -> None:
    assert venue.run("config", "check", TRADEGUARD_SECRET="x" * 16).exit_code == 0


def test_version_imports_nothing_heavy(shell: Shell) -> None:
    heavy = "{'pydantic', 'cryptography', 'asyncio', 'sqlite3'} & set(sys.modules)"
    code = f"import sys; from tradeguard.cli.app import APP\ntry: APP.main(['version'])\nfinally: print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=shell.environ, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_version_says_it(shell: Shell) -> None:
    import tradeguard

    assert shell.run("version").stdout.startswith(f"tradeguard {tradeguard.__version__} ")
    assert shell.run("--version").output == shell.run("version").output
    assert shell.ask("version")["tradeguard"] == tradeguard.__version__


@pytest.mark.parametrize("name", ["click", "pydantic"])
def test_a_missing_package_is_one_line_with_the_cure(shell: Shell, tmp_path: Path, name: str) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / f"{name}.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join(filter(None, [str(blocked), shell.environ.get("PYTHONPATH")]))
    code, out, errors = shell.call("config", "schema", env=shell.environ | {"PYTHONPATH": path})
    assert (code, out, errors.count("\n")) == (2, "", 1)
    assert 'pip install "tradeguard[' in errors


def test_a_full_stdout_is_told(venue: Venue) -> None:
    with open("/dev/full", "w") as full:
        code, _, errors = venue.call("config", "schema", stdout=full)
    assert code == 1
    assert errors == "Error: stdout cannot take the output: No space left on device\n"


def test_a_reader_that_has_seen_enough_is_no_error(venue: Venue) -> None:
    process = venue.start("keys", "list")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")


def test_commands_without_any_stdio_end_in_order(venue: Venue) -> None:
    for command in ("keys list", "config check", "version"):
        assert venue.sh(f"{command} <&- >&- 2>&-")[0] == 0
    assert venue.sh(f"{SECRET} <&- >&- 2>&-")[0] == 2


def test_what_main_does_in_a_process_it_does_in_this_one(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code in ((["version"], 0), ([SECRET], 2), (["keys", "show", SECRET, "--json"], 2), (["nothing"], 2)):
        monkeypatch.setattr(sys, "argv", ["tradeguard", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == code
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["config", "schema"], "stdout cannot take the output"),
        (["keys", "new", "--owner", "a", "--role", "trader"], "nobody has it"),
    ],
)
def test_a_full_stdout_is_let_go_of(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setenv("TRADEGUARD_CONFIG", str(venue.config))
        with pytest.raises(SystemExit) as end:
            APP.main(words)
        full.write("what comes now goes nowhere, and stumbles over nothing")
    assert end.value.code == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_only_on_a_terminal_that_takes_it(venue: Venue, no_color: str, coloured: bool) -> None:
    venue.issue()
    ours, theirs = pty.openpty()
    environ = venue.environ | {"NO_COLOR": no_color, "TERM": "xterm"}
    process = venue.start("keys", "list", stdout=theirs, env=environ)
    os.close(theirs)
    text = b""
    while chunk := _read(ours):
        text += chunk
    os.close(ours)
    process.communicate(timeout=60)
    assert (b"\x1b[32mactive" in text) is coloured
    assert "\x1b" not in venue.call("keys", "list")[1]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other side is gone
        return b""


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: Shell, shell_name: str) -> None:
    assert "_TRADEGUARD_COMPLETE" in shell.run("completion", shell_name).stdout
    assert shell.ask("completion", shell_name)["shell"] == shell_name


def test_bash_completes_commands_and_their_options(shell: Shell) -> None:
    def complete(line: str) -> list[str]:
        environ = {"_TRADEGUARD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return shell.call(env=shell.environ | environ)[1].split()

    assert complete("tradeguard ke") == ["plain,keys"]
    assert complete("tradeguard keys re") == ["plain,resume", "plain,revoke", "plain,reseal"]
    assert "plain,--overlap" in complete("tradeguard keys rotate --ov")


def test_the_script_for_bash_is_bash(shell: Shell) -> None:
    script = shell.run("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
