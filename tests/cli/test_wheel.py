"""The wheel in an environment of its own, without the repository: the command line works, and says what is missing."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Place:
    """A virtual environment, and a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder / "work", folder / "env" / "bin"
        self.folder.mkdir()
        kept = ("PATH", "HOME", "LANG")
        self.environ = {name: os.environ[name] for name in kept if name in os.environ}
        self.environ["XDG_CONFIG_HOME"] = str(folder / "settings")

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the installed program."""
        program = str(self.bin / "tradeguard")
        return subprocess.run(
            [program, *words], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Only the wheel is installed anew; what it needs is taken from the environment of the tests, file by file."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "src"):
        (source / name).symlink_to(ROOT / name)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)], check=True, cwd=folder)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    place = Place(folder)
    python = str(place.bin / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)], check=True, cwd=folder)
    site = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def test_the_program_is_the_one_of_the_wheel(place: Place) -> None:
    where = [str(place.bin / "python"), "-c", "import tradeguard.cli; print(tradeguard.cli.__file__)"]
    home = subprocess.check_output(where, cwd=place.folder, env=place.environ, text=True)
    assert Path(home).is_relative_to(place.bin.parent)


def test_a_venue_is_made_and_a_key_issued_rotated_and_revoked(place: Place) -> None:
    for words in (("version",), ("init",), ("config", "check"), ("dialects",), ("operations",)):
        done = place.call(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
    id = json.loads(place.call("keys", "new", "--owner", "acme", "--role", "trader", "--json").stdout)["id"]
    assert json.loads(place.call("keys", "rotate", id, "--json").stdout)["predecessor"] == id
    assert place.call("keys", "revoke", id, "--yes").returncode == 0
    assert len(place.call("keys", "list").stdout.splitlines()) == 3


def test_the_extra_names_what_the_command_line_needs(place: Place) -> None:
    code = "from importlib.metadata import requires; print(*requires('tradeguard'), sep='\\n')"
    wanted = subprocess.check_output(
        [str(place.bin / "python"), "-c", code], cwd=place.folder, env=place.environ, text=True
    )
    extra = [line.split(">=")[0] for line in wanted.splitlines() if line.endswith("; extra == 'cli'")]
    assert sorted(extra) == ["click", "pydantic"]


def test_without_the_extra_it_says_what_to_install(place: Place) -> None:
    isolated = "import sys; sys.path = [p for p in sys.path if not p.endswith('site-packages') or '/env/' in p]; "
    code = isolated + "sys.argv = ['tradeguard', 'version']; from tradeguard.cli import main; main()"
    done = subprocess.run(
        [str(place.bin / "python"), "-c", code],
        cwd=place.folder, env=place.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == 'Error: the command line needs click: pip install "tradeguard[cli]"\n'
