"""The JSON records of the store: segment markers, manifests and what they consist of."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import StringConstraints

from indexer.config import DatasetConfig, IndexConfig
from indexer.store.files import FileRecord, Record

FORMAT = 3
"""Version of the layout on disk; a store of another format is refused."""


Name = Annotated[str, StringConstraints(pattern="^[0-9]{1,20}$")]
"""The name of a folder or a file in the store: a number, never a path that could lead elsewhere."""


class Marker(Record):
    """The completion marker of a segment, written last; without it the segment does not exist."""

    format: int = FORMAT
    fingerprint: str
    """The encoder that made the vectors."""
    count: int
    dim: int
    files: dict[str, FileRecord]


class SegmentEntry(Record):
    """A segment as a manifest lists it."""

    id: Name
    count: int


class Counts(Record):
    """How many files were found; found = indexed + skipped, always."""

    found: int
    indexed: int
    skipped: int


DerivedKind = Literal["shortlist", "approximate", "map"]


class CatalogueLayer(Record):
    """One file of a version's catalogue; newer layers hide rows of older ones."""

    id: Name
    rows: int
    """How many rows it holds or hides."""
    next_id: int
    """The next new image's id when the layer was written: all ids in it are lower."""
    file: FileRecord


class DerivedPart(Record):
    """What a derived structure stores of one segment."""

    file: FileRecord
    vectors: str
    """SHA-256 of the vectors it was made from."""
    count: int
    error: float
    """Mean error of the trained structure on these vectors."""


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
    """The lower end of the 95 % confidence interval, for the kind of query where it is lower."""
    ms: float
    """Median of one query."""


class Recall(Record):
    """The measured recall of approximate search: the settings worth using, fastest first."""

    count: int
    last_id: int
    """The number of images it was measured on, and the largest id of them."""
    queries: int
    """How many queries of both kinds; 0 where exact search answers, as there are so few images."""
    exact_ms: float
    """Median of one query of exact search."""
    points: tuple[RecallPoint, ...]


class Derived(Record):
    """A structure trained on the vectors, with one file for each segment."""

    folder: Name
    setting: str
    """The setting: ``index.approximate``, the shortlist's levels or the map's axes."""
    made_by: str
    """What the setting stood for: a FAISS factory string, or the shortlist's levels."""
    trained: FileRecord
    trained_count: int
    trained_error: float
    """Number of vectors and average error when it was trained."""
    parts: dict[Name, DerivedPart]
    recall: Recall | None = None
    """Of the approximate index; it is kept until enough images have changed."""


class Damage(Record):
    """Segments, structures and layers that were found damaged, for the next build to repair."""

    segments: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    def __or__(self, other: "Damage") -> "Damage":
        """Return what is in either."""
        return Damage(
            segments=tuple(sorted({*self.segments, *other.segments})),
            derived=tuple(sorted({*self.derived, *other.derived})),
            layers=tuple(sorted({*self.layers, *other.layers})),
        )

    def __sub__(self, other: "Damage") -> "Damage":
        """Return what is in this one only."""
        return Damage(
            segments=tuple(sorted({*self.segments} - {*other.segments})),
            derived=tuple(sorted({*self.derived} - {*other.derived})),
            layers=tuple(sorted({*self.layers} - {*other.layers})),
        )


class Manifest(Record):
    """What a published version consists of."""

    format: int = FORMAT
    version: Name
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
    """The catalogue's change token when it was published; another one means unpublished changes."""
    segments: tuple[SegmentEntry, ...]
    deleted: tuple[int, ...]
    """Ids whose vectors lie in the segments but no longer count."""
    derived: dict[DerivedKind, Derived]
    """The shortlist, the approximate index and the map, where there are any."""
    layers: tuple[CatalogueLayer, ...]
    """The layers of the version's catalogue, the oldest first."""
