"""The JSON records of the store: a segment's marker and a version's manifest."""

from datetime import datetime

from indexer.config import DatasetConfig, IndexConfig
from indexer.store.files import FileRecord, Record

FORMAT = 1
"""Version of the layout on disk; a store of another format is refused, never guessed at."""


class Marker(Record):
    """Written last into a segment's folder: without it the segment does not exist."""

    format: int = FORMAT
    fingerprint: str
    """The encoder that made the vectors."""
    count: int
    dim: int
    files: dict[str, FileRecord]


class SegmentEntry(Record):
    """A segment as a manifest lists it."""

    id: str
    count: int


class Counts(Record):
    """How many files were found; found = indexed + skipped, always."""

    found: int
    indexed: int
    skipped: int


class Manifest(Record):
    """What a published version consists of."""

    format: int = FORMAT
    version: str
    created: datetime
    fingerprint: str
    """The encoder that made every vector of the version."""
    encoder: dict[str, str | int]
    """The encoder's specification, enough to open it again."""
    dim: int
    dataset: DatasetConfig
    index: IndexConfig
    counts: Counts
    state: tuple[int, int]
    """The catalogue's state when it was published: what has changed since, is not published."""
    segments: tuple[SegmentEntry, ...]
    deleted: tuple[int, ...]
    """Ids whose vectors lie in the segments but no longer count."""
    files: dict[str, FileRecord]
    """The version's own files: the catalogue snapshot and the derived structures."""
