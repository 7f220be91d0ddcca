"""The images of a version: their files, samples and distances."""

from pathlib import Path

import numpy as np
import pytest

from indexer.build import build
from indexer.config import Config
from indexer.errors import ImageGone, UnknownImage
from indexer.search import Query, Searcher, Selection


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


def test_the_sample_is_spread_over_the_collection(searcher: Searcher) -> None:
    ids = [row.id for row in searcher.collection.sample(4)]
    assert ids == sorted(set(ids))
    assert (len(ids), ids[0], ids[-1]) == (4, 1, 41)
    assert len(searcher.collection.sample(1000)) == 40


@pytest.mark.parametrize("image_id", [0, -1, 2**63 - 1, 2**63, 2**200, -(2**200)])
def test_no_id_beyond_those_of_the_index_is_known(searcher: Searcher, image_id: int) -> None:
    with pytest.raises(UnknownImage):
        searcher.collection.image(image_id)
    with pytest.raises(UnknownImage):
        searcher.collection.features([image_id])
    assert searcher.collection.images([image_id]) == {}


def test_an_image_file_is_the_one_that_was_indexed(config: Config, images: Path) -> None:
    build(config)
    searcher = Searcher.open(config)
    row = searcher.collection.image(1)
    file = searcher.collection.image_file(1)
    assert (file.data, file.media_type) == ((images / row.key).read_bytes(), "image/jpeg")
    (images / row.key).write_bytes(file.data + b"more")
    with pytest.raises(ImageGone, match="changed"):
        searcher.collection.image_file(1)
    (images / row.key).unlink()
    with pytest.raises(ImageGone, match="cannot be read"):
        searcher.collection.thumbnail(1, 100)


def test_the_distribution_counts_the_whole_of_a_small_collection(searcher: Searcher) -> None:
    answer = searcher.search(Query(image_id=5), Selection(k=40))
    distribution = searcher.collection.distribution(answer.vector)
    counts, _ = np.histogram([hit.distance for hit in answer.hits], distribution.edges)
    assert (sum(distribution.counts), len(distribution.edges)) == (40, 41)
    assert distribution.counts == counts.tolist()
    assert searcher.collection.distance(answer.vector, answer.hits[7].image.id) == pytest.approx(
        answer.hits[7].distance, abs=1e-6
    )
