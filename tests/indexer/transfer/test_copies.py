"""Push and pull: what moves, what stays, and that the copy answers like the original."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.build import build
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import ConfigError, NoPublishedIndex
from indexer.maintenance import prune, rollback, status, verify, versions
from indexer.object_storage import ObjectFolder
from indexer.search import Query, Searcher, Selection
from indexer.store import Store, open_writer
from indexer.transfer import pull, push
from tests.conftest import Reindex, delete
from tests.stores import commit, publish


def add(store: Store, *keys: str) -> None:
    """Publish another version with some more images."""
    with open_writer(store) as writer:
        commit(writer, keys)
        publish(writer)
        writer.collect_garbage()


def contents(store: Path) -> dict[str, bytes]:
    """The files of a copy of a store, by their paths."""
    files = (path for path in store.rglob("*") if path.is_file())
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in files
        if not path.name.startswith(("build.", "catalogue.", "COPY"))
    }


def test_a_pulled_copy_answers_like_the_original(
    demo_config: Config, address: str, tmp_path: Path, photos: list[Path]
) -> None:
    here = demo_config.model_copy(update={"store": tmp_path / "pulled"})
    pushed = push(demo_config, address)
    pulled = pull(here, address)
    assert (pushed.version, pushed.images) == (pulled.version, pulled.images) == ("00000001", 40)
    assert pulled.bytes == pulled.total_bytes == pushed.total_bytes < pushed.bytes
    assert contents(here.store) == contents(demo_config.store)
    assert verify(here).problems == []
    original, pulled_copy = Searcher.open(demo_config), Searcher.open(here)
    for mode in ("exact", "approximate"):
        for photo in photos[3:200:60]:
            query, selection = Query(image=photo.read_bytes()), Selection(mode=mode)
            answers = [
                [
                    (hit.image.id, hit.distance.hex())
                    for hit in searcher.search(query, selection).hits
                ]
                for searcher in (original, pulled_copy)
            ]
            assert answers[0] == answers[1], "ids and the bits of distances"


def test_only_what_is_missing_moves(published: Store, copy: Config, address: str) -> None:
    config = Config(store=published.folder)
    first = push(config, address)
    assert first.files == 8, "two segments of three files, a layer, the manifest"
    assert (push(config, address).files, push(config, address).bytes) == (0, 0)
    assert pull(copy, address).files == 5, "records are not counted"
    assert (pull(copy, address).files, pull(copy, address).bytes) == (0, 0)
    add(published, "e")
    assert push(config, address).files == 5, "a segment, a layer, the manifest"
    pulled = pull(copy, address)
    assert (pulled.files, pulled.version) == (3, "00000002")
    assert contents(copy.store) == contents(config.store)
    assert [(v.version, v.published) for v in versions(copy)] == [
        ("00000001", False),
        ("00000002", True),
    ]


def test_what_no_kept_version_needs_is_removed(
    published: Store, copy: Config, address: str
) -> None:
    config = Config(store=published.folder)
    folder = ObjectFolder(address)
    for number in range(3):
        push(config, address)
        pull(copy, address)
        add(published, f"{number}.jpg")
    folder.replace("notes.txt", b"mine", None)
    assert push(config, address).removed
    pull(copy, address)
    kept = {name for name in folder.list() if name.startswith("versions/")}
    assert kept == {f"versions/0000000{n}/manifest.json" for n in (2, 3, 4)}
    assert folder.read("notes.txt", 10) == b"mine"
    there = {name for name in folder.list() if name not in ("notes.txt", "CURRENT", "COPY")}
    assert there == contents(config.store).keys() - {"CURRENT"}
    assert contents(copy.store) == contents(config.store)


def test_a_copy_follows_a_rollback(published: Store, copy: Config, folder_address: str) -> None:
    config = Config(store=published.folder)
    add(published, "e")
    push(config, folder_address)
    pull(copy, folder_address)
    rollback(config)
    assert push(config, folder_address).files == 2, "the older version's layer and manifest"
    assert pull(copy, folder_address).version == "00000001"
    assert Store(copy.store).current() == "00000001"
    rollback(config, "2")
    push(config, folder_address)
    assert pull(copy, folder_address).version == "00000002"


def test_a_copy_of_an_index_that_was_pruned_since_is_brought_up_to_date(
    published: Store, copy: Config, folder_address: str
) -> None:
    config = Config(store=published.folder)
    push(config, folder_address)
    pull(copy, folder_address)
    for number in range(3):
        add(published, f"{number}.jpg")
    prune(config, 1)
    push(config, folder_address)
    assert pull(copy, folder_address).version == "00000004"
    assert verify(copy).problems == []


def test_a_pulled_copy_has_no_catalogue_of_its_own_until_a_build_makes_one(
    reindex: Reindex, config: Config, images: Path, address: str, tmp_path: Path
) -> None:
    reindex()
    push(config, address)
    here = config.model_copy(update={"store": tmp_path / "pulled"})
    pull(here, address)
    assert Store(here.store).is_mere_copy
    assert (status(here).last_run, status(here).counts.indexed) == (None, 6)
    assert verify(here).problems == []
    delete(next(images.rglob("*.jpg")))
    report = build(here)
    assert (report.encoded, report.indexed, report.version) == (0, 5, "00000002")
    push(here, address)
    assert pull(config, address).version == "00000002", "the first one goes on from there"
    assert verify(config).problems == []
    assert [Store(one.store).is_mere_copy for one in (config, here)] == [True, False]
    assert reindex().encoded == 0
    assert verify(config).problems == []


def test_a_copy_in_a_folder_is_a_store(published: Store, tmp_path: Path) -> None:
    push(Config(store=published.folder), f"file://{tmp_path}/copy")
    assert status(Config(store=tmp_path / "copy")).last_run is None
    assert verify(Config(store=tmp_path / "copy")).problems == []


def test_without_an_index_there_is_nothing_to_push(store: Store, address: str) -> None:
    with pytest.raises(NoPublishedIndex):
        push(Config(store=store.folder), address)
    assert ObjectFolder(address).list() == {}


@pytest.mark.parametrize("wrong", ["s3:/bucket", "folder", "s3://", "://x", "nonsense://bucket"])
@pytest.mark.parametrize("move", [push, pull])
def test_what_is_no_address_is_refused(
    published: Store, wrong: str, move: Callable[[Config, str], object]
) -> None:
    with pytest.raises(ConfigError):
        move(Config(store=published.folder), wrong)


def test_a_folder_of_other_files_is_no_place_to_pull_into(
    published: Store, copy: Config, folder_address: str
) -> None:
    push(Config(store=published.folder), folder_address)
    copy.store.mkdir()
    (copy.store / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        pull(copy, folder_address)
    shutil.rmtree(copy.store)
    assert pull(copy, folder_address).files == 5


def test_the_commands_say_what_moved(
    published: Store, copy: Config, folder_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, store in (("push", published.folder), ("pull", copy.store)):
        assert main([verb, folder_address, "--store", str(store), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["version"], found["images"], found["address"]) == (
            "00000001",
            3,
            folder_address,
        )
        assert found["bytes"] >= found["total_bytes"] > 0
        assert main([verb, folder_address, "--store", str(store)]) == 0
        assert f"{verb}ed version 00000001, 3 images, " in capsys.readouterr().out
    assert main(["pull", f"{folder_address}/nothing", "--store", str(copy.store)]) == 1
    assert "lookalike push" in capsys.readouterr().err
