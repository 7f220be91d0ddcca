"""What versions consist of: the one list that checks, copies and the removal of files go by.

Paths are relative to the store, with slashes, here and in a copy of it elsewhere.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from indexer.errors import StoreCorrupt
from indexer.store.files import REBUILD_HINT, FileRecord
from indexer.store.records import Derived, Manifest, Marker, SegmentEntry

MANIFEST = "manifest.json"
MARKER = "segment.json"
TRAINED = "trained"

Files = dict[str, FileRecord]
"""Immutable files by their paths, each with its size and SHA-256."""


def manifest_path(version: str) -> str:
    """Return the path of a version's manifest."""
    return f"versions/{version}/{MANIFEST}"


def marker_path(segment: str) -> str:
    """Return the path of a segment's marker."""
    return f"segments/{segment}/{MARKER}"


def part_name(segment: str) -> str:
    """Return the name of a derived structure's file for a segment."""
    return f"{segment}.npy"


def layer_files(manifest: Manifest) -> Files:
    """Return the files of a version's catalogue, the oldest layer first."""
    return {f"layers/{layer.id}.sqlite": layer.file for layer in manifest.layers}


def chosen_segments(
    manifest: Manifest, segments: Collection[str] | None = None
) -> list[SegmentEntry]:
    """Return the segments of a version, or those of these ids."""
    return [entry for entry in manifest.segments if segments is None or entry.id in segments]


def derived_files(manifest: Manifest, segments: Collection[str] | None = None) -> Files:
    """Return the files of a version's derived structures, for all segments or these.

    Raises StoreCorrupt if one is missing.
    """
    files: Files = {}
    for derived in manifest.derived.values():
        files |= _structure_files(derived, chosen_segments(manifest, segments))
    return files


def _structure_files(derived: Derived, segments: Iterable[SegmentEntry]) -> Files:
    folder = f"derived/{derived.folder}"
    files = {f"{folder}/{TRAINED}": derived.trained}
    for entry in segments:
        if entry.id not in derived.parts:
            raise StoreCorrupt(f"{folder} lacks segment {entry.id}.", REBUILD_HINT)
        files[f"{folder}/{part_name(entry.id)}"] = derived.parts[entry.id].file
    return files


def segment_files(segment: str, marker: Marker) -> Files:
    """Return the files of a segment."""
    return {f"segments/{segment}/{name}": record for name, record in marker.files.items()}


def files_of(manifest: Manifest, markers: Mapping[str, Marker]) -> Files:
    """Return all files of a version; its records, the markers and the manifest, name them.

    ``markers`` are those of its segments. Raises :class:`~indexer.errors.StoreCorrupt`.
    """
    files: Files = {}
    for entry in manifest.segments:
        files |= segment_files(entry.id, markers[entry.id])
    return files | layer_files(manifest) | derived_files(manifest)


@dataclass(frozen=True, slots=True)
class Needed:
    """The names of all that some versions consist of, and what else must be kept."""

    versions: frozenset[str]
    segments: frozenset[str]
    derived: frozenset[str]
    layers: frozenset[str]
    graphs: frozenset[str]

    @classmethod
    def of(
        cls,
        manifests: Iterable[Manifest],
        *,
        versions: Iterable[str] = (),
        segments: Iterable[str] = (),
        layers: Iterable[str] = (),
        graphs: Iterable[str] = (),
    ) -> "Needed":
        """Return what these versions need, and some more by their names."""
        kept = list(manifests)
        all_versions = frozenset([*versions, *(m.version for m in kept)])
        return cls(
            versions=all_versions,
            segments=frozenset([*segments, *(entry.id for m in kept for entry in m.segments)]),
            derived=frozenset(one.folder for m in kept for one in m.derived.values()),
            layers=frozenset([*layers, *(layer.id for m in kept for layer in m.layers)]),
            graphs=frozenset([*graphs, *all_versions]),
        )

    def __contains__(self, path: str) -> bool:
        """Tell whether a folder or a file in one of the store's folders is needed."""
        match PurePosixPath(path).parts:
            case "versions", name, *_:
                return name in self.versions
            case "segments", name, *_:
                return name in self.segments
            case "derived", name:
                return name in self.derived
            case "derived", name, file:
                return name in self.derived and (
                    file == TRAINED or file.removesuffix(".npy") in self.segments
                )
            case "graphs", name:
                return name in self.graphs
            case "layers", file:
                return file.removesuffix(".sqlite") in self.layers
        return False
