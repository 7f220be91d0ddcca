"""Derived structures: trained once, extended by new segments, trained again when outdated."""

from collections.abc import Iterator

import numpy as np
import pytest

import indexer.build.derive
import indexer.vector_index.exact
from indexer.build.derive import derive
from indexer.config import DatasetConfig, IndexConfig
from indexer.errors import StoreCorrupt
from indexer.store import NewImage, Recall, Store, Version, Writer, open_writer
from indexer.vector_index import ApproximateIndex, flat_file
from indexer.vector_index.base import Vectors
from indexer.vector_index.opened import Indexes
from tests.vectors import assert_nearest, photo_like, some_vectors

DIM = 256


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    with open_writer(store) as writer:
        yield writer


@pytest.fixture
def notes() -> list[str]:
    return []


def commit(writer: Writer, vectors: Vectors) -> None:
    first = writer.catalogue.next_id()
    images = [NewImage(f"{n}", 1, 1, "0", "JPEG", 1, 1) for n in range(first, first + len(vectors))]
    writer.commit(images, flat_file(vectors), [], dim=vectors.shape[1], fingerprint="e")


def publish(
    writer: Writer, notes: list[str], approximate: str | None = "auto", recall: float = 0.99
) -> Version:
    index = IndexConfig(approximate=approximate, recall=recall)
    draft = writer.begin()
    made = derive(draft, writer, index, DIM, shortlist_from=1)
    notes.extend(made.notes)
    return writer.publish(
        draft,
        made.structures,
        fingerprint="e",
        encoder={"model": "test"},
        dim=DIM,
        dataset=DatasetConfig(),
        index=index,
    )


def trained_again(notes: list[str]) -> list[str]:
    """The notes on training, without those on recall, which depend on the machine's speed."""
    return [note for note in notes if "was trained again" in note]


def files(store: Store) -> dict[str, int]:
    """Every derived file with the time it was written."""
    found = [path for path in store.derived.rglob("*") if path.is_file()]
    return {str(path.relative_to(store.derived)): path.stat().st_mtime_ns for path in found}


def test_new_vectors_cost_their_own_encoding_and_are_found(
    writer: Writer, store: Store, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.vector_index.exact, "SEEDS", 8)
    vectors = photo_like(1200)
    commit(writer, vectors[:600])
    commit(writer, vectors[600:1100])
    publish(writer, notes)
    before = files(store)
    commit(writer, vectors[1100:])
    version = publish(writer, notes)
    new = set(files(store)) - set(before)
    assert (
        sorted(name.split("/")[1] for name in new) == ["00000003.npy"] * 3
    )  # shortlist, index, map
    assert before.items() <= files(store).items()
    assert trained_again(notes) == []
    indexes = Indexes.of(version)
    assert indexes.approximate
    for index in (indexes.exact, indexes.approximate):
        query = vectors[1150]
        distances, found, _ = index.search(query[np.newaxis], 20)
        assert_nearest(distances[0], found[0] - 1, vectors, np.arange(1200), query)
    stages = indexes.exact.search(vectors[:1], 5).stages
    assert any(stage.name.startswith("bound") for stage in stages)


def test_deleted_vectors_are_not_proposed_by_any_structure(
    writer: Writer, notes: list[str]
) -> None:
    vectors = photo_like(700)
    commit(writer, vectors)
    publish(writer, notes)
    with writer.catalogue.transaction():
        writer.catalogue.remove([str(n) for n in range(1, 11)])
    indexes = Indexes.of(publish(writer, notes))
    for index in indexes.by_mode.values():
        _, found, _ = index.search(vectors[:10], 30)
        assert found.min() > 10


@pytest.mark.parametrize(("grown", "again"), [(4000, False), (4001, True)])
def test_a_collection_that_outgrew_its_training_is_trained_again_with_a_note(
    writer: Writer, store: Store, notes: list[str], grown: int, again: bool
) -> None:
    vectors = photo_like(grown)
    commit(writer, vectors[:1000])
    old = publish(writer, notes).manifest.derived
    commit(writer, vectors[1000:])
    new = publish(writer, notes).manifest.derived
    for kind in ("shortlist", "approximate"):
        assert (new[kind].folder != old[kind].folder) == again
        assert new[kind].trained_count == (grown if again else 1000)
    assert [note.split(":")[0] for note in trained_again(notes)] == (
        [
            "The shortlist index was trained again",
            "The approximate index was trained again",
            "The map was trained again",
        ]
        if again
        else []
    )
    assert all("4,001 images, not 1,000" in note for note in trained_again(notes))


def test_images_of_another_kind_make_it_train_again(writer: Writer, notes: list[str]) -> None:
    """The axes of one cluster do not fit random directions."""
    commit(writer, photo_like(2000))
    old = publish(writer, notes).manifest.derived
    commit(writer, photo_like(2000, seed=5))
    assert publish(writer, notes).manifest.derived["shortlist"].folder == old["shortlist"].folder
    assert trained_again(notes) == []
    commit(writer, some_vectors(2000, dim=DIM))
    new = publish(writer, notes).manifest.derived
    assert new["approximate"].folder != old["approximate"].folder
    assert any("times worse than when it was trained" in note for note in notes)


def test_another_setting_makes_another_structure_and_null_none(
    writer: Writer, store: Store, notes: list[str]
) -> None:
    commit(writer, photo_like(300))
    assert publish(writer, notes, "IVF4,SQ8").manifest.derived["approximate"].made_by == "IVF4,SQ8"
    version = publish(writer, notes, "auto")
    assert version.manifest.derived["approximate"].made_by == "PCA64,IVF7,SQ8"
    version = publish(writer, notes, None)
    assert list(version.manifest.derived) == ["shortlist", "map"]


