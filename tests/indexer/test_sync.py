"""Sync: moved and copied files are recognised, segments compacted, damage mended, versions kept."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import indexer.compact
from indexer.build import BuildReport, build
from indexer.compact import compact
from indexer.config import Config
from indexer.errors import StoreCorrupt, UnknownVersion
from indexer.search import Searcher
from indexer.store import Catalogue, NewImage, Store, open_writer
from indexer.vector_index import flat_file
from indexer.verify import verify
from indexer.versions import prune, rollback, versions
from tests.conftest import small_config

Reindex = Callable[[], BuildReport]


def answers(config: Config, image: bytes) -> list[tuple[str, float]]:
    hits = Searcher.open(config).search_image(image).hits
    return [(hit.image.key, round(hit.distance, 6)) for hit in hits]


def assert_like_a_clean_build(config: Config, tmp_path: Path) -> None:
    """The same keys, the same neighbours, the same distances."""
    clean = small_config(config.dataset.roots[0], tmp_path / "clean")
    build(clean)
    for photo in sorted(config.dataset.roots[0].rglob("*.jpg"))[:3]:
        assert answers(config, photo.read_bytes()) == answers(clean, photo.read_bytes())
    assert verify(config).problems == []


def test_moved_copied_swapped_and_touched_files_are_not_encoded_again(
    reindex: Reindex, images: Path, config: Config, tmp_path: Path
) -> None:
    reindex()
    moved, copied, one, other, touched, _ = photos = sorted(images.rglob("*.jpg"))
    before = {row.key: row.id for row in Store(config.store).open_published().catalogue.rows()}
    (images / "new").mkdir()
    moved.rename(images / "new" / "moved.jpg")
    shutil.copy(copied, images / "new" / "copy.jpg")
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    os.utime(one, ns=(1, 1))
    os.utime(other, ns=(2, 2))
    os.utime(touched, ns=(3, 3))
    report = reindex()
    assert (report.encoded, report.recognised, report.removed) == (0, 5, 0)
    after = {row.key: row.id for row in Store(config.store).open_published().catalogue.rows()}
    assert after["new/moved.jpg"] == before[str(photos[0].relative_to(images))]
    assert after[str(touched.relative_to(images))] == before[str(touched.relative_to(images))]
    assert len(set(after.values())) == 7
    assert reindex().version == report.version
    assert_like_a_clean_build(config, tmp_path)


def test_a_touched_folder_publishes_nothing(reindex: Reindex, images: Path) -> None:
    first = reindex()
    for photo in images.rglob("*.jpg"):
        os.utime(photo, ns=(5, 5))
    report = reindex()
    assert (report.version, report.recognised, report.encoded) == (first.version, 6, 0)
    assert reindex().recognised == 0


def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    reindex: Reindex, images: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    from indexer.cli import main

    (images / "bad.jpg").write_bytes(b"x")
    reindex()
    gone, changed, *_ = sorted(images.rglob("*/*.jpg"))
    gone.unlink()
    os.utime(changed, ns=(5, 5))
    (images / "new.jpg").write_bytes(changed.read_bytes())
    state = {p: p.stat().st_mtime_ns for p in config.store.rglob("*") if p.is_file()}
    flags = [f"--images={images}", f"--store={config.store}", "--encoder=efficientnet_lite0"]
    assert main(["build", "--dry-run", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert set(lines[:4]) == {
        "+ new.jpg",
        f"~ {changed.relative_to(images)}",
        "? bad.jpg",
        f"- {gone.relative_to(images)}",
    }
    assert {p: p.stat().st_mtime_ns for p in state if p.exists()} == state


def commit(store: Store, counts: list[int]) -> None:
    """Commit segments of so many vectors; compact after each, as a build does."""
    with open_writer(store) as writer:
        for count in counts:
            first = writer.catalogue.next_id()
            vectors = np.full((count, 4), first, np.float32) + np.arange(count)[:, np.newaxis]
            images = [
                NewImage(f"{n}", 1, 1, "0", "JPEG", 1, 1) for n in range(first, first + count)
            ]
            writer.commit(images, flat_file(vectors), [], dim=4, fingerprint="e")
            compact(writer)


def sizes(store: Store) -> list[tuple[int, int]]:
    with open_writer(store) as writer:
        assert {folder.name for folder in store.segments.iterdir()} == set(writer.sizes)
        return [tuple(size) for size in writer.sizes.values()]


def test_small_segments_are_merged_and_full_ones_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.compact, "SMALL", 20)
    store = Store(tmp_path / "store")
    commit(store, [25] + [2] * 7)
    assert sizes(store) == [(25, 25)] + [(2, 2)] * 7
    commit(store, [2])
    assert sizes(store) == [(25, 25), (16, 16)]
    commit(store, [3] * 64)
    assert all(stored == alive for stored, alive in sizes(store))
    assert sum(stored for stored, _ in sizes(store)) == 25 + 16 + 64 * 3
    assert len([size for size, _ in sizes(store) if size < 20]) < 3 * 8
    assert max(size for size, _ in sizes(store)[2:]) >= 20
    with open_writer(store) as writer:
        for name in writer.catalogue.segments():
            placed = writer.catalogue.ids_in(name)
            assert np.array_equal(writer.segment(name).ids, placed[:, 1])
            from indexer.vector_index import read_vectors

            vectors = read_vectors(writer.segment(name).vectors_path, placed[:, 0])
            assert np.array_equal(vectors[:, 0], placed[:, 1])


@pytest.mark.parametrize(("dead", "rewritten"), [(50, False), (51, True), (100, False)])
def test_a_mostly_dead_segment_is_rewritten(tmp_path: Path, dead: int, rewritten: bool) -> None:
    store = Store(tmp_path / "store")
    commit(store, [100])
    with open_writer(store) as writer:
        with writer.catalogue.transaction():
            writer.catalogue.remove(str(n) for n in range(1, dead + 1))
        compact(writer)
        found = list(writer.sizes.values())
    assert found == ([] if dead == 100 else [(49, 49)] if rewritten else [(100, 50)])


def test_rows_are_not_counted_after_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At millions of rows that would take longer than encoding a batch."""
    counted = []
    real = Catalogue.sizes
    monkeypatch.setattr(Catalogue, "sizes", lambda own: counted.append(1) or real(own))
    commit(Store(tmp_path / "store"), [2] * 40)
    assert len(counted) == 1


