"""Why two images are similar: grids that sum to the cosine, or that say what covering does."""

from pathlib import Path

import numpy as np
import pytest

from indexer.config import Config
from indexer.encoders import Cells
from indexer.errors import ImageGone, UnknownImage
from indexer.search import Searcher, why
from indexer.search.query_encoder import Pixels, QueryEncoder
from indexer.search.why import MEANINGS, by_occlusion, covered, covered_each
from tests.conftest import Reindex


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call has encoded to explain something."""
    counted: list[int] = []
    cells = QueryEncoder.cells

    def count(encoder: QueryEncoder, images: list[Pixels]) -> Cells | None:
        counted.append(len(images))
        return cells(encoder, images)

    monkeypatch.setattr(QueryEncoder, "cells", count)
    return counted


def stored_cosine(searcher: Searcher, first: int, second: int) -> float:
    one, other = searcher.collection.features([first, second])
    return float(one @ other)


def test_both_grids_sum_to_the_stored_cosine(searcher: Searcher) -> None:
    for second in (6, 20, 40):
        found = searcher.why(5, second)
        assert found.method == "contributions"
        assert found.first.shape == found.second.shape == (7, 7)
        assert min(found.first.min(), found.second.min()) >= 0
        cosine = stored_cosine(searcher, 5, second)
        for value in (found.cosine, found.first.sum(), found.second.sum()):
            assert value == pytest.approx(cosine, abs=1e-5)
        assert found.distance == pytest.approx(np.sqrt(2 - 2 * cosine), abs=1e-4)
    same = searcher.why(5, 5)
    np.testing.assert_allclose(same.first, same.second)
    assert same.cosine == pytest.approx(1)
    assert same.to_dict()["meaning"] == MEANINGS["contributions"]


def test_covering_what_explains_most_lowers_the_cosine_most(searcher: Searcher) -> None:
    """In the mean of four pairs; benchmarks/why.py does it with two hundred."""
    encoder, drops = searcher._encoder, []
    for image_id in range(1, 40, 10):
        hits = searcher.search_id(image_id, k=2).hits
        first, second = (searcher.collection.model_input(hit.image) for hit in hits)
        found = searcher.why(image_id, hits[1].image.id)
        ranked = np.argsort(found.first.ravel())
        images = [covered(first, ranked[-10:]), covered(first, ranked[:10]), second]
        most, least, other = np.array(encoder.encode(images))
        drops.append([found.cosine - most @ other, found.cosine - least @ other])
    most, least = np.mean(drops, axis=0)
    assert most > 2 * max(least, 0)


def test_boxes_are_explained_within_the_box(boxes_config: Config) -> None:
    searcher = Searcher.open(boxes_config)
    ids = searcher.collection.ids.tolist()
    found = searcher.why(ids[0], ids[5])
    assert found.cosine == pytest.approx(stored_cosine(searcher, ids[0], ids[5]), abs=1e-5)


def test_occlusion_is_by_how_much_the_cosine_falls(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any encoder; here of one whose vectors could be divided, too."""
    monkeypatch.setattr(why, "CELLS", 3)
    encoder = searcher._encoder
    rows = [searcher.collection.image(image_id) for image_id in (5, 6)]
    first, second = (searcher.collection.model_input(row) for row in rows)
    found = by_occlusion(encoder, first, second)
    assert (found.method, found.meaning) == ("occlusion", MEANINGS["occlusion"])
    assert found.first.shape == found.second.shape == (3, 3)
    assert found.cosine == pytest.approx(stored_cosine(searcher, 5, 6), abs=1e-5)
    without, other = np.array(encoder.encode([covered(second, [4]), first]))
    assert found.second[1, 1] == pytest.approx(found.cosine - without @ other, abs=1e-5)


def test_an_encoder_that_cannot_be_divided_is_explained_by_occlusion(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueryEncoder, "cells", lambda *_: None)
    monkeypatch.setattr(why, "CELLS", 2)
    monkeypatch.setattr(searcher, "_explanations", why.Explanations())
    found = searcher.why(7, 8)
    assert (found.method, found.first.shape) == ("occlusion", (2, 2))


def test_every_cell_is_covered_once() -> None:
    checks = np.zeros((224, 224, 3), np.uint8)
    checks[::2] = 255
    images = covered_each(checks)
    assert len(images) == 49
    assert {int((image == 128).sum()) for image in images} == {32 * 32 * 3}
    assert (np.sum([image == 128 for image in images], axis=0) == 1).all()
    assert set(np.unique(checks)) == {0, 255}


def test_explanations_are_kept_in_either_order(searcher: Searcher, encodings: list[int]) -> None:
    there, back, again = searcher.why(1, 2), searcher.why(2, 1), searcher.why(1, 2)
    assert encodings == [2]
    np.testing.assert_array_equal(there.first, back.second)
    np.testing.assert_array_equal(there.first, again.first)


def test_only_so_many_are_kept(
    searcher: Searcher, encodings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "_explanations", why.Explanations())
    monkeypatch.setattr(why, "KEPT", 2)
    for second in (11, 12, 11, 13, 11):
        searcher.why(10, second)
    assert encodings == [2, 2, 2]
    searcher.why(10, 12)  # that one was asked for least recently
    assert encodings == [2, 2, 2, 2]


def test_files_have_to_be_there_and_ids_known(reindex: Reindex, config: Config) -> None:
    reindex()
    searcher = Searcher.open(config)
    with pytest.raises(UnknownImage):
        searcher.why(1, 99)
    Path(config.dataset.roots[0], searcher.collection.image(1).key).unlink()
    with pytest.raises(ImageGone):
        searcher.why(1, 2)
