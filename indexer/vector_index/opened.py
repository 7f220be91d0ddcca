"""The opened indexes of a version: mapped vectors, shortlist and approximate index."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from indexer.config import Mode
from indexer.errors import StoreCorrupt
from indexer.store import Derived, DerivedFiles, DerivedKind, Version
from indexer.vector_index import (
    AUTO,
    ApproximateCoder,
    ApproximateIndex,
    ExactIndex,
    MappedVectors,
    Part,
    Shortlist,
    ShortlistCoder,
    VectorIndex,
)

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
        manifest = version.manifest
        parts = [Part(segment.vectors_path, segment.ids) for segment in version.segments]
        vectors = MappedVectors(parts, manifest.dim, np.array(manifest.deleted, np.int64))
        if len(vectors) != manifest.counts.indexed:
            raise StoreCorrupt(
                f"{version.folder} lists {manifest.counts.indexed} images; its segments hold "
                f"{len(vectors)}."
            )
        return cls(vectors, version.derived)

    @property
    def by_mode(self) -> Mapping[Mode, VectorIndex]:
        """The index of each mode there is."""
        modes: dict[Mode, VectorIndex] = {"exact": self.exact}
        if self.approximate:
            modes["approximate"] = self.approximate
        return modes
