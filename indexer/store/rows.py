"""The rows of the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class NewImage:
    """A file's row before it has an id. Skipped files have a reason, indexed ones a segment."""

    key: str
    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: str = "indexed"
    stage: str | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRow(NewImage):
    """A file's row.

    In the store's own catalogue ``segment`` and ``row`` say where its vector is, if it has one. In
    a version's they are None: its segments say whose vectors they hold.
    """

    id: int = 0
    segment: str | None = None
    row: int | None = None


class Stamp(NamedTuple):
    """What tells whether a file is still the one in the catalogue, and what became of it."""

    size: int | None
    mtime_ns: int | None
    reason: str | None
    pixels: int | None = None
    """Where they are known: of indexed images, and of those that have too many."""


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


ROW_COLUMNS = ", ".join(column.name for column in fields(NewImage))
"""What a row holds beside its id and, in the store's own catalogue, its place."""
