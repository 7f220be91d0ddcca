"""The store on disk: durability, kept versions, and ids that are never reused."""

import multiprocessing
import sqlite3
from pathlib import Path

import faiss
import pytest

from indexer.errors import ConfigError, EncoderMismatch, NoPublishedIndex, StoreBusy
from indexer.store import NewImage, Store, open_writer
from tests.stores import DIM, commit, image, publish
from tests.work import counted


def test_a_published_version_opens_with_all_its_parts(published: Store) -> None:
    version = published.open_published()
    assert version.manifest.counts.model_dump() == {"found": 4, "indexed": 3, "skipped": 1}
    assert [segment.ids.tolist() for segment in version.segments] == [[1, 2], [4]]
    row = version.catalogue.get(4)
    assert row is not None
    assert row.key == "d"
    assert row.metadata == {"caption": "é"}
    assert version.problems() == []


def test_the_layout_on_disk_is_the_documented_one(published: Store) -> None:
    files = {
        str(p.relative_to(published.folder)) for p in published.folder.rglob("*") if p.is_file()
    }
    assert files >= {
        "CURRENT",
        "catalogue.sqlite",
        "segments/00000001/vectors.faiss",
        "segments/00000001/ids.npy",
        "segments/00000001/segment.json",
        "versions/00000001/manifest.json",
        "layers/00000001.sqlite",
    }
    assert (published.folder / "CURRENT").read_text() == "00000001\n"
    index = faiss.read_index(str(published.segments / "00000001/vectors.faiss"))
    assert (type(index), index.ntotal, index.d) == (faiss.IndexFlatL2, 2, DIM)


def test_dropping_a_segment_reads_no_deleted_ids_of_others(tmp_path: Path) -> None:
    """A build that replaces all files drops a segment for every few batches."""
    works = []
    for count in (100, 1600):
        store = Store(tmp_path / f"{count}")
        with open_writer(store) as writer:
            commit(writer, [f"{number}" for number in range(count)])
            commit(writer, ["x"])
            with writer.catalogue.transaction():
                writer.catalogue.remove(f"{number}" for number in range(count - 1))
        with counted() as work, open_writer(store) as writer, writer.catalogue.transaction():
            assert writer.catalogue.drop_segment("00000002") == 1
        works.append(work.sql)
    assert works[1] <= works[0] + 100


def test_an_empty_store_has_nothing_published(store: Store) -> None:
    with pytest.raises(NoPublishedIndex) as caught:
        store.open_published()
    assert "lookalike index" in caught.value.hint


def test_what_is_committed_but_not_published_is_not_seen(published: Store) -> None:
    with open_writer(published) as writer:
        commit(writer, ["new"])
    assert published.open_published().manifest.counts.indexed == 3


def test_ids_are_never_reused(published: Store) -> None:
    with open_writer(published) as writer:
        writer.catalogue.remove(["d"])
        assert writer.catalogue.next_id() == 5
        commit(writer, ["e"])
        assert [row.id for row in writer.catalogue.rows("indexed")] == [1, 2, 5]


def test_new_content_under_an_old_key_gets_a_new_id_and_the_old_vector_is_deleted(
    published: Store,
) -> None:
    with open_writer(published) as writer:
        commit(writer, ["a"])
        version = publish(writer)
    assert version.manifest.deleted == (1,)
    assert [row.id for row in version.catalogue.rows("indexed")] == [2, 4, 5]
    assert version.problems() == []


def test_a_draft_is_refused_if_the_catalogue_has_changed_since(published: Store) -> None:
    with open_writer(published) as writer:
        draft = writer.begin()
        commit(writer, ["e"])
        with pytest.raises(ValueError, match="has changed"):
            publish(writer, draft)
        assert published.current() == "00000001"
        assert publish(writer).manifest.counts.indexed == 4
    assert published.open_published().problems() == []


def test_a_segment_without_images_is_left_out_and_removed_once_no_version_needs_it(
    published: Store,
) -> None:
    with open_writer(published) as writer:
        writer.catalogue.remove(["d"])
        for _ in range(3):
            version = publish(writer)
            writer.collect_garbage()
    assert [segment.id for segment in version.segments] == ["00000001"]
    assert [folder.name for folder in published.segments.iterdir()] == ["00000001"]


def test_the_last_three_versions_are_kept(published: Store) -> None:
    with open_writer(published) as writer:
        for _ in range(4):
            publish(writer)
        writer.collect_garbage()
    kept = sorted(folder.name for folder in published.versions.iterdir())
    assert kept == ["00000003", "00000004", "00000005"]


def test_what_a_crash_left_behind_is_removed(published: Store) -> None:
    (published.segments / "00000009").mkdir()  # no marker, so it does not exist
    (published.versions / ".00000002.tmp").mkdir()
    (published.versions / "00000002").mkdir()  # complete, but CURRENT was not reached
    with open_writer(published) as writer:
        writer.collect_garbage()
    assert len(list(published.segments.iterdir())) == 2
    assert [folder.name for folder in published.versions.iterdir()] == ["00000001"]
    assert published.open_published().problems() == []


