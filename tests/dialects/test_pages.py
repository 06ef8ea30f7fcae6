"""The pages in docs/dialects: the lines by which a customer points ccxt at a venue are run, and a venue is asked.

Such lines stand below a heading that is the venue's name, in a block ```py that makes a `client` of ccxt, with these
words in them: https://api.example, the-key-id, the secret, the passphrase.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from dialects.families import CODES, EXPECTED
from dialects.served import dialect_of, serving
from dialects.venues import LATEST, VENUES, Terminated

from tradeguard.core.decision import Denial

PAGES = sorted((Path(__file__).parents[2] / "docs" / "dialects").glob("*.md"))
SECTION = re.compile(r"^## (\S+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINES = {
    venue: block
    for page in PAGES
    for venue, text in SECTION.findall(page.read_text("utf-8"))
    for block in BLOCK.findall(text)
    if venue in VENUES and "ccxt." in block
}
"""By venue: the lines of its page."""


@pytest.mark.parametrize("venue", LINES)
def test_the_lines_of_a_page_point_ccxt_at_a_venue_of_ours(venue: str) -> None:
    if VENUES[venue].client != LATEST:
        pytest.skip(f"today's ccxt does not know {venue}")
    with serving(venue) as served:
        key = served.credentials
        words = {
            "https://api.example": served.url.replace("http:", "https:") if VENUES[venue].https else served.url,
            "api.example": served.url.removeprefix("http://"),
            "the-key-id": key.key_id,
            "account-17": key.key_id,  # ccxt knows the ids of Gemini by a word in them
            "the secret": key.secret,
            "the passphrase": key.passphrase,
        }
        names: dict[str, Any] = {}
        text = re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], LINES[venue])
        exec(compile(text, venue, "exec"), names)
        client = names["client"]
        client.session.mount("https://", Terminated())
        method, parameters = VENUES[venue].calls["order"]
        getattr(client, method)(dict(parameters))
    assert [answer.status for answer in served.answers] == [200]


def table_of(page: Path) -> list[tuple[str, str, str, str]]:
    """Of its table of refusals: venue, first cell of the row, what is told there, and what ccxt raises."""
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.replace("`", "").strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = [number for number, row in enumerate(cells) if row[0] == "situation"]
    return [
        (venue, row[0], *cell.rsplit(" ", 1))  # type: ignore[misc]
        for head in heads
        for row in cells[head + 1 : head + 1 + len(SAID)]
        for venue, cell in zip(cells[head][1:], row[1:], strict=True)
    ]


SAID = {
    "any stranger": "bad-signature", "the time is off": "stale", "received before": "replay",
    "a scope is missing": "permission", "another network": "network", "a quota is used up": "rate",
    "halted": "maintenance", "a part is down, nothing was done": "outage", "nobody knows whether it was done": "unsure",
    "no such operation": "unmapped",
}  # fmt: skip
"""What a page calls a situation."""


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "nonces"], ids=lambda page: page.stem)
def test_the_table_of_refusals_of_a_page_is_true(page: Path) -> None:
    """That of nonces.md has rows of its own kind; test_clocked.py holds it against what is asserted."""
    for venue, words, told, kind in table_of(page):
        situation = SAID[words]
        assert EXPECTED[venue][situation] == kind, (venue, words)
        said = dialect_of(venue).refuse.say(Denial({**CODES, "replay": "replay.seen"}[situation]).face)
        inner = [value for value in said.body.values() if isinstance(value, dict)]
        values = [value for members in (said.body, *inner) for value in members.values()]
        assert told in {str(said.status), *map(str, values)}, (venue, words)
