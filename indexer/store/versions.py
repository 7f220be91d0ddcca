"""Versions, which a server opens: the segments, layers and structures of a manifest."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from indexer.errors import StoreCorrupt
from indexer.store.catalogue import Catalogue
from indexer.store.files import (
    REBUILD_HINT,
    FileRecord,
    check_size,
    find_damage,
    read_record,
    refuse_link,
)
from indexer.store.records import FORMAT, DerivedKind, Manifest
from indexer.store.segments import Segment

MANIFEST = "manifest.json"


class DerivedFiles(NamedTuple):
    """The files of a derived structure: its training, and one part per segment, in order."""

    trained: Path
    parts: list[Path]


def trained_path(folder: Path) -> Path:
    """Return the file with the training of the derived structure in a folder."""
    return folder / "trained"


def part_name(segment: str) -> str:
    """Return the name of a derived structure's file for a segment."""
    return f"{segment}.npy"


def layer_path(folder: Path, name: str) -> Path:
    """Return the path of a catalogue layer in the folder of layers."""
    return folder / f"{name}.sqlite"


class Version:
    """One published version, whose files' sizes and encoder were checked when it was opened.

    Opening reads only the small records; :meth:`problems` reads and checks every byte. Raises
    :class:`StoreCorrupt` if a part is missing, damaged or made by another encoder.
    """

    def __init__(self, folder: Path, segments: Path, derived: Path, layers: Path) -> None:
        self.folder = folder
        self._derived = derived
        self._layers = layers
        self.id = folder.name
        self.manifest = read_record(folder / MANIFEST, Manifest)
        if self.manifest.format != FORMAT:
            raise StoreCorrupt(f"{folder} has format {self.manifest.format}.", REBUILD_HINT)
        if self.manifest.version != self.id:
            raise StoreCorrupt(
                f"{folder} holds the record of version {self.manifest.version}.", REBUILD_HINT
            )
        for structure in self.manifest.derived.values():
            refuse_link(derived / structure.folder)
        for path, record in (self._layer_files() | self._derived_files()).items():
            check_size(path, record)
        self.catalogue = Catalogue.open_snapshot(list(self._layer_files()))
        """The catalogue as it was when the version was published, read-only."""
        self.segments = [Segment(segments / entry.id) for entry in self.manifest.segments]
        for entry, segment in zip(self.manifest.segments, self.segments, strict=True):
            expected = (self.manifest.fingerprint, self.manifest.dim, entry.count)
            if (segment.marker.fingerprint, segment.marker.dim, segment.count) != expected:
                raise StoreCorrupt(
                    f"{segment.folder} is not the segment that was published.", REBUILD_HINT
                )

    def derived(self, kind: DerivedKind) -> "DerivedFiles | None":
        """Return the files of a derived structure, or None if the version has none of that kind."""
        derived = self.manifest.derived.get(kind)
        if derived is None:
            return None
        folder = self._derived / derived.folder
        return DerivedFiles(
            trained_path(folder), [folder / part_name(segment.id) for segment in self.segments]
        )

    def problems(self) -> list[str]:
        """Check every checksum and, if all are right, every count; return what is wrong."""
        return list(self.damaged_files().values()) or self.count_problems()

    def damaged_files(self) -> dict[Path, str]:
        """Read all files of the version; return what is wrong with those that are not intact.

        A build can repair them, from the images or from the store's own catalogue.
        """
        files = self._layer_files() | self._derived_files()
        for segment in self.segments:
            files |= {segment.folder / name: r for name, r in segment.marker.files.items()}
        found = {path: find_damage(path, record) for path, record in files.items()}
        return {path: problem for path, problem in found.items() if problem}

    def count_problems(self) -> list[str]:
        """Check the counts of the catalogue, the manifest and the segments of intact files."""
        problems = self.catalogue.problems()
        counts = self.catalogue.counts()
        if counts != self.manifest.counts or counts.found != counts.indexed + counts.skipped:
            problems.append(f"the catalogue counts {counts}, the manifest {self.manifest.counts}")
        deleted = np.array(self.manifest.deleted, np.int64)
        alive = [segment.ids[~np.isin(segment.ids, deleted)] for segment in self.segments]
        stored = np.sort(np.concatenate([np.empty(0, np.int64), *alive]))
        if not np.array_equal(self.catalogue.ids("indexed"), stored):
            problems.append("the ids in the segments are not those of the catalogue")
        return problems

    def _layer_files(self) -> dict[Path, FileRecord]:
        """Return the files of the catalogue, the oldest layer first."""
        return {layer_path(self._layers, layer.id): layer.file for layer in self.manifest.layers}

    def _derived_files(self) -> dict[Path, FileRecord]:
        """Return the files of the derived structures. Raises StoreCorrupt if one lacks a part."""
        files: dict[Path, FileRecord] = {}
        for derived in self.manifest.derived.values():
            folder = self._derived / derived.folder
            files[trained_path(folder)] = derived.trained
            for entry in self.manifest.segments:
                if entry.id not in derived.parts:
                    raise StoreCorrupt(f"{folder} lacks segment {entry.id}.", REBUILD_HINT)
                files[folder / part_name(entry.id)] = derived.parts[entry.id].file
        return files
