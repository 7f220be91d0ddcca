"""The JSON records of the store: a segment's marker and a version's manifest."""

from datetime import datetime
from typing import Literal

from indexer.config import DatasetConfig, IndexConfig
from indexer.store.files import FileRecord, Record

FORMAT = 3
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


DerivedKind = Literal["shortlist", "approximate", "map"]


class CatalogueLayer(Record):
    """One of the files that a version's catalogue consists of; newer ones hide rows of older."""

    id: str
    rows: int
    """How many rows it holds or hides."""
    next_id: int
    """The id that the next new image got when it was written: older layers know no higher one."""
    file: FileRecord


class DerivedPart(Record):
    """One segment's share of a derived structure."""

    file: FileRecord
    vectors: str
    """SHA-256 of the vectors it was made from."""
    count: int
    error: float
    """How badly the training fits these vectors, on average."""


class RecallPoint(Record):
    """Recall@30 and time of approximate search with one setting."""

    nprobe: int
    """Inverted lists visited."""
    reranked: int
    """Candidates whose exact distances are measured."""
    stored: float
    """Mean recall of stored images, each left out of its own answer."""
    changed: float
    """Mean recall of mixtures of neighbours, changed at random."""
    recall: float
    """The lower end of the 95 % confidence interval, of the kind where it is lower."""
    ms: float
    """Median of one query."""


class Recall(Record):
    """What was measured of approximate search: the settings worth using, fastest first."""

    count: int
    last_id: int
    """The number of images it was measured on, and the largest id of them."""
    queries: int
    """How many queries of both kinds; 0 where so few images are all compared anyway."""
    exact_ms: float
    """Median of one query of exact search."""
    points: tuple[RecallPoint, ...]


class Derived(Record):
    """A structure trained on the vectors, and what it made of each segment."""

    folder: str
    setting: str
    """What was asked for: ``index.approximate``, the shortlist's levels, or the map's axes."""
    made_by: str
    """What that meant: a FAISS factory string, or the shortlist's levels."""
    trained: FileRecord
    trained_count: int
    trained_error: float
    """Number of vectors and average error when it was trained."""
    parts: dict[str, DerivedPart]
    recall: Recall | None = None
    """Of the approximate index; it is carried over until enough images have changed."""


class Damage(Record):
    """What ``verify`` found damaged, for the next build to make again."""

    segments: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


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
    derived: dict[DerivedKind, Derived]
    """The shortlist and the approximate index, where there are any."""
    layers: tuple[CatalogueLayer, ...]
    """The catalogue as it was when the version was published, the oldest layer first."""
