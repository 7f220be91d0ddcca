"""Reports of analyses: saved, replaced, read back, refused when damaged."""

import pytest

from indexer.errors import StoreCorrupt
from indexer.store import read_report, save_report


def test_a_report_is_read_back_and_replaced(published):
    store, manifest = published, published.open_published().manifest
    assert read_report(store, "suspects") is None
    for found in ({"suspects": [1]}, {"suspects": [1, 2]}):
        save_report(store, "suspects", manifest, found)
        report = read_report(store, "suspects")
        assert report.found == found
        assert report.is_of(manifest)
        assert not report.is_of(manifest.model_copy(update={"version": "00000002"}))
    assert read_report(store, "outliers") is None


def test_a_damaged_report_and_one_of_another_analysis_are_refused(published):
    store = published
    save_report(store, "leaks", store.open_published().manifest, {"leaks": []})
    path = store.reports / "leaks.json"
    path.with_name("suspects.json").write_bytes(path.read_bytes())
    with pytest.raises(StoreCorrupt, match="not a report of format 1"):
        read_report(store, "suspects")
    path.write_bytes(path.read_bytes().replace(b'"leaks"', b'"links"'))
    with pytest.raises(StoreCorrupt, match="checksum") as caught:
        read_report(store, "leaks")
    assert caught.value.hint.endswith("lookalike leaks --between SPLIT OTHER")


def test_a_link_is_neither_read_nor_written(published, tmp_path):
    store, manifest = published, published.open_published().manifest
    store.reports.rmdir()
    store.reports.symlink_to(tmp_path)
    with pytest.raises(StoreCorrupt, match="is a link"):
        save_report(store, "leaks", manifest, {})
    with pytest.raises(StoreCorrupt, match="is a link"):
        read_report(store, "leaks")
