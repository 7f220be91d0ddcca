"""Versions: list, roll back, prune."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.config import Config
from indexer.errors import NoPublishedIndex, StoreCorrupt, UnknownVersion
from indexer.maintenance import prune, rollback, status, verify, versions
from indexer.search import Searcher
from indexer.store import Store, open_writer
from tests.conftest import Reindex
from tests.stores import publish


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
    assert prune(config, 1) == ["00000002"]  # the last and the published one are kept
    assert reindex().version == "00000004"
    assert verify(config).problems == []


def test_a_damaged_version_is_not_rolled_back_to(
    reindex: Reindex, images: Path, config: Config
) -> None:
    reindex()
    next(images.rglob("*.jpg")).unlink()
    reindex()
    store = Store(config.store)
    layer = store.version("00000001").manifest.layers[0].id
    (store.layers / f"{layer}.sqlite").write_bytes(b"")
    with pytest.raises(StoreCorrupt):
        rollback(config)
    assert store.current() == "00000002"
    (store.versions / "00000001" / "manifest.json").write_bytes(b"")
    assert [v.indexed for v in versions(config)] == [None, 5]
    assert reindex().version == "00000002"


@pytest.mark.parametrize("content", ["", "noise", "00000099"])
def test_without_the_name_of_the_published_version_one_is_rolled_back_to(
    published: Store, content: str
) -> None:
    config = Config(store=published.folder)
    (published.folder / "CURRENT").write_text(content)
    assert [v.published for v in versions(config)] == [False]
    assert rollback(config, "1") == "00000001"
    assert verify(config).problems == []


def test_a_build_that_does_not_find_the_published_version_publishes_again(
    reindex: Reindex, config: Config
) -> None:
    reindex()
    path = config.store / "CURRENT"
    path.write_text("")
    report = reindex()
    assert (report.version, report.encoded) == ("00000002", 0)
    assert report.notes == [f"{path} does not name a version. A new version was published."]
    assert reindex().notes == []


def test_a_manifest_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(
    published: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = published.versions / "00000001" / "manifest.json"
    really_open = os.open

    def open_file(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == manifest:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_open(path, flags, mode)

    with open_writer(published) as writer:
        publish(writer)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", open_file)
            with pytest.raises(OSError, match="Too many open files"):
                writer.collect_garbage()
        assert manifest.exists()


def test_nothing_is_pruned_or_made_where_there_is_no_store(store: Store) -> None:
    with pytest.raises(NoPublishedIndex):
        prune(Config(store=store.folder), 1)
    assert not store.folder.exists()


def test_status_does_not_mind_files_that_are_removed_meanwhile(
    reindex: Reindex, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex()
    walk = os.walk
    kept = status(config).bytes_on_disk
    (config.store / "gone").write_bytes(b"12345")

    def walk_and_remove(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for entry in walk(folder):
            (config.store / "gone").unlink(missing_ok=True)
            yield entry

    monkeypatch.setattr(os, "walk", walk_and_remove)
    assert status(config).bytes_on_disk == kept
