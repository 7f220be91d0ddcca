"""Vectors and catalogue on disk: immutable segments, a SQLite catalogue, published versions."""

from indexer.store.catalogue import Catalogue, ImageRow, NewImage, RunRow, Stamp
from indexer.store.files import REBUILD_HINT
from indexer.store.records import Counts, Manifest
from indexer.store.segments import Segment
from indexer.store.store import Store
from indexer.store.versions import Version
from indexer.store.writer import Writer, open_writer

__all__ = [
    "REBUILD_HINT",
    "Catalogue",
    "Counts",
    "ImageRow",
    "Manifest",
    "NewImage",
    "RunRow",
    "Segment",
    "Stamp",
    "Store",
    "Version",
    "Writer",
    "open_writer",
]
