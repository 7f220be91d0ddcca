"""The rows of the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from indexer.images import Box


@dataclass(frozen=True, slots=True)
class NewImage:
    """A file's row before it has an id. Skipped files have a reason, indexed ones a segment.

    A box in a picture has a row like a file, with its file's size, format, width and height.
    """

    key: str
    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    """Of the file's content; of a box, see :func:`indexer.datasets.content_of_box`."""
    format: str | None = None
    width: int | None = None
    height: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: str = "indexed"
    stage: str | None = None
    reason: str | None = None
    message: str | None = None
    """Why it was skipped, or what is wrong with the file of an indexed image."""
    box: Box | None = None
    """The region of the upright picture that was encoded, if it is not all of it."""
    revision: str | None = None
    """Of the file, for the next build. Only the store's own catalogue has it, and no row that is
    read from one: versions do not need it."""
    exif: Mapping[str, Any] | None = None
    """What the camera noted in the file, for the metadata that builds make of it; None if the file
    was not read for it. It is kept as the revision is."""


@dataclass(frozen=True, slots=True)
class ImageRow(NewImage):
    """A file's row.

    In the store's own catalogue ``segment`` and ``row`` say where its vector is, if it has one. In
    a version's catalogue they are None: there the segments list the ids of their vectors.
    """

    id: int = 0
    segment: str | None = None
    row: int | None = None


class Stamp(NamedTuple):
    """What a scan is compared with: a file's size, time and revision, and why it was skipped."""

    size: int | None
    mtime_ns: int | None
    reason: str | None
    pixels: int | None = None
    """Known for indexed images, and for those that have too many pixels."""
    revision: str | None = None
    """None in a row that an older version of Lookalike wrote."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """The accounting of one build."""

    started: str
    seconds: float
    found: int
    indexed: int
    skipped: int
    encoded: int
    summary: str


OWN_NAMES = ("revision", "exif")
"""The columns that only the store's own catalogue has."""

ROW_NAMES = tuple(column.name for column in fields(NewImage) if column.name not in OWN_NAMES)
ROW_COLUMNS = ", ".join(ROW_NAMES)
"""The columns of a row in every catalogue, without its id and the location of its vector."""
