"""Words: what may be written, and which images are listed for them."""

import pytest

from indexer.errors import InvalidQuery
from indexer.search.words import parse_words


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("surf", ["surf"]),
        ("  surf\tboard ", ["surf", "board"]),
        ('"surf board"', ["surf board"]),
        ('a "surf board" 7', ["a", "surf board", "7"]),
        ('a"b c"d', ["a", "b c", "d"]),
        ('"surf board', ["surf board"]),
        ('"" - & dog "!"', ["dog"]),
        ("surf-board, dog.", ["surf-board,", "dog."]),
        ("caption:dog NOT cat*", ["caption:dog", "NOT", "cat*"]),
        ("\u72ac \u00e9t\u00e9", ["\u72ac", "\u00e9t\u00e9"]),
    ],
)
def test_words_and_phrases_are_read(text: str, phrases: list[str]) -> None:
    assert parse_words(text) == phrases


@pytest.mark.parametrize("text", ["", " ", '"', '""', "!? -", "\U0001f415"])
def test_a_text_without_words_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuery, match="There is no word in") as refused:
        parse_words(text)
    assert "surf board" in refused.value.hint


def test_the_number_of_words_and_their_length_are_limited() -> None:
    assert len(parse_words("dog " * 32)) == 32
    with pytest.raises(InvalidQuery, match="33 words; the limit is 32"):
        parse_words("dog " * 33)
    assert len(parse_words("x" * 1000)) == 1
    with pytest.raises(InvalidQuery, match=r"1,001 characters; the limit is 1,000"):
        parse_words("x" * 1001)
