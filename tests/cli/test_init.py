"""`tradeguard init`: everything that a venue begins with, or nothing; a master key is never lost or made anew."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cli.venue import Shell, Venue

from tradeguard.config import build_guard, load_settings
from tradeguard.secrets.master import load_master_keys


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_it_makes_a_configuration_that_holds_a_data_directory_and_a_master_key(shell: Shell) -> None:
    made = shell.ask("init")
    config, data, key = shell.folder / "tradeguard.toml", shell.folder / "data", shell.home / "tradeguard" / "here.key"
    assert made == {"config": str(config), "data": str(data), "master_key": f"file:{key}"}
    assert (mode(data), mode(key), mode(key.parent)) == (0o700, 0o600, 0o700)
    assert not mode(config) & 0o022
    assert load_settings(config, {}).data == data
    build_guard(config, {}).close()
    assert shell.run("config", "check").exit_code == 0
    schema = shell.ask("config", "schema")
    assert (shell.folder / "tradeguard.schema.json").read_text().startswith("{")
    assert schema["title"] == "Settings"


def test_the_next_two_commands_that_it_names_work_as_they_stand(shell: Shell) -> None:
    lines = shell.run("init", "--directory", "my venue").stdout.splitlines()
    for line in lines[-2:]:
        words = line.replace("tradeguard", f"{sys.executable} -m tradeguard", 1)
        subprocess.run(words, shell=True, cwd=shell.folder, env=shell.environ, capture_output=True, check=True)
    assert (shell.folder / "my venue" / "data" / "keys.db").exists()
    assert "--config" not in shell.run("init").stdout


def test_nothing_is_overwritten(venue: Venue) -> None:
    before = {path: path.read_bytes() for path in venue.folder.rglob("*") if path.is_file()}
    assert "never overwritten" in venue.refuse("init")
    venue.config.unlink()
    assert f"file:{venue.master_key}" in venue.refuse("init")
    del before[venue.config]
    assert {path: path.read_bytes() for path in venue.folder.rglob("*") if path.is_file()} == before


def test_a_lost_configuration_is_written_again_around_the_old_key(venue: Venue) -> None:
    id, _ = venue.issue()
    venue.config.unlink()
    venue.ask("init", "--master-key", f"file:{venue.master_key}")
    assert venue.ask("keys", "show", id)["state"] == "active"


def test_where_keys_are_sealed_no_new_master_key_is_made(venue: Venue) -> None:
    venue.issue()
    venue.config.unlink()
    kept = venue.master_key.rename(venue.home / "kept.key")
    before = everything(venue.folder.parent)
    assert "restore the old one" in venue.refuse("init")
    assert "restore the old one" in venue.refuse("init", "--master-key", str(venue.home / "other.key"))
    assert everything(venue.folder.parent) == before
    kept.rename(venue.master_key)
    assert venue.run("init", "--master-key", f"file:{venue.master_key}").exit_code == 0


@pytest.mark.parametrize("reference", ["file:/nowhere/at.all", "env:NOT_THERE"])
def test_where_keys_are_sealed_the_master_key_that_is_named_must_open_them(venue: Venue, reference: str) -> None:
    venue.issue()
    venue.config.unlink()
    assert venue.refuse("init", "--master-key", reference)
    other = Venue(venue.folder.parent / "other")
    assert "master key" in venue.refuse("init", "--master-key", f"file:{other.master_key}")
    assert not venue.config.exists()


def test_a_reference_is_written_as_it_is_and_no_key_is_made(shell: Shell) -> None:
    assert shell.ask("init", "--master-key", "env:VENUE_KEY")["master_key"] == "env:VENUE_KEY"
    assert load_settings(shell.folder / "tradeguard.toml", {}).settings.master_key.source == "env:VENUE_KEY"
    assert not shell.home.exists()


def test_a_path_with_odd_characters_survives_the_way_through_toml(shell: Shell) -> None:
    path = shell.folder.parent / 'odd "name" \\ ü' / "master.key"
    shell.ask("init", "--master-key", str(path))
    source = load_settings(shell.folder / "tradeguard.toml", {}).settings.master_key.source
    assert source == f"file:{path}"
    assert len(load_master_keys(source).ids) == 1


@pytest.mark.parametrize("place", ["data/master.key", "data/deep/master.key", "link/master.key"])
def test_the_master_key_never_lies_with_the_data(shell: Shell, place: str) -> None:
    (shell.folder / "data").mkdir(mode=0o700)
    (shell.folder / "link").symlink_to("data")
    assert "lies in the data directory" in shell.refuse("init", "--master-key", place, code=2)
    assert everything(shell.folder) == {"data", "link"}


@pytest.mark.parametrize("name", ["..hidden", "ünï cødé", "%"])
def test_the_folder_gives_the_key_its_name_whatever_it_is_called(shell: Shell, name: str) -> None:
    key = shell.ask("init", "--directory", name)["master_key"]
    assert Path(key.removeprefix("file:")).name.isascii()


def test_without_xdg_the_key_goes_below_the_home(shell: Shell) -> None:
    del shell.environ["XDG_CONFIG_HOME"]
    home = shell.folder.parent
    assert shell.ask("init", HOME=str(home))["master_key"] == f"file:{home}/.config/tradeguard/here.key"


@pytest.mark.parametrize("stumble", ["directory", "key", "config", "schema"])
def test_what_fails_half_way_leaves_nothing_behind(shell: Shell, stumble: str) -> None:
    """A file where a folder should be made, and a folder where a file should; the rest of it was made already."""
    words = ["init"]
    if stumble == "directory":
        (shell.folder / "file").touch()
        words += ["--directory", "file/below"]
    elif stumble == "key":
        (shell.folder / "file").touch()
        words += ["--master-key", "file/below/master.key"]
    elif stumble == "config":
        (shell.folder / "tradeguard.toml").symlink_to("/nowhere/tradeguard.toml")
    else:
        (shell.folder / "data").touch()
    before = everything(shell.folder.parent)
    assert shell.refuse(*words)
    assert everything(shell.folder.parent) == before


def test_a_full_disk_leaves_nothing_behind(shell: Shell) -> None:
    code, _, errors = shell.sh("init", "trap '' XFSZ; ulimit -f 0; {}")
    assert code == 1
    assert "File too large" in errors
    assert everything(shell.folder) == set()
    assert not shell.home.exists()


def test_a_database_of_something_else_is_left_alone(shell: Shell) -> None:
    (shell.folder / "data").mkdir(mode=0o700)
    (shell.folder / "data" / "keys.db").write_bytes(b"not a database, " * 100)
    assert "keys.db" in shell.refuse("init")
    assert everything(shell.folder) == {"data", "data/keys.db"}


def test_a_database_that_has_sealed_nothing_yet_takes_a_new_key(venue: Venue) -> None:
    from tradeguard.backends.sqlite import SQLiteKeys

    venue.config.unlink()
    venue.master_key.unlink()
    SQLiteKeys(venue.data / "keys.db").close()
    assert venue.run("init").exit_code == 0
    assert venue.issue()


@pytest.mark.parametrize("reference", ["fil:/etc/tradeguard/key", "evn:VENUE_KEY", "vault:secret/key", "file:"])
def test_a_reference_with_a_typo_does_not_become_a_file(shell: Shell, reference: str) -> None:
    error = shell.refuse("init", "--master-key", reference, code=2)
    assert "env:NAME" in error
    assert list(shell.folder.iterdir()) == []
    assert shell.ask("init", "--master-key", "./odd:name")["master_key"] == f"file:{shell.folder}/odd:name"
