"""What a customer reads of a row: every spelling of a signature, and parts behind a mark, have words."""

import pytest
from signing.test_explain_own import acme

from tradeguard.signing.encoding import SPELLINGS
from tradeguard.signing.words import list_fields, tell_signed


def test_every_spelling_of_a_signature_has_words_of_its_own() -> None:
    told = {spelling: [*list_fields(acme(algorithms={"hmac-sha256": spelling}))][-1][2] for spelling in SPELLINGS}
    assert len(set(told.values())) == len(SPELLINGS)
    assert told["upper-hex"] == "upper-case hex"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("{?query}", "`?` and the query exactly as sent; nothing if there is none |"),
        (
            "{&query:sorted}",
            "`&` and the query exactly as sent; nothing if there is none; its parameters sorted by name",
        ),
        ("{#text}", "`#` and the body exactly as sent; the query, without its `?`, where there is no body; nothing if"),
    ],
)
def test_a_part_behind_a_mark_is_told_with_it(part: str, words: str) -> None:
    row = acme(message="{time}\n{method}\n{path}\n" + part)
    assert f"| {words}" in "\n".join(tell_signed(row, "api.example"))
