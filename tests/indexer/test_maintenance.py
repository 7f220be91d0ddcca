"""Versions: list, roll back, prune."""

from pathlib import Path

import pytest

from indexer.config import Config
from indexer.errors import StoreCorrupt, UnknownVersion
from indexer.maintenance import prune, rollback, verify, versions
from indexer.search import Searcher
from indexer.store import Store
from tests.conftest import Reindex


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
