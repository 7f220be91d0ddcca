"""Repair: the next build makes damaged and lost files again, and no others."""

import shutil
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.maintenance import verify
from indexer.store import Store, open_writer, read_damage
from tests.conftest import Reindex, small_config
from tests.stores import assert_like_a_clean_build, commit, damage, publish

pytestmark = pytest.mark.usefixtures("batches_apart")


@pytest.mark.parametrize("how", ["changed", "shorter", "missing", "ids", "marker"])
def test_a_damaged_segment_is_made_again_and_only_that_one(
    images: Path, tmp_path: Path, how: str
) -> None:
    settings = {"model": "efficientnet_lite0", "batch_size": 2}
    config = small_config(images, tmp_path / "s", encoder=settings)
    build(config)
    first, second, third = Store(config.store).open_published().segments
    path = second.vectors_path
    if how == "changed":
        damage(path)
    elif how == "shorter":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "missing":
        path.unlink()
    else:
        name = {"ids": "ids.npy", "marker": "segment.json"}[how]
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


def test_the_number_of_a_lost_segment_is_not_given_to_another(images: Path, tmp_path: Path) -> None:
    """Otherwise what was derived from the lost one would be used for the new one."""
    settings = {"model": "efficientnet_lite0", "batch_size": 2}
    config = small_config(images, tmp_path / "s", encoder=settings)
    build(config)
    lost = Store(config.store).open_published().segments[-1]
    shutil.rmtree(lost.folder)
    assert build(config).encoded == 2
    assert lost.id not in {s.id for s in Store(config.store).open_published().segments}
    assert_like_a_clean_build(config, tmp_path)


def test_a_store_without_any_sound_segment_is_not_repaired(images: Path, tmp_path: Path) -> None:
    settings = {"model": "efficientnet_lite0", "batch_size": 2}
    config = small_config(images, tmp_path / "s", encoder=settings)
    build(config)
    (config.store / "segments").rename(tmp_path / "unmounted")
    with pytest.raises(StoreCorrupt, match="None of the store's 3 segments"):
        build(config)
    shutil.rmtree(config.store / "segments")
    (tmp_path / "unmounted").rename(config.store / "segments")
    assert build(config).encoded == 0


def test_a_damaged_derived_structure_is_made_again(images: Path, tmp_path: Path) -> None:
    config = small_config(images, tmp_path / "s", index={"approximate": "IVF2,SQ8"})
    build(config)
    path = next(Store(config.store).derived.rglob("*.npy"))
    damage(path)
    assert verify(config).problems
    report = build(config)
    assert (report.encoded, report.version) == (0, "00000002")
    assert report.notes == ["The approximate index was trained again: it was damaged."]
    assert verify(config).problems == []


def test_a_damaged_layer_is_written_anew(reindex: Reindex, config: Config) -> None:
    reindex()
    damage(Store(config.store).layers / "00000001.sqlite")
    assert verify(config).problems
    assert reindex().version == "00000002"
    assert verify(config).problems == []


def test_damage_found_by_a_build_is_added_to_that_found_by_verify(
    images: Path, tmp_path: Path
) -> None:
    settings = {"model": "efficientnet_lite0", "batch_size": 2}
    config = small_config(images, tmp_path / "s", encoder=settings)
    build(config)
    store = Store(config.store)
    first, second, _ = store.open_published().segments
    (derived,) = store.open_published().manifest.derived.values()
    damage(first.vectors_path)
    damage(store.derived / derived.folder / "trained")
    verify(config)
    damage(second.vectors_path)
    with open_writer(store) as writer:
        with pytest.raises(StoreCorrupt):
            writer.verified_segment(second.id)
        assert writer.damage().segments == (first.id, second.id)
        assert writer.damage().derived == (derived.folder,)
    assert (build(config).encoded, verify(config).problems) == (4, [])


def test_damage_that_verify_finds_during_a_build_is_left_for_the_next_one(
    published: Store,
) -> None:
    config = Config(store=published.folder)
    with open_writer(published) as writer:
        commit(writer, ["e"])
        damage(published.segments / "00000001" / "vectors.faiss")
        assert verify(config).problems
        publish(writer)
    assert read_damage(published).segments == ("00000001",)


def test_verify_keeps_the_record_of_damage_to_what_is_not_published(published: Store) -> None:
    config = Config(store=published.folder)
    with open_writer(published) as writer:
        commit(writer, ["e"])
        damage(published.segments / "00000003" / "vectors.faiss")
        with pytest.raises(StoreCorrupt):
            writer.verified_segment("00000003")
    assert verify(config).problems == []
    assert read_damage(published).segments == ("00000003",)
