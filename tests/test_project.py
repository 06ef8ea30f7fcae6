"""The project holds together: what is installed, what the public face names, where each denial code stands."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

import tradeguard

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "tradeguard"
HEAVY = {
    "aiohttp", "asyncio", "cryptography", "fastapi", "flask", "jwt", "limits", "pydantic", "pyotp", "ssl", "starlette",
}  # fmt: skip
CORE = {"cryptography", "limits", "pyjwt", "pyotp", "typing-extensions"}

installed_only = pytest.mark.skipif(
    "src" in {Path(entry).name for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)},
    reason="PYTHONPATH names src: the installed wheel is what `make test` tests",
)


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def files_under(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a package, by its path in it."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@installed_only
def test_the_tests_run_against_the_installed_wheel() -> None:
    home = Path(tradeguard.__file__).parent
    assert home == Path(sysconfig.get_path("purelib")) / "tradeguard"
    assert files_under(home) == files_under(SRC)


@installed_only
def test_the_wheel_says_that_it_is_typed_and_carries_its_licence() -> None:
    names = {path.as_posix() for path in metadata.files("tradeguard") or ()}
    assert "tradeguard/py.typed" in names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert metadata.version("tradeguard") == tradeguard.__version__


def test_the_core_needs_five_packages_and_gives_no_ceilings() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [re.fullmatch(r"([a-z-]+)>=[0-9.]+", line) for line in project["dependencies"]]
    assert {match[1] for match in wanted if match} == CORE
    assert len(wanted) == len(CORE)
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    assert [line for line in extras if not re.fullmatch(r"[a-z0-9-]+(\[[a-z,]+\])?>=[0-9.]+", line)] == []


def test_importing_tradeguard_loads_nothing_heavy() -> None:
    code = "import sys; had = set(sys.modules); import tradeguard; print(*(set(sys.modules) - had))"
    loaded = {name.partition(".")[0] for name in run_python(code).split()}
    assert "tradeguard" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("name", dir(tradeguard))
def test_a_public_name_is_there(name: str) -> None:
    value = getattr(tradeguard, name)
    assert getattr(value, "__name__", name) == name


def test_the_type_checkers_see_the_names_that_the_lazy_face_hands_on() -> None:
    tree = ast.parse((SRC / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = [(alias.name, alias.asname, node.module) for node in imports for alias in node.names]
    assert sorted(seen) == [(name, name, f"tradeguard.{home}") for name, home in sorted(tradeguard._HOMES.items())]


def registered() -> list[tuple[str, str]]:
    """Return (code, file) of every call of `register` in src that names its code."""
    return [
        (str(node.args[0].value), path.stem)
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "register"
        and isinstance(node.args[0], ast.Constant)
    ]


CODES = sorted({code for code, _ in registered()})


def test_each_code_is_registered_once_and_in_the_file_it_is_named_after() -> None:
    assert [(code, file) for code, file in registered() if code.partition(".")[0] != file] == []
    assert [code for code, times in Counter(code for code, _ in registered()).items() if times > 1] == []


def test_the_catalogue_has_these_codes_and_no_others() -> None:
    code = """
import importlib, pkgutil, tradeguard
for module in pkgutil.walk_packages(tradeguard.__path__, "tradeguard."):
    importlib.import_module(module.name)
from tradeguard.core.decision import CATALOGUE
print(*sorted(CATALOGUE))
"""
    assert run_python(code).split() == CODES


def test_each_code_is_in_a_test() -> None:
    others = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    text = "\n".join(path.read_text() for path in others)
    assert [code for code in CODES if f'"{code}"' not in text] == []


def test_each_code_has_its_row_in_the_documentation() -> None:
    page = (ROOT / "docs" / "denials.md").read_text()
    assert sorted(re.findall(r"^\| *`([^`]+)` *\|", page, re.MULTILINE)) == CODES
