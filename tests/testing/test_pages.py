"""The pages about testing: what they show is run by pytest, as a reader would run it."""

import re
from pathlib import Path

import pytest
from testing.page import counts

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "testing.md": r"1\d\d passed, \d+ skipped",
    "howto/custom-check.md": "1 passed",
    "howto/custom-backend.md": r"\d\d passed, 2 skipped",
}


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_pass(page: str, tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL))
    assert re.fullmatch(PAGES[page], counts(tmp_path, code))
