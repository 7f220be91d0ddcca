"""Pages of neighbours: complete, without overlap, and with near-duplicates collapsed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.build import build
from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.search import Hit, Query, Searcher, Selection, paging
from indexer.search.paging import (
    DUPLICATE_WINDOW,
    collapsed_page_of,
    fold,
    page_of,
)
from tests.conftest import small_config


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


@pytest.mark.parametrize("collapse", [False, True])
@pytest.mark.parametrize("k", [1, 7, 20, 40, 1000])
def test_the_pages_together_are_the_whole_ranking(
    searcher: Searcher, k: int, *, collapse: bool
) -> None:
    whole = [hit.image.id for hit in searcher.search_id(5, k=1000).hits]
    paged: list[Hit] = []
    for page in range(1, 100):
        answer = searcher.search(
            Query(image_id=5), Selection(k=k, page=page, collapse_duplicates=collapse)
        )
        paged += answer.hits
        if not answer.more:
            break
    everything = [one for hit in paged for one in (hit, *hit.duplicates)]
    assert sorted(hit.rank for hit in everything) == list(range(1, 41))
    assert all(whole[hit.rank - 1] == hit.image.id for hit in everything)
    if not collapse:
        assert [hit.image.id for hit in paged] == whole


def test_beyond_the_last_page_there_is_nothing(searcher: Searcher) -> None:
    answer = searcher.search(Query(image_id=5), Selection(k=20, page=3))
    assert (list(answer.hits), answer.more) == ([], False)
    assert searcher.search(Query(image_id=5), Selection(k=20, page=2)).more is False
    assert searcher.search(Query(image_id=5), Selection(k=1000, page=10**12)).hits == []
    for page in (0, -1):
        with pytest.raises(InvalidQuery, match="page"):
            searcher.search(Query(image_id=5), Selection(page=page))


@pytest.mark.parametrize("collapse", [False, True])
def test_the_threshold_is_the_largest_distance(searcher: Searcher, *, collapse: bool) -> None:
    hits = searcher.search_id(5, k=40).hits
    limit = hits[9].distance
    chosen = Selection(k=6, threshold=limit, collapse_duplicates=collapse)
    first = searcher.search(Query(image_id=5), chosen)
    second = searcher.search(
        Query(image_id=5), Selection(k=6, page=2, threshold=limit, collapse_duplicates=collapse)
    )
    found = [one for hit in (*first.hits, *second.hits) for one in (hit, *hit.duplicates)]
    assert sorted(hit.rank for hit in found) == list(range(1, 11))
    assert (first.more, second.more) == (True, False)
    exact = searcher.search(Query(image_id=5), Selection(k=10, threshold=limit))
    assert (len(exact.hits), exact.more) == (10, False)
    for threshold in (-0.01, 2.01, float("nan")):
        with pytest.raises(InvalidQuery, match="threshold"):
            searcher.search(Query(image_id=5), Selection(threshold=threshold))
    for threshold in (0.0, 2.0):
        assert searcher.search(Query(image_id=5), Selection(threshold=threshold)).hits


NEAR = 0.3
"""Within which distance vectors fold in these tests."""


def on_a_circle(*angles: float) -> np.ndarray:
    return np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32)


def folded(vectors: np.ndarray) -> np.ndarray:
    """Fold vectors, and check that only a few are read at a time."""

    def some(rows: np.ndarray) -> np.ndarray:
        assert len(rows) <= DUPLICATE_WINDOW
        return vectors[rows]

    return fold(some, np.arange(len(vectors)), NEAR)


def test_a_vector_folds_under_the_best_ranked_that_is_near_and_stands_for_itself() -> None:
    near = 2 * np.arcsin(NEAR / 2)  # the angle of that distance
    inside, outside = near * 0.99, near * 1.01
    assert folded(on_a_circle(0, inside)).tolist() == [0, 0]
    assert folded(on_a_circle(0, outside)).tolist() == [0, 1]
    # The third is near the second, which has folded itself.
    assert folded(on_a_circle(0, 0.6 * near, 1.2 * near)).tolist() == [0, 0, 2]
    assert folded(on_a_circle(0, 1.5 * near, 0.75 * near)).tolist() == [0, 1, 0]
    assert folded(np.empty((0, 2), np.float32)).tolist() == []


def test_folding_in_blocks_is_folding_one_by_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(350, 12)).astype(np.float32)
    vectors[::3] = vectors[0] + vectors[::3] * 0.05
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected: list[int] = []
    for row, vector in enumerate(vectors):
        candidates = range(max(row - DUPLICATE_WINDOW, 0), row)
        near = (
            other
            for other in candidates
            if expected[other] == other and np.linalg.norm(vectors[other] - vector) <= NEAR
        )
        expected.append(next(near, row))
    assert folded(vectors).tolist() == expected
    assert len(set(expected)) < 350


def test_boxes_in_one_picture_fold_within_the_window() -> None:
    """Also from one block to the next; a box that has folded itself takes none."""
    pictures = np.arange(250)
    pictures[[0, 60, 100, 101]] = 1000  # ranks 61 and 101 are within the window of rank 1
    pictures[[99, 150]] = 1001
    vectors = np.eye(250, dtype=np.float32)
    vectors[201] = vectors[200]  # a near-duplicate in another picture, which has one more box
    pictures[[201, 202]] = 1002
    expected = np.arange(250)
    expected[[60, 100, 150, 201]] = [0, 0, 99, 200]
    leaders = fold(lambda rows: vectors[rows], np.arange(250), NEAR, lambda ids: pictures[ids])
    assert leaders.tolist() == expected.tolist()
    assert folded(vectors)[201] == 200


def test_a_page_looks_ahead_by_the_duplicate_window() -> None:
    """Ranks 1 and 101 fold; ranks 2 and 103 are equal too, but beyond the window."""
    ids = np.arange(400)
    vectors = np.eye(400, dtype=np.float32)
    vectors[DUPLICATE_WINDOW] = vectors[0]
    vectors[DUPLICATE_WINDOW + 2] = vectors[1]
    asked: list[int] = []

    def neighbours(k: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(k)
        return np.linspace(0, 1, 400, dtype=np.float32)[:k], ids[:k]

    places, more = collapsed_page_of(neighbours, lambda rows: vectors[rows], 400, 2, 1, None, NEAR)
    assert [[p.rank for p in place.duplicates] for place in places] == [[DUPLICATE_WINDOW + 1], []]
    assert more
    assert max(asked) < 400


def test_pages_of_an_empty_collection() -> None:
    def never(_: object) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("there is nothing to ask")

    assert page_of(never, 0, 30, 1, None) == ([], False)
    assert collapsed_page_of(never, never, 0, 30, 1, None, NEAR) == ([], False)  # type: ignore[arg-type]


def test_copies_of_a_photograph_are_collapsed(images: Path, tmp_path: Path) -> None:
    """Copies with the same bytes, and one that was saved again."""
    photo = sorted(images.rglob("*.jpg"))[2]
    shutil.copy(photo, images / "copy.jpg")
    with Image.open(photo) as image:
        image.save(images / "saved-again.jpg", quality=85)
    config = small_config(images, tmp_path / "s")
    build(config)
    searcher = Searcher.open(config)
    hits = searcher.search(
        Query(image=photo.read_bytes()), Selection(collapse_duplicates=True)
    ).hits
    assert len(hits) == 6
    assert {hit.image.key for hit in (hits[0], *hits[0].duplicates)} == {
        str(photo.relative_to(images)), "copy.jpg", "saved-again.jpg",
    }  # fmt: skip
    assert all(not hit.duplicates for hit in hits[1:])


def test_near_duplicates_are_ranked_to_a_bound_and_no_deeper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nearest thousands are all near-duplicates."""
    monkeypatch.setattr(paging, "MAX_RANKS", 1000)
    asked: list[int] = []
    same = np.tile(np.eye(1, 16, dtype=np.float32), (5000, 1))

    def neighbours(depth: int) -> tuple[paging.Distances, paging.Ids]:
        asked.append(depth)
        return np.zeros(depth, np.float32), np.arange(depth)

    first, more = collapsed_page_of(neighbours, lambda ids: same[ids], 5000, 5, 1, None, NEAR)
    assert ([place.rank for place in first], more) == ([1, 102, 203, 304, 405], True)
    with pytest.raises(InvalidQuery, match="near-duplicates"):
        collapsed_page_of(neighbours, lambda ids: same[ids], 5000, 30, 1, None, NEAR)
    assert max(asked) == 1000
    collapsed_page_of(neighbours, lambda ids: same[ids], 1000, 30, 1, None, NEAR)