def test_adding_a_few_images_writes_little(tmp_path: Path) -> None:
    """A hundred images in four batches beside ten thousand: well below 5 % of the bytes."""
    store = Store(tmp_path / "store")
    commit(store, [2500] * 4)
    before = {p: p.stat().st_mtime_ns for p in store.segments.rglob("*") if p.is_file()}
    total = sum(p.stat().st_size for p in before)
    commit(store, [32, 32, 32, 4])
    after = {p: p.stat().st_mtime_ns for p in store.segments.rglob("*") if p.is_file()}
    assert before.items() <= after.items()
    assert sum(p.stat().st_size for p in after.keys() - before.keys()) < 0.05 * total


@pytest.mark.parametrize("damage", ["changed", "shorter", "missing", "ids", "marker"])
def test_a_damaged_segment_is_made_again_and_only_that_one(
    images: Path, tmp_path: Path, damage: str
) -> None:
    settings = {"model": "efficientnet_lite0", "batch_size": 2}
    config = small_config(images, tmp_path / "s", encoder=settings)
    build(config)
    first, second, third = Store(config.store).open_published().segments
    path = second.vectors_path
    if damage == "changed":
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "shorter":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        name = {"ids": "ids.npy", "marker": "segment.json"}[damage]
        (second.folder / name).write_bytes(b"noise")
    assert verify(config).problems
    report = build(config)
    assert (report.encoded, report.indexed) == (2, 6)
    assert report.notes == ["Segment 00000002 was damaged: its 2 images are read again."]
    names = {segment.id for segment in Store(config.store).open_published().segments}
    assert {first.id, third.id} < names
    assert second.id not in names
    assert_like_a_clean_build(config, tmp_path)
    assert build(config).notes == []


