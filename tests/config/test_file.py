"""The configuration file: found by one rule, trusted only if nobody else can write it, refused with place and cure."""

import logging
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from config.home import ROOT, as_nobody

from tradeguard import ConfigError
from tradeguard.config import find_config
from tradeguard.config.file import read_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tradeguard.toml"
    path.write_bytes(b"a = 1\n")
    path.chmod(0o600)
    return path


def test_the_argument_beats_the_environment_beats_the_working_directory(tmp_path: Path, file: Path) -> None:
    other, third = tmp_path / "other.toml", tmp_path / "third.toml"
    other.touch()
    third.touch()
    environ = {"TRADEGUARD_CONFIG": str(other)}
    assert find_config(third, environ, tmp_path) == third
    assert find_config(None, environ, tmp_path) == other
    assert find_config(None, {}, tmp_path) == file
    assert find_config("", {"TRADEGUARD_CONFIG": ""}, tmp_path) == file


def test_a_relative_path_is_one_of_the_working_directory(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("tradeguard.toml", {}) == file
    assert find_config(None, {"TRADEGUARD_CONFIG": "tradeguard.toml"}) == file


def test_a_working_directory_that_is_gone_matters_to_relative_paths_only(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert find_config(file, {}) == file
    with pytest.raises(ConfigError, match="no configuration at"):
        find_config(None, {})


def test_the_path_is_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tradeguard")
    find_config(file, {})
    assert [record.getMessage() for record in caplog.records] == [f"configuration: {file} (as given)"]


@pytest.mark.parametrize(
    ("path", "environ", "where"),
    [
        ("no.toml", {}, "no.toml (as given)"),
        (None, {"TRADEGUARD_CONFIG": "no.toml"}, "no.toml (from TRADEGUARD_CONFIG)"),
        (None, {}, "tradeguard.toml (in the working directory)"),
        ("file/below", {}, "below (as given)"),
    ],
)
def test_where_there_is_none_it_says_where_it_looked_and_the_cure(
    tmp_path: Path, path: str | None, environ: dict[str, str], where: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as error:
        find_config(path, environ, tmp_path)
    assert where in str(error.value)
    assert "`tradeguard init`" in str(error.value)


@pytest.mark.parametrize("path", ["a\0b", "x" * 300])
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="as given"):
        find_config(path, {}, tmp_path)


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0)
    try:
        with as_nobody(), pytest.raises(ConfigError, match="Permission denied"):
            find_config(folder / "tradeguard.toml", {}, "/")
    finally:
        folder.chmod(0o700)


def test_a_file_that_may_not_be_read_is_named(file: Path) -> None:
    file.chmod(0)
    with as_nobody(), pytest.raises(ConfigError, match="Permission denied"):
        read_config(file)


def test_a_link_to_a_good_file_is_followed(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    assert read_config(find_config(link, {})) == {"a": 1}


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(ConfigError, match="symbolic links"):
        read_config(find_config(one, {}))


def test_a_link_to_a_file_that_others_may_write_is_refused(tmp_path: Path, file: Path) -> None:
    file.chmod(0o664)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    with pytest.raises(ConfigError, match="chmod go-w"):
        read_config(link)


def test_what_is_no_regular_file_is_refused_and_does_not_hold_the_start_up(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe, 0o600)
    folder.mkdir(mode=0o700)
    for path in (pipe, folder, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="no regular file"):
            read_config(path)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        with pytest.raises(ConfigError, match="configuration s: "):
            read_config(Path("s"))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod go-w {file}"):
        read_config(file)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o644, 0o444])
def test_a_file_that_others_may_read_is_fine(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_config(file) == {"a": 1}


@pytest.mark.skipif(not ROOT, reason="only root may give a file away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 12_345, -1)
    with pytest.raises(ConfigError, match=r"user 12345 owns it .*chown"):
        read_config(file)


@pytest.mark.skipif(not ROOT, reason="only root has files of root")
def test_a_file_of_root_is_read_by_others() -> None:
    with TemporaryDirectory() as folder:  # which others may enter, unlike that of the tests
        path = Path(folder) / "tradeguard.toml"
        path.write_text("a = 1")
        path.chmod(0o644)
        path.parent.chmod(0o755)
        with as_nobody():
            assert read_config(path) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a = 1\nb = \xff\n", r"not UTF-8 \(line 2\)"),
        (bytes(range(256)), "not UTF-8|at line"),
        (b"\x7fELF\x00\x01", r"at line 1, column \d"),
        (b"a = 1\nb == 2\n", "at line 2, column 4"),
        (b"a = 1\na = 2\n", "at line 2, column 6"),
        (b"[a]\nb = 1\n[a]\nb = 2\n", "at line 3, column 3"),
        (b"a = hunter2\n", "at line 1, column 5"),
        (b"a = " + b"1" * 5_000, "too long"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"#" * 2_097_152, "larger than 1 MiB"),
        (b"#" * 1_048_577, "larger than 1 MiB"),
    ],
)
def test_what_is_no_toml_is_refused_with_the_place(file: Path, content: bytes, says: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as error:
        read_config(file)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfa = 1\n", b"a = 1\r\n# second\r\n", b"a = 1", b"a = 1\n" + b"#" * (1_048_576 - 6)]
)
def test_byte_order_mark_line_ends_and_the_largest_size_do_not_matter(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert read_config(file) == {"a": 1}


def test_an_error_of_the_disk_is_told() -> None:
    memory = Path("/proc/self/mem")  # a regular file whose first byte cannot be read
    if not memory.exists():
        pytest.skip("no /proc")
    with pytest.raises(ConfigError, match="Input/output error"):
        read_config(memory)
