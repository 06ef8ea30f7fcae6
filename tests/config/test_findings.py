"""Findings: what a configuration leads to is looked at, and nothing is changed by looking."""

from pathlib import Path

import pytest
from config.home import NETWORK, Home, as_nobody

from tradeguard.config import Loaded, check, load_settings
from tradeguard.config.settings import parse
from tradeguard.secrets.master import make_master_key

QUOTAS = '[quotas]\nrequests = "20/second"\n'
MAP = '[roles]\ntrader = ["orders:*"]\n[operations]\n"POST /v1/orders" = "orders:write"\n' + QUOTAS


def findings(home: Home, more: str = MAP, environ: dict[str, str] | None = None) -> list[str]:
    home.write(more)
    return check(load_settings(home.path, environ or {}), environ or {})


def test_a_good_home_has_none_and_stays_as_it_is(home: Home) -> None:
    assert findings(home) == []
    assert list(home.data.iterdir()) == []


def test_a_missing_data_directory_is_found_with_the_cure(home: Home) -> None:
    home.data.rmdir()
    [line] = findings(home)
    assert line.startswith(f"data.directory: {home.data} is no directory; make it with `tradeguard init`")


def test_a_file_in_its_place_is_found(home: Home) -> None:
    home.data.rmdir()
    home.data.touch(mode=0o600)
    assert findings(home)[0].startswith("data.directory: ")


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_master_key_that_others_may_read_is_found(home: Home, mode: int) -> None:
    home.master_key.chmod(mode)
    [line] = findings(home)
    assert line.startswith("master_key.source: ")
    assert str(home.master_key) in line


def test_a_missing_or_wrong_master_key_is_found_and_not_printed(home: Home) -> None:
    home.master_key.write_text("hunter2\n")
    [line] = findings(home)
    assert "hunter2" not in line
    home.master_key.unlink()
    assert findings(home)[0].startswith("master_key.source: ")


def test_a_master_key_in_the_environment_is_read_from_the_one_given(home: Home) -> None:
    text = home.master_key.read_text()
    home.write_all(NETWORK, '[master_key]\nsource = "env:KEY"\n', MAP)
    assert check(load_settings(home.path, {}), {"KEY": text}) == []
    assert check(load_settings(home.path, {}), {})[0].startswith("master_key.source: environment variable KEY")


@pytest.mark.parametrize("via", ["directly", "over a link"])
def test_a_master_key_beside_what_it_seals_is_found(home: Home, via: str, tmp_path: Path) -> None:
    make_master_key(home.data / "master.key")
    place = home.data
    if via == "over a link":
        place = tmp_path / "elsewhere"
        place.symlink_to(home.data)
    home.write_all(NETWORK, f'[master_key]\nsource = "file:{place}/master.key"\n', MAP)
    [line] = check(load_settings(home.path, {}), {})
    assert "keep it elsewhere" in line


@pytest.mark.parametrize("name", ["keys.db", "state.db", "audit.jsonl", "keys.db-wal"])
def test_a_file_of_the_data_directory_that_others_may_write_is_found(home: Home, name: str) -> None:
    (home.data / name).touch()
    (home.data / name).chmod(0o660)
    assert findings(home) == [f"{home.data / name}: others than its owner may write it; chmod go-w"]


def test_folders_that_others_may_write_are_found(home: Home) -> None:
    logs = home.folder / "logs"
    logs.mkdir()
    for folder in (home.folder, home.data, logs):
        folder.chmod(0o770)
    found = findings(home, '[journal]\npath = "logs/audit.jsonl"\n' + MAP)
    assert found == [
        f"{folder}: others than its owner may write it; chmod go-w" for folder in (home.folder, home.data, logs)
    ]


def test_a_journal_without_its_folder_is_found(home: Home) -> None:
    [line] = findings(home, '[journal]\npath = "logs/audit.jsonl"\n' + MAP)
    assert line == f"journal.path: {home.folder / 'logs'} is no directory; make it"


def test_folders_that_this_user_cannot_write_are_found() -> None:
    settings = parse(
        {"master_key": {"source": "env:X"}, "network": {"topology": "direct"}, "data": {"directory": "/usr"}}
    )[0]
    with as_nobody():
        found = check(Loaded(Path("/usr/tradeguard.toml"), settings, {}), {})
    assert "data.directory: this user cannot write into /usr" in found


def test_an_operation_that_nothing_can_satisfy_is_found(home: Home) -> None:
    [line] = findings(home, '[operations]\n"POST /x" = {scopes = "orders:write", assurance = 2}\n' + QUOTAS)
    assert line == "operations: operation 'POST /x' asks for assurance 2; no check gives it"


def test_roles_and_scopes_that_open_nothing_are_found(home: Home) -> None:
    more = """
        [policy]
        scopes = ["mine", "held", "asked"]
        [quotas]
        requests = "20/second"
        [roles]
        trader = ["orders:*"]
        "a b" = ["held"]
        [operations]
        "POST /v1/orders" = "orders:write"
        "GET /x" = "asked"
        """
    assert findings(home, more) == [
        'roles."a b": no operation asks for any of its scopes',
        "policy.scopes: no operation asks for 'mine' and no role gives it",
    ]


def test_an_empty_map_is_found(home: Home) -> None:
    assert findings(home, "") == ["operations: none, so every request is refused"]
