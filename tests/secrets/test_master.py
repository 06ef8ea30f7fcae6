"""Master keys are read only from where nobody else can put or read them, and no error ever holds one."""

import os
import resource
import stat
import subprocess
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret
from tradeguard.secrets.master import MAX_FILE_BYTES, MasterKey, MasterKeys, load_master_keys, make_master_key

RAW = [bytes([number]) * 32 for number in (1, 2, 3)]
LINES = [urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in RAW]
IDS = [HKDF(SHA256(), 4, None, b"tradeguard master key id").derive(raw).hex() for raw in RAW]
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def refused(reference: str, **environ: str) -> str:
    """Return the text of the refusal, which holds no key."""
    with pytest.raises(ConfigError) as caught:
        load_master_keys(reference, environ)
    text = str(caught.value)
    assert not any(line in text or line[4:20] in text for line in LINES)
    return text


def of_text(text: str) -> MasterKeys:
    return load_master_keys("env:KEYS", {"KEYS": text})


@contextmanager
def full_disk() -> Iterator[None]:
    """The system takes no more than 20 bytes of any file: as on a full disk, a part of a write succeeds.

    For one call only: what pytest prints may go into a file, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_id_is_computed_from_its_key() -> None:
    assert [MasterKey(Secret(raw)).id for raw in RAW] == IDS
    assert len(set(IDS)) == 3
    assert all(len(id) == 8 for id in IDS)


def test_keys_for_different_purposes_tell_nothing_of_each_other() -> None:
    key = MasterKey(Secret(RAW[0]))
    derived = {key.derive(purpose).reveal() for purpose in (b"one", b"two")} | {RAW[0]}
    assert len(derived) == 3
    assert len(key.derive(b"one", 64)) == 64


def test_the_first_key_is_primary_and_every_one_is_found() -> None:
    keys = of_text("\n".join(LINES))
    assert (keys.primary.id, keys.ids) == (IDS[0], tuple(IDS))
    assert [key.secret.reveal() for id in IDS if (key := keys.find(id))] == RAW
    assert keys.find("00000000") is None


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_master_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ConfigError, match="32 random bytes"):
        MasterKey(Secret(b"k" * size))


def test_a_master_key_of_zeros_is_refused() -> None:
    with pytest.raises(ConfigError, match="not all zero"):
        MasterKey(Secret(bytes(32)))
    assert "KEYS, line 2: a master key is 32 random bytes" in refused("env:KEYS", KEYS=f"{LINES[0]}\n{'A' * 43}")


def test_no_key_at_all_is_refused() -> None:
    for text in ("", "\n\n", "# a comment\n"):
        assert refused("env:KEYS", KEYS=text) == (
            "environment variable KEYS: there is no master key; make one with make_master_key"
        )


def test_a_key_that_stands_there_twice_is_refused() -> None:
    assert f"two master keys have the id {IDS[1]}" in refused("env:KEYS", KEYS="\n".join([*LINES, LINES[1]]))


def test_two_keys_whose_ids_collide_are_refused() -> None:
    """32 bits of id: found by search in a second; else the one would be asked to open what the other sealed."""
    keys = [MasterKey(Secret(bytes.fromhex(number).rjust(32, b"\7"))) for number in ("00011305", "00017406")]
    assert keys[0].secret != keys[1].secret
    with pytest.raises(ConfigError, match=f"two master keys have the id {keys[0].id}"):
        MasterKeys(keys)


def test_comments_and_empty_lines_are_skipped_and_the_order_stays() -> None:
    keys = of_text(f"# new, since March\n{LINES[1]}\n\n#{LINES[2]}\n{LINES[0]}")
    assert keys.ids == (IDS[1], IDS[0])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(LINES[1] + "=", id="padded"),
        pytest.param(LINES[1] + " ", id="a space behind"),
        pytest.param(" " + LINES[1], id="a space in front"),
        pytest.param(LINES[1] + "\r", id="a line end of Windows"),
        pytest.param(LINES[1][:-1], id="a character short"),
        pytest.param(LINES[1] + "A", id="a character long"),
        pytest.param(LINES[1] + LINES[2], id="two in a line"),
        pytest.param(LINES[1] + " # old", id="a comment behind"),
        pytest.param(LINES[1][:-1] + "J", id="unused bits that are set"),
        pytest.param(LINES[1][:-1] + "+", id="the other base64"),
        pytest.param(LINES[1][:-1] + "é", id="not ASCII"),
        pytest.param(LINES[1][:-1] + "\0", id="a zero"),
        pytest.param(LINES[1][:-1] + "\udc80", id="not UTF-8"),
        pytest.param(RAW[1].hex(), id="hex"),
        pytest.param(" ", id="a space alone"),
        pytest.param(f"{IDS[1]}: {LINES[1]}", id="an id in front"),
    ],
)
def test_a_line_in_any_other_form_is_refused_by_its_number(line: str) -> None:
    text = refused("env:KEYS", KEYS=f"# keys\n{LINES[0]}\n{line}\n{LINES[2]}")
    assert text.startswith("environment variable KEYS, line 3: a master key is 43 characters of base64url")


@given(st.text(max_size=120))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        assert of_text(text).ids
    except ConfigError as error:
        assert len(text) < 8 or text not in str(error)


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param("", id="nothing"),
        pytest.param("vault:secret/keys", id="a holder that is not there yet"),
        pytest.param("/etc/keys", id="a path alone"),
        pytest.param("file:keys", id="a relative path"),
        pytest.param("file:", id="no path"),
        pytest.param("mount:run/secrets/keys", id="a relative mount"),
        pytest.param("file:/etc/ke\0ys", id="a zero in the path"),
        pytest.param("env:", id="no variable"),
        pytest.param("env:A=B", id="no name of a variable"),
        pytest.param("systemd:", id="no credential"),
        pytest.param("systemd:../keys", id="a way out of the folder"),
        pytest.param("systemd:/etc/keys", id="another folder"),
        pytest.param("FILE:/etc/keys", id="upper case"),
        pytest.param(" file:/etc/keys", id="a space"),
        pytest.param(LINES[0], id="the key itself"),
        pytest.param(f"key:{LINES[0]}", id="the key itself, with a word in front"),
        pytest.param(f"env:{LINES[0]}", id="the key itself as a variable"),
        pytest.param(f"systemd:{LINES[0]}", id="the key itself as a credential"),
        pytest.param(f"file:{LINES[0]}", id="the key itself as a file"),
    ],
)
def test_any_other_reference_is_refused_with_the_four_forms(reference: str) -> None:
    text = refused(reference, CREDENTIALS_DIRECTORY="/nowhere")
    assert all(form in text for form in ("file:/path", "env:NAME", "mount:/path", "systemd:NAME"))


def test_a_variable_that_is_not_set_is_named() -> None:
    assert "environment variable KEYS is not set" in refused("env:KEYS", OTHER=LINES[0])


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEGUARD_TEST_KEYS", LINES[0])
    assert load_master_keys("env:TRADEGUARD_TEST_KEYS").ids == (IDS[0],)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_for_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "keys", "\n".join(LINES), mode)
    assert load_master_keys(f"file:{path}").ids == tuple(IDS)


@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_a_file_with_any_permission_for_others_is_refused(tmp_path: Path, bit: int) -> None:
    path = write(tmp_path / "keys", LINES[0], 0o600 | bit)
    text = refused(f"file:{path}")
    assert f"{path} has mode {0o600 | bit:04o}" in text
    assert "chmod 600" in text


@only_root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "keys", LINES[0])
    os.chown(path, 12345, -1)
    assert f"{path} is owned by user 12345" in refused(f"file:{path}")
    assert load_master_keys(f"mount:{path}").ids == (IDS[0],)  # in a user namespace the owner means nothing


@only_root
def test_a_user_reads_an_own_file_and_none_of_root() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = write(Path(folder) / "keys", LINES[0])
        os.seteuid(12345)
        try:
            assert "Permission denied; chown it to the user who runs this" in refused(f"file:{path}")
            os.seteuid(0)
            os.chown(path, 12345, -1)
            os.seteuid(12345)
            assert load_master_keys(f"file:{path}").ids == (IDS[0],)
        finally:
            os.seteuid(0)


def test_a_symlink_is_refused_as_a_file_and_followed_as_a_mount(tmp_path: Path) -> None:
    write(tmp_path / "keys", LINES[0])
    link = tmp_path / "link"
    link.symlink_to("keys")
    assert "is a symlink; name the file itself, or use mount:" in refused(f"file:{link}")
    assert load_master_keys(f"mount:{link}").ids == (IDS[0],)


def test_a_secret_as_kubernetes_mounts_it_is_read(tmp_path: Path) -> None:
    """A symlink to a symlinked folder, files of mode 0440; the swap of the folder is how an update arrives."""
    for number, name in enumerate(("..2026_01", "..2026_02")):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "keys", LINES[number], 0o440)
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "keys").symlink_to("..data/keys")
    assert load_master_keys(f"mount:{tmp_path}/keys").ids == (IDS[0],)
    (tmp_path / "..new").symlink_to("..2026_02")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert load_master_keys(f"mount:{tmp_path}/keys").ids == (IDS[1],)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o600, 0o644])
def test_a_mount_and_a_credential_may_be_read_by_others(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "keys", LINES[0], mode)
    assert load_master_keys(f"mount:{path}").ids == (IDS[0],)
    assert load_master_keys("systemd:keys", {"CREDENTIALS_DIRECTORY": str(tmp_path)}).ids == (IDS[0],)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_mount_and_a_credential_may_not_be_written_by_others(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "keys", LINES[0], mode)
    for reference in (f"mount:{path}", "systemd:keys"):
        assert f"has mode {mode:04o}" in refused(reference, CREDENTIALS_DIRECTORY=str(tmp_path))


def test_a_credential_without_systemd_says_what_is_missing() -> None:
    assert "LoadCredential=keys:/path" in refused("systemd:keys")
    assert "LoadCredential=keys:/path" in refused("systemd:keys", CREDENTIALS_DIRECTORY="")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_credential_is_no_folder(tmp_path: Path, name: str) -> None:
    assert "LoadCredential=" in refused(f"systemd:{name}", CREDENTIALS_DIRECTORY=str(tmp_path))


def test_a_credential_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "keys", LINES[0])
    (tmp_path / "link").symlink_to("keys")
    assert "is a symlink" in refused("systemd:link", CREDENTIALS_DIRECTORY=str(tmp_path))


@pytest.mark.parametrize("kind", ["file", "mount"])
def test_what_is_no_regular_file_is_refused_and_a_pipe_does_not_hold_us(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "no regular file" in refused(f"{kind}:{tmp_path}/pipe")
    assert "no regular file" in refused(f"{kind}:/dev/null")
    assert "directory" in refused(f"{kind}:{tmp_path}")
    assert "No such file" in refused(f"{kind}:{tmp_path}/nothing")


def test_a_file_of_more_than_64_kib_is_refused(tmp_path: Path) -> None:
    fill = MAX_FILE_BYTES - len(LINES[0]) - 2
    path = write(tmp_path / "keys", f"{LINES[0]}\n#{'x' * fill}")
    assert load_master_keys(f"file:{path}").ids == (IDS[0],)
    write(path, f"{LINES[0]}\n#{'x' * (fill + 1)}")
    assert "more than 65536 bytes" in refused(f"file:{path}")


def test_a_made_key_is_random_its_file_private_and_it_loads(tmp_path: Path) -> None:
    paths = [tmp_path / "made" / "deep" / name for name in ("one", "two")]
    ids = [make_master_key(path) for path in paths]
    assert [load_master_keys(f"file:{path}").ids for path in paths] == [(id,) for id in ids]
    assert ids[0] != ids[1]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    folders = (tmp_path / "made", tmp_path / "made" / "deep")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]


def test_folders_that_are_there_keep_their_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    make_master_key(str(tmp_path / "keys"))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_a_master_key_is_never_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    make_master_key(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists: a master key is never made anew"):
        make_master_key(path)
    assert path.read_bytes() == before


def test_a_symlink_is_not_written_through(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="never made anew"):
        make_master_key(link)
    assert os.listdir(tmp_path) == ["link"]


def test_a_full_disk_leaves_no_part_of_a_key(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(ConfigError, match="File too large; name a path that can be written"):
        make_master_key(tmp_path / "keys")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_hold_a_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for folder in ("file", "nowhere"):
        with pytest.raises(ConfigError, match=f"{folder}/keys: .*name a path that can be written"):
            make_master_key(tmp_path / folder / "keys")
    assert sorted(os.listdir(tmp_path)) == ["file", "nowhere"]


def test_of_many_who_make_the_same_key_one_makes_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tradeguard.core.errors import ConfigError\n"
        "from tradeguard.secrets.master import make_master_key\n"
        "try: print(make_master_key(sys.argv[1]))\nexcept ConfigError: print('exists')"
    )
    path = tmp_path / "new" / "keys"
    several = [subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) for _ in range(4)]
    said = sorted(process.communicate(timeout=60)[0].decode().strip() for process in several)
    assert said == sorted([load_master_keys(f"file:{path}").ids[0], "exists", "exists", "exists"])
