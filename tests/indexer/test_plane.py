"""The map: principal components, on a plane of whole numbers."""

import numpy as np
import pytest

from indexer.config import Config
from indexer.plane import BLOCK, SAMPLE, lay_out
from indexer.search import Searcher


def test_places_are_the_first_two_principal_components(demo_config: Config) -> None:
    searcher = Searcher.open(demo_config)
    ids = searcher._vectors.ids
    vectors = searcher._stored(ids).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    components = np.linalg.svd(centred, full_matrices=False)[2][:2]
    expected = centred @ components.T
    found = searcher.map()
    assert found.ids.tolist() == ids.tolist()
    for axis in (0, 1):
        inside = (found.places[:, axis] > 0) & (found.places[:, axis] < 65535)
        places = found.places[inside, axis].astype(float)
        assert abs(np.corrcoef(places, expected[inside, axis])[0, 1]) > 0.999
    assert searcher.map() is found


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_tiny_collections_have_a_map(count: int) -> None:
    vectors = np.eye(5, dtype=np.float32)
    found = lay_out(np.arange(1, count + 1), lambda ids: vectors[ids])
    assert found.places.shape == (count, 2)
    assert len(found.to_bytes()) == 4 + 8 * count


def test_more_images_than_a_sample_and_a_block() -> None:
    """Two well separated groups stay apart, whichever way the ids are mixed."""
    count = max(SAMPLE, BLOCK) + 500
    random = np.random.default_rng(0)
    groups = random.integers(0, 2, count)
    vectors = random.normal(0, 0.05, (count, 16)).astype(np.float32)
    vectors[:, 3] += groups * 2
    found = lay_out(np.arange(count), lambda ids: vectors[ids])
    x = found.places[:, 0].astype(int)
    assert (x[groups == 0].max() < x[groups == 1].min()) or (
        x[groups == 1].max() < x[groups == 0].min()
    )
    block = found.to_bytes()
    assert np.frombuffer(block, "<u4", 1 + count)[1:].tolist() == list(range(count))
    assert (
        np.frombuffer(block, "<u2", 2 * count, 4 + 4 * count).tolist()
        == found.places.ravel().tolist()
    )
