"""Saved reports: read once, without images that are gone, refused when damaged."""

from pathlib import Path
from typing import Any

import pytest

import indexer.analysis.saved
from indexer.analysis import Duplicates, Leaks, Outliers, Reports, Suspects
from indexer.build import build
from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.search import Searcher
from indexer.store import Store, read_report, save_report
from tests.conftest import Reindex, delete


def group(*ids: int) -> dict[str, Any]:
    file = {"width": 9, "height": 9, "bytes": 100, "mtime": None}
    relation = {"distance": 0, "kind": "identical", "changes": []}
    copies = [{"id": image_id, "key": str(image_id), **file, **relation} for image_id in ids]
    return {"kind": "identical", "images": copies}


LIMIT = {"within": 0.4, "is_suggested": True, "median": 1.2, "chance": 0.01}
FOUND: dict[Any, dict[str, Any]] = {
    Duplicates: {
        "version": "00000001",
        "images": 6,
        "limit": LIMIT,
        "crowded": 0,
        "compared": None,
        "unread": 0,
        "why_unread": "",
        "groups": [group(1, 2, 3), group(2, 4), group(4, 5), group(6, 2)],
    },
    Leaks: {
        "version": "00000001",
        "between": ["train", "val"],
        "by": "split",
        "images": 3,
        "limit": LIMIT,
        "crowded": 0,
        "compared": 3,
        "unread": 0,
        "why_unread": "",
        "leaks": [
            {"id": a, "key": "", "of_id": b, "of_key": "", "distance": 0, "kind": "same"}
            for a, b in ((1, 2), (2, 3), (4, 5))
        ],
    },
    Suspects: {
        "version": "00000001",
        "by": "folder",
        "judged": 6,
        "found": 2,
        "suspects": [
            {"id": i, "key": "", "labels": ["a"], "suggested": "b", "margin": 1, "neighbours": [1]}
            for i in (2, 3)
        ],
    },
    Outliers: {
        "version": "00000001",
        "images": 6,
        "median": 0.9,
        "outliers": [{"id": i, "key": "", "distance": 1.1} for i in (1, 2)],
    },
}
NAMES = indexer.analysis.saved.NAMES


def save(config: Config, kind: type) -> Path:
    store = Store(config.store)
    save_report(store, NAMES[kind], store.open_published().manifest, FOUND[kind])
    return store.reports / f"{NAMES[kind]}.json"


def test_images_that_are_gone_are_left_out(config: Config, reindex: Reindex) -> None:
    reindex()
    searcher, reports = Searcher.open(config), Reports(config)
    assert reports.get(Duplicates, searcher) is None
    assert not reports.has("duplicates")
    for kind in FOUND:
        save(config, kind)
    saved = reports.get(Duplicates, searcher)
    assert saved is not None
    assert (saved.is_current, saved.gone, len(saved.found.groups)) == (True, 0, 4)
    assert saved.found.limit.within == 0.4
    assert [reports.names(Duplicates, i) for i in (3, 5, 7)] == [True, True, False]
    delete(config.dataset.roots[0] / searcher.collection.image(2).key)
    build(config)
    searcher = Searcher.open(config)
    saved = reports.get(Duplicates, searcher)
    assert saved is not None
    assert (saved.is_current, saved.gone, saved.version) == (False, 1, "00000001")
    groups = [[one.id for one in group.images] for group in saved.found.groups]
    assert groups == [[1, 3], [4, 5]], "a group without its best, or of one image, is none"
    leaks, suspects = reports.get(Leaks, searcher), reports.get(Suspects, searcher)
    outliers = reports.get(Outliers, searcher)
    assert leaks is not None
    assert suspects is not None
    assert outliers is not None
    assert [one.id for one in leaks.found.leaks] == [4]
    assert [one.id for one in suspects.found.suspects] == [3]
    assert [one.id for one in outliers.found.outliers] == [1]


def test_a_report_is_read_once_until_another_replaces_it(
    config: Config, reindex: Reindex, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(*args: Any) -> Any:
        read.append(args)
        return read_report(*args)

    monkeypatch.setattr(indexer.analysis.saved, "read_report", counted)
    reindex()
    searcher, reports = Searcher.open(config), Reports(config)
    path = save(config, Outliers)
    assert reports.get(Outliers, searcher) is reports.get(Outliers, searcher)
    reports.get(Outliers, Searcher.open(config))
    assert len(read) == 1
    path.write_bytes(path.read_bytes()[:-40])
    for _ in range(2):
        with pytest.raises(StoreCorrupt) as caught:
            reports.get(Outliers, searcher)
        assert "lookalike outliers" in caught.value.hint
    assert len(read) == 2
    assert reports.has("outliers")
    save(config, Outliers)
    assert reports.get(Outliers, searcher)
    assert len(read) == 3


def test_who_only_asks_for_names_does_not_wait(config: Config, reindex: Reindex) -> None:
    reindex()
    reports = Reports(config)
    save(config, Outliers)
    with reports._lock:  # as while somebody reads a report
        assert not reports.names(Outliers, 1)
    assert reports.names(Outliers, 1)
    with reports._lock:
        assert reports.names(Outliers, 1)
        assert not reports.names(Outliers, 3)


def test_a_report_with_other_fields_is_refused(config: Config, reindex: Reindex) -> None:
    reindex()
    store = Store(config.store)
    save_report(store, "suspects", store.open_published().manifest, {"version": "00000001"})
    with pytest.raises(StoreCorrupt, match="of another Lookalike: Field required"):
        Reports(config).get(Suspects, Searcher.open(config))
