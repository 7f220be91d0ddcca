"""The opened indexes of a version: mapped vectors, shortlist and approximate index."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from indexer.config import Mode
from indexer.errors import StoreCorrupt
from indexer.store import Derived, DerivedFiles, DerivedKind, Version, VersionPart
from indexer.vector_index import (
    AUTO,
    ApproximateCoder,
    ApproximateIndex,
    ExactIndex,
    MappedVectors,
    Part,
    Shortlist,
    ShortlistCoder,
)
from indexer.vector_index.base import CandidateIndex

MAX_GROWTH = 4
"""Train again if the collection has grown or shrunk by more than this factor."""


def is_outgrown(structure: Derived, count: int) -> bool:
    """Tell whether a structure has to be trained again for this number of vectors."""
    return not 1 / MAX_GROWTH <= count / structure.trained_count <= MAX_GROWTH


def approximate_setting(asked: str, recall: float) -> str:
    """Return the setting that is recorded for an approximate index: a change trains it again.

    It includes the recall for ``auto``, which chooses its codes by it.
    """
    return f"{AUTO}, recall {recall}" if asked == AUTO else asked


def map_vectors(version: Version) -> MappedVectors:
    """Map the vectors of a version. Raises :class:`StoreCorrupt`."""
    vectors, indexed = _mapped(version), version.manifest.counts.indexed
    if len(vectors) != indexed:
        raise StoreCorrupt(
            f"{version.folder} lists {indexed} images; its segments hold {len(vectors)}."
        )
    return vectors


def _mapped(part: VersionPart) -> MappedVectors:
    parts = [Part(segment.vectors_path, segment.ids) for segment in part.segments]
    deleted = np.array(part.manifest.deleted, np.int64)
    return MappedVectors(parts, part.manifest.dim, deleted)


class Files(Protocol):
    """Finds the files of a derived structure."""

    def __call__(self, kind: DerivedKind) -> DerivedFiles | None:
        """Return the files of a structure, or None if there is none of that kind."""


class Indexes:
    """The indexes of a version: ``exact``, and ``approximate`` if there is one.

    Raises :class:`StoreCorrupt` if a file is not what it should be.
    """

    def __init__(self, vectors: MappedVectors, files: Files) -> None:
        self.vectors = vectors
        shortlist, approximate = files("shortlist"), files("approximate")
        self.exact = ExactIndex(
            vectors,
            Shortlist(ShortlistCoder.load(shortlist.trained), shortlist.parts, vectors)
            if shortlist
            else None,
        )
        self.approximate = (
            ApproximateIndex(
                ApproximateCoder.load(approximate.trained), approximate.parts, self.exact
            )
            if approximate
            else None
        )

    @classmethod
    def of(cls, version: Version) -> "Indexes":
        """Open the indexes of a version."""
        return cls(map_vectors(version), version.derived)

    @classmethod
    def of_part(cls, part: VersionPart) -> "Indexes":
        """Open the indexes of some of a version's segments."""
        return cls(_mapped(part), part.derived)

    @property
    def by_mode(self) -> Mapping[Mode, CandidateIndex]:
        """The index of each mode there is."""
        modes: dict[Mode, CandidateIndex] = {"exact": self.exact}
        if self.approximate:
            modes["approximate"] = self.approximate
        return modes
