"""Versions: what a server opens, a manifest with a catalogue snapshot and derived structures."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from indexer.errors import StoreCorrupt
from indexer.store.catalogue import Catalogue
from indexer.store.files import (
    REBUILD_HINT,
    FileRecord,
    check_size,
    describe_file,
    read_record,
)
from indexer.store.records import FORMAT, DerivedKind, Manifest
from indexer.store.segments import Segment

MANIFEST = "manifest.json"
SNAPSHOT = "catalogue.sqlite"


class DerivedFiles(NamedTuple):
    """Where a derived structure lies: its training, and its part of each segment in order."""

    trained: Path
    parts: list[Path]


def trained_path(folder: Path) -> Path:
    """Return where a derived structure keeps its training."""
    return folder / "trained"


def part_name(segment: str) -> str:
    """Return the name of the file a derived structure keeps of a segment."""
    return f"{segment}.npy"


class Version:
    """One published version, opened: manifest read, sizes and encoder of all its parts checked.

    Opening reads the small records only; :meth:`problems` reads and checks every byte. Raises
    :class:`StoreCorrupt` if a part is missing, damaged or made by another encoder.
    """

    def __init__(self, folder: Path, segments: Path, derived: Path) -> None:
        self.folder = folder
        self._derived = derived
        self.id = folder.name
        self.manifest = read_record(folder / MANIFEST, Manifest)
        if self.manifest.format != FORMAT:
            raise StoreCorrupt(f"{folder} has format {self.manifest.format}.", REBUILD_HINT)
        for name, record in self.manifest.files.items():
            check_size(folder / name, record)
        for path, record in self._derived_files().items():
            check_size(path, record)
        self.catalogue = Catalogue.frozen(folder / SNAPSHOT)
        """The catalogue as it was when the version was published, read-only."""
        self.segments = [Segment(segments / entry.id) for entry in self.manifest.segments]
        for entry, segment in zip(self.manifest.segments, self.segments, strict=True):
            expected = (self.manifest.fingerprint, self.manifest.dim, entry.count)
            if (segment.marker.fingerprint, segment.marker.dim, segment.count) != expected:
                raise StoreCorrupt(f"{segment.folder} is not the one published.", REBUILD_HINT)

    def derived(self, kind: DerivedKind) -> "DerivedFiles | None":
        """Return where a derived structure lies, if the version has it."""
        derived = self.manifest.derived.get(kind)
        if derived is None:
            return None
        folder = self._derived / derived.folder
        return DerivedFiles(
            trained_path(folder), [folder / part_name(segment.id) for segment in self.segments]
        )

    def problems(self) -> list[str]:
        """Check every checksum and count and return what is wrong, nothing if all is well."""
        damaged = [*self.damaged_files(), *self._own_damage()]
        problems = [f"{path} is damaged: its SHA-256 does not match" for path in damaged]
        return problems or self._catalogue_problems()

    def damaged_files(self) -> list[Path]:
        """Read the files of segments and derived structures; return those that are not as made.

        A build can make them again from the images.
        """
        files = self._derived_files()
        for segment in self.segments:
            files |= {segment.folder / name: r for name, r in segment.marker.files.items()}
        return [path for path, record in files.items() if describe_file(path) != record]

    def _own_damage(self) -> list[Path]:
        files = {self.folder / name: record for name, record in self.manifest.files.items()}
        return [path for path, record in files.items() if describe_file(path) != record]

    def _derived_files(self) -> dict[Path, FileRecord]:
        """Return all files of the derived structures. Each lists exactly the segments' parts."""
        files: dict[Path, FileRecord] = {}
        for derived in self.manifest.derived.values():
            folder = self._derived / derived.folder
            files[trained_path(folder)] = derived.trained
            for entry in self.manifest.segments:
                if entry.id not in derived.parts:
                    raise StoreCorrupt(f"{folder} lacks segment {entry.id}.", REBUILD_HINT)
                files[folder / part_name(entry.id)] = derived.parts[entry.id].file
        return files

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
