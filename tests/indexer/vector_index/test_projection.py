"""The projection: the first two principal components, scaled to whole numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.build import BuildReport
from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.search import Searcher
from indexer.vector_index import (
    MappedVectors,
    Part,
    Projection,
    ProjectionCoder,
    StoredProjection,
    flat_file,
)


def test_points_are_the_first_two_principal_components(demo_config: Config) -> None:
    searcher = Searcher.open(demo_config)
    ids = searcher.collection._vectors.ids
    vectors = searcher.collection.features(ids).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    expected = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    found = searcher.collection.projection()
    assert found.ids.tolist() == ids.tolist()
    for axis in (0, 1):
        points = found.points[:, axis].astype(float)
        inside = (points > 0) & (points < 65535)
        assert abs(np.corrcoef(points[inside], expected[inside, axis])[0, 1]) > 0.999


def laid_out(vectors: np.ndarray, folder: Path, deleted: tuple[int, ...] = ()) -> Projection:
    """Write vectors as two segments and map them."""
    parts, files, ids = [], [], np.arange(1, len(vectors) + 1)
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), 2)):
        path = folder / f"{number}.faiss"
        path.write_bytes(flat_file(vectors[rows]))
        parts.append(Part(path, ids[rows]))
    mapped = MappedVectors(parts, vectors.shape[1], np.array(deleted, np.int64))
    (folder / "trained").write_bytes(ProjectionCoder.train(mapped).to_bytes())
    coder = ProjectionCoder.load(folder / "trained")
    for number, part in enumerate(mapped.parts):
        files.append(folder / f"{number}.npy")
        files[-1].write_bytes(coder.encode(part.matrix).content)
    return StoredProjection(files, mapped).whole


@pytest.mark.parametrize("count", [2, 3, 5])
def test_tiny_collections_have_a_map(count: int, tmp_path: Path) -> None:
    found = laid_out(np.eye(5, dtype=np.float32)[:count], tmp_path)
    assert found.points.shape == (count, 2)
    block = found.to_bytes()
    assert np.frombuffer(block, "<u4", 1 + count).tolist() == [count, *range(1, count + 1)]
    points = np.frombuffer(block, "<u2", 2 * count, 4 + 4 * count)
    assert points.tolist() == found.points.ravel().tolist()


def test_two_groups_stay_apart_and_deleted_images_are_not_on_the_map(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    groups = random.integers(0, 2, 600)
    vectors = random.normal(0, 0.05, (600, 16)).astype(np.float32)
    vectors[:, 3] += groups * 2
    found = laid_out(vectors, tmp_path, deleted=(1, 600))
    assert found.ids.tolist() == list(range(2, 600))
    x, group = found.points[:, 0].astype(int), groups[1:-1]
    first, second = x[group == 0], x[group == 1]
    assert first.max() < second.min() or second.max() < first.min()


def test_new_images_are_added_to_the_existing_map(
    config: Config, images: Path, reindex: Callable[[], BuildReport], photos: list[Path]
) -> None:
    reindex()
    before = Searcher.open(config)
    (images / "new.jpg").write_bytes(photos[100].read_bytes())
    reindex()
    after = Searcher.open(config)
    assert len(after.collection.projection().ids) == len(before.collection.projection().ids) + 1
    folders = [s._version.manifest.derived["map"].folder for s in (before, after)]
    assert folders[0] == folders[1]


def test_a_map_of_another_shape_is_refused(
    config: Config, reindex: Callable[[], BuildReport]
) -> None:
    reindex()
    searcher = Searcher.open(config)
    files = searcher._version.derived("map")
    assert files
    np.save(files.parts[0], np.zeros((4, 3), np.float32))  # as many bytes as (6, 2)
    with pytest.raises(StoreCorrupt, match="points"):
        Searcher.open(config)


def test_the_map_of_an_open_version_can_be_read_after_its_files_were_removed(
    config: Config, reindex: Callable[[], BuildReport]
) -> None:
    reindex()
    searcher = Searcher.open(config)
    files = searcher._version.derived("map")
    assert files
    for path in files.parts:
        path.unlink()
    assert len(searcher.collection.projection().ids) == 6
