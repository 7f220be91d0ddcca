"""What a store lacks of a version at an address is fetched, and checked byte by byte."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from indexer.errors import DiskTooSmall, IndexesDiffer, ObjectStorageError, StoreCorrupt
from indexer.object_storage import ObjectGone
from indexer.store import Manifest, Store, read_damage
from indexer.store.contents import Files, derived_files, layer_files, marker_path, segment_files
from indexer.store.files import FileRecord, find_damage, refuse_link, replace_file, sync
from indexer.store.records import Marker
from indexer.transfer.copy import DAMAGED_HINT, Copy
from indexer.transfer.moving import THREADS, Progress, move

OTHER_STORE_HINT = "Pull into another --store, or push this one to another address."

Markers = Mapping[str, tuple[Marker, bytes]]
"""The markers of segments, by their ids, and the bytes they were read from."""


def sound_manifests(store: Store) -> dict[str, Manifest]:
    """Return the manifests of a store's versions that are not damaged, by id."""
    found = store.manifests(require_read=True)
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def markers_of(copy: Copy, segments: Sequence[str]) -> Markers:
    """Read the markers of some segments."""
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(segments, pool.map(copy.marker, segments), strict=True))


class Fetch:
    """Finds out which files of a version a store lacks, and fetches them.

    ``files`` are those that it should have, with what belongs to the segments of ``markers``.
    """

    def __init__(self, store: Store, copy: Copy, files: Files, markers: Markers) -> None:
        self._store = store
        self._copy = copy
        self._files = files
        self._markers = markers
        self._fetched: dict[str, int] = {}

    def run(self) -> dict[str, int]:
        """Fetch what is missing; return the sizes of the files by path."""
        missing = self._missing()
        total = sum(self._files[path].bytes for path in missing)
        free = shutil.disk_usage(self._store.folder).free
        if total > free:
            raise DiskTooSmall(
                f"The index needs {total / 1e6:,.1f} MB more on the disk of {self._store.folder}; "
                f"{free / 1e6:,.1f} MB are free.",
                "Free some space, or name a --store on another disk.",
            )
        tasks: list[Callable[[Progress], None]] = []
        for segment, (marker, content) in self._markers.items():
            lacks = [path for path in segment_files(segment, marker) if path in missing]
            if lacks or not (self._store.folder / marker_path(segment)).exists():
                tasks.append(partial(self._fetch_segment, segment, content, lacks))
        others = [path for path in missing if not path.startswith("segments/")]
        tasks += [partial(self._fetch, path) for path in others]
        move("Pulling", total, tasks)
        return self._fetched

    def _missing(self) -> set[str]:
        """Return the files that the store lacks, or has damaged."""
        recorded = self._recorded()
        doubtful = read_damage(self._store)  # what `verify` has found
        names = {*doubtful.segments, *doubtful.derived, *doubtful.layers}
        missing = set()
        for path, record in self._files.items():
            if recorded.get(path, record) != record:
                raise self._other_index(path)
            file = self._store.folder / path
            is_known = path in recorded and not names.intersection(Path(path).with_suffix("").parts)
            has_size = file.is_file() and file.stat().st_size == record.bytes
            if not (has_size and (is_known or not find_damage(file, record))):
                missing.add(path)
        return missing

    def _recorded(self) -> Files:
        """Return what the store's own records say about its files; others have to be read."""
        recorded: Files = {}
        for manifest in sound_manifests(self._store).values():
            recorded |= layer_files(manifest) | derived_files(manifest)
        for segment, (marker, content) in self._markers.items():
            own = self._store.folder / marker_path(segment)
            if own.exists():
                if own.read_bytes() != content:
                    raise self._other_index(marker_path(segment))
                recorded |= segment_files(segment, marker)
        return recorded

    def _other_index(self, path: str) -> IndexesDiffer:
        return IndexesDiffer(
            f"{self._store.folder} holds another index: its {path} is not that of "
            f"{self._copy.address}.",
            OTHER_STORE_HINT,
        )

    def _fetch_segment(
        self, segment: str, marker: bytes, paths: Sequence[str], progress: Progress
    ) -> None:
        for path in paths:
            self._fetch(path, progress)
        replace_file(self._store.folder / marker_path(segment), marker)

    def _fetch(self, path: str, progress: Progress) -> None:
        """Fetch a file. It gets its name when its SHA-256 is right and it is on the disk."""
        record: FileRecord = self._files[path]
        file = self._store.folder / path
        file.parent.mkdir(exist_ok=True)
        refuse_link(file.parent)
        partial_file = file.with_name(f".{file.name}.tmp")
        partial_file.unlink(missing_ok=True)
        try:
            with progress.of_file(record.bytes) as add:
                self._copy.folder.download(path, partial_file, add)
        except ObjectGone as error:
            raise ObjectStorageError(
                error.message, "A newer version may have been pushed meanwhile: pull again."
            ) from error
        if find_damage(partial_file, record):
            partial_file.unlink()
            raise StoreCorrupt(
                f"{self._copy.address}/{path} is damaged: its SHA-256 does not match.",
                DAMAGED_HINT,
            )
        sync(partial_file)
        partial_file.replace(file)
        sync(file.parent)
        self._fetched[path] = record.bytes
