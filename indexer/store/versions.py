"""Versions: what a server opens, a manifest with a catalogue snapshot and derived structures."""

from pathlib import Path

import numpy as np

from indexer.errors import StoreCorrupt
from indexer.store.catalogue import Catalogue
from indexer.store.files import REBUILD_HINT, check_size, describe_file, read_record
from indexer.store.records import FORMAT, Manifest
from indexer.store.segments import Segment

MANIFEST = "manifest.json"
SNAPSHOT = "catalogue.sqlite"
APPROXIMATE = "approximate.faiss"


class Version:
    """One published version, opened: manifest read, sizes and encoder of all its parts checked.

    Opening reads the small records only; :meth:`problems` reads and checks every byte. Raises
    :class:`StoreCorrupt` if a part is missing, damaged or made by another encoder.
    """

    def __init__(self, folder: Path, segments: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.manifest = read_record(folder / MANIFEST, Manifest)
        if self.manifest.format != FORMAT:
            raise StoreCorrupt(f"{folder} has format {self.manifest.format}.", REBUILD_HINT)
        for name, record in self.manifest.files.items():
            check_size(folder / name, record)
        self.catalogue = Catalogue.frozen(folder / SNAPSHOT)
        """The catalogue as it was when the version was published, read-only."""
        self.segments = [Segment(segments / entry.id) for entry in self.manifest.segments]
        for entry, segment in zip(self.manifest.segments, self.segments, strict=True):
            expected = (self.manifest.fingerprint, self.manifest.dim, entry.count)
            if (segment.marker.fingerprint, segment.marker.dim, segment.count) != expected:
                raise StoreCorrupt(f"{segment.folder} is not the one published.", REBUILD_HINT)

    @property
    def approximate_path(self) -> Path | None:
        """The approximate index's file, if the version has one."""
        return self.folder / APPROXIMATE if APPROXIMATE in self.manifest.files else None

    def problems(self) -> list[str]:
        """Check every checksum and count and return what is wrong, nothing if all is well."""
        problems = [
            f"{self.folder / name} is damaged: its SHA-256 does not match"
            for name, record in self.manifest.files.items()
            if describe_file(self.folder / name) != record
        ]
        problems += [problem for segment in self.segments for problem in segment.problems()]
        return problems or self._catalogue_problems()

    def _catalogue_problems(self) -> list[str]:
        problems = [f"{self.catalogue.path}: {text}" for text in self.catalogue.problems()]
        counts = self.catalogue.counts()
        if counts != self.manifest.counts or counts.found != counts.indexed + counts.skipped:
            problems.append(f"the catalogue counts {counts}, the manifest {self.manifest.counts}")
        placed, deleted = 0, np.array(self.manifest.deleted, np.int64)
        for segment in self.segments:
            rows = np.flatnonzero(~np.isin(segment.ids, deleted, assume_unique=True))
            expected = np.stack([rows, segment.ids[rows]], axis=1)
            placed += len(rows)
            if not np.array_equal(self.catalogue.ids_in(segment.id), expected):
                problems.append(f"the ids in {segment.folder} are not those of the catalogue")
        if placed != counts.indexed:
            problems.append(f"{counts.indexed} images are indexed, the segments hold {placed}")
        return problems
