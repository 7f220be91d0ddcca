"""Compaction: small segments are merged, mostly deleted ones rewritten, damage is not copied."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import indexer.build.compact
from indexer.build.compact import compact
from indexer.errors import StoreCorrupt
from indexer.store import NewImage, Store, Writer, open_writer
from indexer.vector_index import flat_file, read_vectors
from tests.stores import DIM, damage, publish


def commit(store: Store, counts: list[int]) -> None:
    """Commit segments of these sizes, and compact after each, as a build does."""
    with open_writer(store) as writer:
        grow(writer, counts)


def grow(writer: Writer, counts: list[int]) -> None:
    for count in counts:
        first = writer.catalogue.next_id()
        vectors = np.full((count, DIM), first, np.float32) + np.arange(count)[:, np.newaxis]
        images = [NewImage(f"{n}", 1, 1, "0", "JPEG", 1, 1) for n in range(first, first + count)]
        writer.commit(images, flat_file(vectors), [], dim=DIM, fingerprint="e1")
        compact(writer)


def sizes(store: Store) -> list[tuple[int, int]]:
    with open_writer(store) as writer:
        assert {folder.name for folder in store.segments.iterdir()} == set(writer.sizes)
        return [tuple(size) for size in writer.sizes.values()]


def test_segments_are_merged_by_size_until_they_are_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.compact, "SEGMENT_BYTES", 40 * DIM * 4)  # full from 20 on
    store = Store(tmp_path / "store")
    commit(store, [25] + [2] * 3)
    assert sizes(store) == [(25, 25)] + [(2, 2)] * 3
    commit(store, [2])
    assert sizes(store) == [(25, 25), (8, 8)]
    commit(store, [3] * 64)
    found = [stored for stored, alive in sizes(store) if stored == alive]
    assert len(found) == len(sizes(store))
    assert sum(found) == 25 + 8 + 64 * 3
    assert max(found) < 40
    assert len([size for size in found if size < 20]) <= 3 * 3
    with open_writer(store) as writer:
        for name in writer.catalogue.segments():
            placed = writer.catalogue.ids_in(name)
            assert np.array_equal(writer.segment(name).ids, placed[:, 1])
            assert writer.segment(name).problems() == []
            vectors = read_vectors(writer.segment(name).vectors_path, placed[:, 0])
            assert np.array_equal(vectors[:, 0], placed[:, 1])


def test_a_vector_is_written_once_per_size_and_few_segments_remain(tmp_path: Path) -> None:
    """How often a build of many batches writes a vector, and how many segments remain."""
    store = Store(tmp_path / "store")
    batches, batch = 4**3 + 2 * 4**2 + 4 + 2, 4
    written = []
    with open_writer(store) as writer:
        replace = writer.replace

        def counted(names: list[str], ids: np.ndarray, vectors: Iterable[memoryview]) -> None:
            written.append(len(ids))
            replace(names, ids, vectors)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer, "replace", counted)
            grow(writer, [batch] * batches)
    assert [size for size, _ in sizes(store)] == [4**4] + [4**3] * 2 + [16, 4, 4]
    assert sum(written) <= 3 * batches * batch


def test_two_segments_that_fill_one_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.compact, "SEGMENT_BYTES", 40 * DIM * 4)
    store = Store(tmp_path / "store")
    commit(store, [18, 17, 19])
    assert sizes(store) == [(35, 35), (19, 19)]


@pytest.mark.parametrize(("dead", "rewritten"), [(50, False), (51, True), (100, False)])
def test_a_mostly_deleted_segment_is_rewritten(tmp_path: Path, dead: int, rewritten: bool) -> None:
    store = Store(tmp_path / "store")
    commit(store, [100])
    with open_writer(store) as writer:
        with writer.catalogue.transaction():
            writer.catalogue.remove(str(n) for n in range(1, dead + 1))
        compact(writer)
        found = list(writer.sizes.values())
    assert found == ([] if dead == 100 else [(49, 49)] if rewritten else [(100, 50)])


def test_adding_a_few_images_writes_little(tmp_path: Path) -> None:
    """A hundred images in four batches beside almost ten thousand: well below 5 % of the bytes."""
    store = Store(tmp_path / "store")
    commit(store, [2500] * 3 + [625] * 3 + [128] * 3)
    before = {p: p.stat().st_mtime_ns for p in store.segments.rglob("*") if p.is_file()}
    total = sum(p.stat().st_size for p in before)
    commit(store, [32, 32, 32, 4])
    after = {p: p.stat().st_mtime_ns for p in store.segments.rglob("*") if p.is_file()}
    assert before.items() <= after.items()
    assert sum(p.stat().st_size for p in after.keys() - before.keys()) < 0.05 * total


def test_compaction_does_not_copy_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    commit(store, [2] * 3)
    path = store.segments / "00000003" / "vectors.faiss"
    damage(path)
    with pytest.raises(StoreCorrupt, match="00000003 is damaged"):
        commit(store, [2])
    with open_writer(store) as writer:
        assert writer.damage().segments == ("00000003",)
        assert len(writer.sizes) == 4


def test_compaction_leaves_the_segments_of_a_version_published_meanwhile(store: Store) -> None:
    with open_writer(store) as writer:
        grow(writer, [2] * 4)
        publish(writer)
        grow(writer, [2] * 16)
        assert "00000005" not in writer.sizes
    assert store.open_published().problems() == []