def test_a_damaged_derived_structure_is_made_again(images: Path, tmp_path: Path) -> None:
    config = small_config(images, tmp_path / "s", index={"approximate": "IVF2,SQ8"})
    build(config)
    path = next(Store(config.store).derived.rglob("*.npy"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert verify(config).problems
    report = build(config)
    assert (report.encoded, report.version) == (0, "00000002")
    assert report.notes == ["The approximate index was trained again: it was damaged."]
    assert verify(config).problems == []


def test_versions_are_listed_rolled_back_and_pruned(
    reindex: Reindex, images: Path, config: Config
) -> None:
    photo = next(images.rglob("*.jpg"))
    for number in range(3):
        (images / f"{number}.jpg").write_bytes(photo.read_bytes())
        reindex()
    assert [(v.version, v.published, v.indexed) for v in versions(config)] == [
        ("00000001", False, 7),
        ("00000002", False, 8),
        ("00000003", True, 9),
    ]
    assert rollback(config) == "00000002"
    assert Searcher.open(config).info.counts.indexed == 8
    assert rollback(config, "1") == "00000001"
    with pytest.raises(UnknownVersion, match="before"):
        rollback(config)
    with pytest.raises(UnknownVersion, match="no version 00000009"):
        rollback(config, "9")
    assert rollback(config, "3") == "00000003"
    rollback(config, "1")
    assert prune(config, 1) == ["00000002"]  # the last one and the published one stay
    assert reindex().version == "00000004"
    assert verify(config).problems == []


def test_a_damaged_version_is_not_rolled_back_to(
    reindex: Reindex, images: Path, config: Config
) -> None:
    reindex()
    next(images.rglob("*.jpg")).unlink()
    reindex()
    store = Store(config.store)
    (store.versions / "00000001" / "catalogue.sqlite").write_bytes(b"")
    with pytest.raises(StoreCorrupt):
        rollback(config)
    assert store.current() == "00000002"
    (store.versions / "00000001" / "manifest.json").write_bytes(b"")
    assert [v.indexed for v in versions(config)] == [None, 5]
    assert reindex().version == "00000002"


def test_the_number_of_a_lost_segment_is_not_given_to_another(images: Path, tmp_path: Path) -> None:
    """Else what was derived from the lost one would be taken for the new one's."""
    settings = {"model": "efficientnet_lite0", "batch_size": 2}
    config = small_config(images, tmp_path / "s", encoder=settings)
    build(config)
    lost = Store(config.store).open_published().segments[-1]
    shutil.rmtree(lost.folder)
    assert build(config).encoded == 2
    assert lost.id not in {s.id for s in Store(config.store).open_published().segments}
    assert_like_a_clean_build(config, tmp_path)


def test_damage_is_never_sealed_by_compaction(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    commit(store, [2] * 7)
    path = store.segments / "00000003" / "vectors.faiss"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreCorrupt, match="00000003 is damaged"):
        commit(store, [2])
    with open_writer(store) as writer:
        assert writer.damage().segments == ("00000003",)
        assert len(writer.sizes) == 8


def test_a_damaged_snapshot_is_published_anew(reindex: Reindex, config: Config) -> None:
    reindex()
    path = Store(config.store).versions / "00000001" / "catalogue.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert verify(config).problems
    assert reindex().version == "00000002"
    assert verify(config).problems == []


def test_segments_that_are_all_gone_are_not_taken_for_damage(images: Path, tmp_path: Path) -> None:
    settings = {"model": "efficientnet_lite0", "batch_size": 2}
    config = small_config(images, tmp_path / "s", encoder=settings)
    build(config)
    (config.store / "segments").rename(tmp_path / "unmounted")
    with pytest.raises(StoreCorrupt, match="None of the store's 3 segments"):
        build(config)
    shutil.rmtree(config.store / "segments")
    (tmp_path / "unmounted").rename(config.store / "segments")
    assert build(config).encoded == 0


def test_a_catalogue_that_cannot_grow_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    commit(store, [1])
    with open_writer(store) as writer:
        pages = writer.catalogue._query("PRAGMA page_count")[0][0]
        writer.catalogue._db.execute(f"PRAGMA max_page_count = {pages}")
        images = [NewImage(f"{n}" * 500, status="skipped", reason="r") for n in range(500)]
        with (
            pytest.raises(OSError, match="database or disk is full"),
            writer.catalogue.transaction(),
        ):
            writer.catalogue.add(images, first_id=10)
        assert writer.catalogue.counts().found == 1
