"""Words: what may be written, and what a search with them begins with and finds."""

from typing import Any

import numpy as np
import pytest

from indexer.config import Config
from indexer.errors import InvalidQuery, NoTextMatches
from indexer.search import Answer, Box, Example, Query, Searcher, Selection, WordMatches
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


@pytest.fixture(scope="module")
def searcher(captioned_config: Config) -> Searcher:
    return Searcher.open(captioned_config)


def test_a_search_with_words_is_one_with_the_mean_of_those_whose_captions_have_them(
    searcher: Searcher,
) -> None:
    answer = searcher.search(Query(text="dogs"))
    assert answer.query.kind == "text"
    assert answer.words is not None
    assert (answer.words.texts, answer.words.images) == ({"caption": 4}, 2)
    assert list(answer.words.used) == [2, 1]  # three captions of the second image say so
    mean = searcher.collection.features([1, 2]).mean(axis=0)
    np.testing.assert_allclose(answer.vector, mean / np.linalg.norm(mean), atol=1e-6)
    expected = searcher.search_vector(mean.tolist())
    assert [hit.image.id for hit in answer.hits] == [hit.image.id for hit in expected.hits]
    assert len(answer.hits) == 12  # most of which have no such caption, and some have none
    assert not searcher.encoder_is_loaded


def test_a_search_with_words_can_be_filtered_and_moved_by_examples(searcher: Searcher) -> None:
    selection = Selection(filter=['key>="06"'])
    asked = Query(text="bus", positives=[Example(9)], negatives=[Example(2)])
    answer = searcher.search(asked, selection)
    assert answer.words is not None
    assert answer.words.used == [4]  # which does not pass
    assert {hit.image.id for hit in answer.hits} == {*range(7, 13)}
    expected = searcher.search(
        Query(image_id=4, positives=[Example(9)], negatives=[Example(2)]), selection
    )
    np.testing.assert_allclose(answer.vector, expected.vector, atol=1e-6)


def test_words_that_no_caption_has_have_nothing_to_begin_with(searcher: Searcher) -> None:
    with pytest.raises(NoTextMatches, match="No text of an image says old cat") as refused:
        searcher.search(Query(text=" old cat "))
    assert "Try fewer words" in refused.value.hint
    found, other = searcher.search_many(
        [(Query(text="cat"), Selection()), (Query(text="dog"), Selection())]
    )
    assert isinstance(found, NoTextMatches)
    assert isinstance(other, Answer)


@pytest.mark.parametrize(
    "other", [{"image": b""}, {"image_id": 1}, {"vector": [1.0]}, {"crop": Box(0, 0, 1, 1)}]
)
def test_words_are_a_query_of_their_own(searcher: Searcher, other: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuery):
        searcher.search(Query(text="dog", **other))


@pytest.mark.parametrize(
    ("texts", "images", "used", "summary"),
    [
        ({"caption": 12}, 5, 5, "12 captions of 5 images say so; these look like them."),
        ({"caption": 2}, 1, 1, "2 captions of 1 image say so; these look like it."),
        ({"caption": 1}, 1, 1, "1 caption says so; these look like it."),
        ({"title": 1}, 1, 1, "1 text says so; these look like it."),
        (
            {"caption": 1300, "category": 7}, 1234, 20,
            (
                "1,300 captions and 7 other texts of 1,234 images say so; "
                "these look like the 20 best of them."
            ),
        ),
        (
            {"category": 1, "caption": 1}, 1, 1,
            "1 caption and 1 other text of 1 image say so; these look like it.",
        ),
    ],
)  # fmt: skip
def test_the_answer_says_what_it_is(
    texts: dict[str, int], images: int, used: int, summary: str
) -> None:
    assert WordMatches("dog", texts, images, range(used)).summary == summary


@pytest.mark.parametrize(
    ("fields", "has_texts"),
    [([], False), (["camera", "captured", "lens"], False), (["camera", "caption"], True)],
)
def test_what_cameras_note_is_no_caption(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, fields: list[str], has_texts: bool
) -> None:
    words = searcher.collection._version.catalogue.metadata.words
    monkeypatch.setitem(words.__dict__, "fields", fields)
    assert searcher.collection.has_texts is has_texts
