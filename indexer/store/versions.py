"""Versions, which a server opens: the segments, layers and structures of a manifest."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from indexer.errors import StoreCorrupt
from indexer.store.catalogue import Catalogue
from indexer.store.contents import (
    TRAINED,
    Files,
    chosen_segments,
    derived_files,
    files_of,
    layer_files,
    manifest_path,
    part_name,
)
from indexer.store.files import (
    REBUILD_HINT,
    check_size,
    find_damage,
    read_record,
    refuse_link,
)
from indexer.store.records import FORMAT, DerivedKind, Manifest
from indexer.store.segments import Segment


class DerivedFiles(NamedTuple):
    """The files of a derived structure: its training, and one part per segment, in order."""

    trained: Path
    parts: list[Path]


def trained_path(folder: Path) -> Path:
    """Return the file with the training of the derived structure in a folder."""
    return folder / TRAINED


def layer_path(folder: Path, name: str) -> Path:
    """Return the path of a catalogue layer in the folder of layers."""
    return folder / f"{name}.sqlite"


class VersionPart:
    """Some segments of a published version, and their parts of its derived structures.

    The sizes of these files, and the encoder, were checked when it was opened; of the rest of the
    version nothing needs to be there but its manifest. Raises :class:`StoreCorrupt` if a part is
    missing, damaged or made by another encoder.
    """

    def __init__(self, store: Path, name: str, segments: Collection[str] | None = None) -> None:
        self.id = name
        self.folder = store / "versions" / name
        self._store = store
        self.manifest = read_manifest(store / manifest_path(name), name)
        for structure in self.manifest.derived.values():
            refuse_link(self._derived_folder(structure.folder))
        for path, record in derived_files(self.manifest, segments).items():
            check_size(store / path, record)
        entries = chosen_segments(self.manifest, segments)
        self.segments = [Segment(store / "segments" / entry.id) for entry in entries]
        for entry, segment in zip(entries, self.segments, strict=True):
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
        folder = self._derived_folder(derived.folder)
        return DerivedFiles(
            trained_path(folder), [folder / part_name(segment.id) for segment in self.segments]
        )

    def _derived_folder(self, name: str) -> Path:
        return self._store / "derived" / name


class Version(VersionPart):
    """One published version, whose files' sizes and encoder were checked when it was opened.

    Opening reads only the small records; :meth:`problems` reads and checks every byte. Raises
    :class:`StoreCorrupt` if a part is missing, damaged or made by another encoder.
    """

    def __init__(self, store: Path, name: str) -> None:
        super().__init__(store, name)
        layers = layer_files(self.manifest)
        for path, record in layers.items():
            check_size(store / path, record)
        self.catalogue = Catalogue.open_snapshot([store / path for path in layers])
        """The catalogue as it was when the version was published, read-only."""

    def problems(self) -> list[str]:
        """Check every checksum and, if all are right, every count; return what is wrong."""
        return list(self.damaged_files().values()) or self.count_problems()

    def damaged_files(self) -> dict[Path, str]:
        """Read all files of the version; return what is wrong with those that are not intact.

        A build can repair them, from the images or from the store's own catalogue.
        """
        paths = {self._store / path: record for path, record in self.files.items()}
        found = {path: find_damage(path, record) for path, record in paths.items()}
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

    @property
    def files(self) -> Files:
        """All files it consists of, by their paths below the store, without its records."""
        return files_of(self.manifest, {part.id: part.marker for part in self.segments})


def read_manifest(path: Path, version: str) -> Manifest:
    """Read the manifest of a version. Raises :class:`StoreCorrupt`, also if it is another's."""
    return check_manifest(read_record(path, Manifest), version, path)


def check_manifest(manifest: Manifest, version: str, source: object) -> Manifest:
    """Return a manifest of this version and format. Raises :class:`StoreCorrupt` for any other."""
    if manifest.format != FORMAT:
        raise StoreCorrupt(f"{source} has format {manifest.format}.", REBUILD_HINT)
    if manifest.version != version:
        raise StoreCorrupt(
            f"{source} holds the record of version {manifest.version}.", REBUILD_HINT
        )
    return manifest