def test_a_small_collection_has_no_shortlist_on_both_sides(writer: Writer, store: Store) -> None:
    vectors = photo_like(100)
    commit(writer, vectors)
    for limit, kinds in ((vectors.nbytes, ["shortlist", "map"]), (vectors.nbytes + 1, ["map"])):
        made = derive(writer.begin(), writer, IndexConfig(), DIM, shortlist_from=limit)
        assert list(made.structures) == kinds


def test_structures_no_kept_version_uses_are_removed(
    writer: Writer, store: Store, notes: list[str]
) -> None:
    commit(writer, photo_like(200))
    for setting in ("IVF2,SQ8", "IVF3,SQ8", "IVF4,SQ8", "IVF5,SQ8"):
        publish(writer, notes, setting)
    (store.derived / "00000099").mkdir()  # left by a crashed build
    writer.collect_garbage()
    kept = {folder.name for folder in store.derived.iterdir()}
    assert kept == {"00000001", "00000003", "00000004", "00000005", "00000006"}


@pytest.mark.parametrize("damage", ["shorter", "missing", "changed"])
@pytest.mark.parametrize("name", ["trained", "00000001.npy"])
def test_damage_is_found(writer: Writer, store: Store, damage: str, name: str) -> None:
    commit(writer, photo_like(200))
    version = publish(writer, [])
    for derived in version.manifest.derived.values():
        path = store.derived / derived.folder / name
        content = path.read_bytes()
        if damage == "changed":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            assert [p for p in store.open_published().problems() if str(path) in p]
        else:
            path.write_bytes(content[:-1]) if damage == "shorter" else path.unlink()
            with pytest.raises(StoreCorrupt, match=name):
                store.open_published()
        path.write_bytes(content)
    assert store.open_published().problems() == []


def test_a_structure_whose_training_is_damaged_is_trained_again(
    writer: Writer, store: Store, notes: list[str]
) -> None:
    commit(writer, photo_like(200))
    old = publish(writer, notes).manifest.derived
    for derived in old.values():
        path = store.derived / derived.folder / "trained"
        path.write_bytes(bytes(path.stat().st_size))
    new = publish(writer, notes).manifest.derived
    assert all(new[kind].folder != old[kind].folder for kind in old)
    assert trained_again(notes) == [
        f"The {name} was trained again: it was damaged."
        for name in ("shortlist index", "approximate index", "map")
    ]
    assert store.open_published().problems() == []


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each measurement of recall made to the approximate index."""
    asked: list[int] = []
    measure, proposed = indexer.build.derive.measure_recall, ApproximateIndex.proposed

    def measuring(*indexes):  # type: ignore[no-untyped-def]
        asked.append(0)
        return measure(*indexes)

    def counting(self, queries, k, parameters):  # type: ignore[no-untyped-def]
        asked[-1] += len(queries)
        return proposed(self, queries, k, parameters)

    monkeypatch.setattr(indexer.build.derive, "measure_recall", measuring)
    monkeypatch.setattr(ApproximateIndex, "proposed", counting)
    return asked


def recall_of(version: Version) -> Recall:
    recall = version.manifest.derived["approximate"].recall
    assert recall
    return recall


def test_recall_is_not_measured_again_until_enough_images_are_new_or_gone(
    writer: Writer, notes: list[str], measured: list[int]
) -> None:
    vectors = photo_like(1201)
    commit(writer, vectors[:1000])
    first = recall_of(publish(writer, notes, "IVF8,SQ8"))
    assert (first.count, first.last_id, first.queries) == (1000, 1000, 512)
    assert len(measured) == 1
    assert measured[0] >= 512
    commit(writer, vectors[1000:1050])
    with writer.catalogue.transaction():
        writer.catalogue.remove([str(n) for n in range(1, 51)])
    assert recall_of(publish(writer, notes, "IVF8,SQ8")) == first  # 50 new, 50 gone: a tenth
    assert len(measured) == 1
    commit(writer, vectors[1050:1051])
    again = recall_of(publish(writer, notes, "IVF8,SQ8"))
    assert (again.count, again.last_id) == (1001, 1051)
    assert len(measured) == 2


def test_recall_is_measured_again_after_training_but_not_for_another_setting(
    writer: Writer, store: Store, notes: list[str], measured: list[int]
) -> None:
    commit(writer, photo_like(600))
    publish(writer, notes, "IVF8,SQ8")
    publish(writer, notes, "IVF8,SQ8", recall=0.5)
    assert len(measured) == 1
    version = publish(writer, notes, "IVF9,SQ8")
    assert len(measured) == 2
    (store.derived / version.manifest.derived["approximate"].folder / "00000001.npy").unlink()
    publish(writer, notes, "IVF9,SQ8")
    assert len(measured) == 3


def test_auto_trains_again_where_another_recall_is_wanted(
    writer: Writer, notes: list[str], measured: list[int]
) -> None:
    commit(writer, photo_like(300))
    folders = [
        publish(writer, notes, "auto", recall=wanted).manifest.derived["approximate"].folder
        for wanted in (0.5, 0.5, 0.6)
    ]
    assert folders[0] == folders[1] != folders[2]
    assert len(measured) == 2


def test_a_promise_that_cannot_be_kept_is_noted(writer: Writer, notes: list[str]) -> None:
    commit(writer, some_vectors(3000, dim=DIM))
    version = publish(writer, notes, "PCA2,IVF4,SQ4")
    assert recall_of(version).points[-1].recall < 0.9
    assert [note for note in notes if "not the 99 % that index.recall asks for" in note]