def test_the_number_of_an_unfinished_version_is_not_given_to_another(published: Store) -> None:
    (published.versions / ".00000070.tmp").mkdir()
    with open_writer(published) as writer:
        assert publish(writer).id == "00000071"


@pytest.mark.parametrize("name", ["versions/mywork/thesis.txt", "segments/.DS_Store", "notes.txt"])
def test_a_folder_with_other_files_is_refused_and_not_changed(store: Store, name: str) -> None:
    file = store.folder / name
    file.parent.mkdir(parents=True)
    file.write_text("precious")

    def build() -> None:
        with open_writer(store) as writer:
            writer.collect_garbage()

    if name == "notes.txt":
        with pytest.raises(ConfigError, match="holds other files"):
            build()
    else:
        build()
    assert file.read_text() == "precious"


def test_the_change_token_differs_after_any_change(published: Store) -> None:
    with open_writer(published) as writer:
        states = [writer.catalogue.change_token()]
        assert states == [published.open_published().manifest.state]
        writer.catalogue.remove(["a"])
        states.append(writer.catalogue.change_token())
        commit(writer, ["a"])
        states.append(writer.catalogue.change_token())
        commit(writer, [], ["c"])
        states.append(writer.catalogue.change_token())
    assert len(set(states)) == 4


def test_an_open_version_can_be_read_after_it_was_removed(published: Store) -> None:
    version = published.open_published()
    with open_writer(published) as writer:
        commit(writer, ["a", "b", "d"])
        for _ in range(4):
            publish(writer)
        writer.collect_garbage()
    row = version.catalogue.get(1)
    assert row is not None
    assert row.key == "a"


def test_two_encoders_never_share_a_store(published: Store) -> None:
    with open_writer(published) as writer:
        writer.require_encoder("e1", {"model": "vgg16", "layer": "fc2"})
        with pytest.raises(EncoderMismatch) as caught:
            writer.require_encoder("e2", {"model": "vgg16", "layer": "fc1"})
    assert "e1" in caught.value.message
    assert "e2" in caught.value.message


def _try_to_write(folder: Path, answers: "multiprocessing.Queue[str]") -> None:
    try:
        with open_writer(Store(folder)):
            answers.put("opened")
    except StoreBusy as error:
        answers.put(error.message)


def test_a_second_writer_is_refused_with_the_owner_named(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with open_writer(store):
        other = context.Process(target=_try_to_write, args=(store.folder, answers))
        other.start()
        assert f"process {multiprocessing.current_process().pid}" in answers.get(timeout=60)
        other.join()
    other = context.Process(target=_try_to_write, args=(store.folder, answers))
    other.start()
    assert answers.get(timeout=60) == "opened"
    other.join()


def test_a_failed_transaction_changes_nothing(published: Store) -> None:
    with open_writer(published) as writer:

        def fail_halfway() -> None:
            with writer.catalogue.transaction():
                writer.catalogue.remove(["a"])
                writer.catalogue.add([image("x")], first_id=2)  # the id of "b"

        with pytest.raises(sqlite3.IntegrityError):
            fail_halfway()
        assert writer.catalogue.counts().found == 4


def test_metadata_that_is_not_json_is_not_stored(published: Store) -> None:
    """One row of it would break the index of all."""
    bad = {"score": float("inf")}
    with open_writer(published) as writer:
        with pytest.raises(ValueError, match="Out of range"):
            writer.catalogue.update_metadata([("a", bad)])
        with pytest.raises(ValueError, match="Out of range"):
            writer.catalogue.add([NewImage("z", status="skipped", metadata=bad)], first_id=9)
        assert all(row.metadata != bad for row in writer.catalogue.rows())


def test_a_catalogue_that_cannot_grow_says_so(store: Store) -> None:
    with open_writer(store) as writer:
        commit(writer, ["a"])
        pages = writer.catalogue._query("PRAGMA page_count")[0][0]
        writer.catalogue._db.execute(f"PRAGMA max_page_count = {pages}")
        images = [NewImage(f"{n}" * 500, status="skipped", reason="r") for n in range(500)]
        with (
            pytest.raises(OSError, match="database or disk is full"),
            writer.catalogue.transaction(),
        ):
            writer.catalogue.add(images, first_id=10)
        assert writer.catalogue.counts().found == 1


def test_the_number_of_a_segment_is_not_given_again(published: Store) -> None:
    """Copies of the store may have its files longer than the store itself."""
    for keys in (["d"], ["a", "b"], []):
        with open_writer(published) as writer:
            with writer.catalogue.transaction():
                writer.catalogue.remove(keys)
            publish(writer)
            writer.collect_garbage(1)
    assert list(published.segments.iterdir()) == []
    with open_writer(published) as writer:
        commit(writer, ["e"])
        publish(writer)
    assert [segment.id for segment in published.open_published().segments] == ["00000003"]
