"""README and docs: their Python runs, their tables are true."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

from tradeguard.core import decision
from tradeguard.core.decision import CATALOGUE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
CELL = re.compile(r"(?<!\\)\|")


def rows(page: str) -> list[list[str]]:
    """The rows of all tables of a page, heads left out."""
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in CELL.split(line)[1:-1]] for line in lines]
    return [row for row, after in zip(table, [*table[1:], []], strict=True) if "---" not in "".join(row + after)]


def names_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.fixture
def forgotten() -> Iterator[None]:
    """A code that is a page's own is unknown to other tests: it is taken back."""
    before, files = set(CATALOGUE), {path.stem for path in (ROOT / "src").glob("**/*.py")}
    yield
    for code in set(CATALOGUE) - before:
        if code.partition(".")[0] not in files:
            del decision._catalogue[code]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in Sybil([PythonCodeBlockParser()]).parse(page):
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_points_to_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:tests|examples|benchmarks|fuzz)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:core|checks|signing|adapters|audit|backends)/\w+\.py)`", text):
        assert (ROOT / "src/tradeguard" / path).exists(), path


def test_the_page_of_refusals_is_the_catalogue() -> None:
    for path in (ROOT / "src").glob("**/*.py"):
        if "= register(" in path.read_text():
            import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    files = {path.stem for path in (ROOT / "src").glob("**/*.py")}
    ours = {code: entry for code, entry in CATALOGUE.items() if code.partition(".")[0] in files}
    page = {code.strip("`"): cells for code, *cells in rows("docs/denials.md")}
    assert sorted(page) == sorted(ours)
    for code, entry in ours.items():
        assert page[code] == [str(entry.status), f"`{entry.public}`", str(entry.executed).lower(), entry.hint], code


def test_every_threat_names_a_refusal_and_a_test_that_exist() -> None:
    table = rows("docs/threats.md")
    assert len(table) > 20
    for threat, codes, test in table:
        for code in re.findall(r"`([\w.]+)`", codes):
            assert code in CATALOGUE, (threat, code)
        path, _, name = test.strip("`").partition("::")
        assert name in names_of(ROOT / path), (threat, test)
