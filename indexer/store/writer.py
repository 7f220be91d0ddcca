"""Changing a store, by one process at a time: publish versions, remove unused files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.config import DatasetConfig, IndexConfig
from indexer.errors import StoreCorrupt
from indexer.store.catalogue_writer import CatalogueWriter
from indexer.store.contents import part_name
from indexer.store.damage import update_damage
from indexer.store.files import (
    Bytes,
    FileRecord,
    check_size,
    describe_file,
    find_damage,
    last_number,
    numbered_name,
    replace_file,
    sync,
    write_record,
)
from indexer.store.layers import is_indexed, layers_to_keep
from indexer.store.live import require_regular
from indexer.store.lock import locked
from indexer.store.progress import BuildProgress, note_progress
from indexer.store.publishing import KEEP_VERSIONS, add_version, publish, remove_unneeded
from indexer.store.records import (
    CatalogueLayer,
    Counts,
    Derived,
    DerivedKind,
    Manifest,
    SegmentEntry,
)
from indexer.store.recovery import open_catalogue, seal
from indexer.store.segment_writer import SegmentWriter
from indexer.store.segments import Segment
from indexer.store.store import Store, raise_if_unavailable
from indexer.store.versions import Version, layer_path, trained_path


@dataclass(frozen=True, slots=True)
class Draft:
    """What the next version will hold, as :meth:`Writer.begin` found it."""

    segments: Sequence[Segment]
    deleted: NDArray[np.int64]
    """Ids whose vectors lie in the segments but no longer count, int64 (n,), ascending."""
    layers: tuple[CatalogueLayer, ...]
    counts: Counts
    change_token: tuple[int, int]
    previous: Mapping[DerivedKind, Derived]
    """The derived structures of the published version."""


@contextmanager
def open_writer(store: Store) -> Iterator["Writer"]:
    """Open a store for writing; create it if it does not exist.

    Its own catalogue is made again from the published version if it is damaged or was altered.

    Raises :class:`StoreBusy` if another process writes to it. The lock of one that died is gone.
    """
    with locked(store):
        require_regular(store.catalogue)
        catalogue, notes = open_catalogue(store)
        with closing(catalogue):
            yield Writer(store, catalogue, notes)
            mark = catalogue.mark()
        seal(store.catalogue, mark)


class Writer(SegmentWriter):
    """A store opened for writing by :func:`open_writer`."""

    def __init__(self, store: Store, catalogue: CatalogueWriter, notes: Sequence[str]) -> None:
        super().__init__(store, catalogue)
        self.notes = notes
        """What was repaired when the store was opened, in sentences."""
        self.derived = store.derived
        """The folder of derived structures."""
        self._damage_found_before = self.damage()

    def note_progress(self, done: int, total: int) -> None:
        """Note how many of the files to read a build has committed, for those who wait for it."""
        self.require_same_store()
        note_progress(self._store.folder, BuildProgress(done, total))

    def published(self) -> str | None:
        """Return the id of the published version; None if there is none, or its record is damaged.

        Raises :class:`OSError` if the record cannot be read now.
        """
        try:
            return self._store.current()
        except StoreCorrupt as error:
            raise_if_unavailable(error)
            return None

    def begin(self) -> Draft:
        """Begin a new version of what is committed, and write a catalogue layer of the changes."""
        self.require_same_store()
        published = self._manifests().get(self.published() or "")
        return Draft(
            segments=[self.segment(name) for name in self.catalogue.segments()],
            deleted=self.catalogue.dead_ids(),
            layers=self._layers(),
            counts=self.catalogue.counts(),
            change_token=self.catalogue.change_token(),
            previous=published.derived if published else {},
        )

    def publish(
        self,
        draft: Draft,
        structures: Mapping[DerivedKind, Derived],
        *,
        fingerprint: str,
        encoder: dict[str, str | int],
        dim: int,
        dataset: DatasetConfig,
        index: IndexConfig,
    ) -> Version:
        """Publish a draft with its derived structures as a new version and return it.

        Readers see the old version until the last step, one rename. Raises :class:`ValueError` if
        the catalogue has changed since the draft was begun.
        """
        self.require_same_store()
        if self.catalogue.change_token() != draft.change_token:
            raise ValueError("The catalogue has changed since this draft was begun.")
        store = self._store
        name = numbered_name(last_number(store.versions) + 1)
        manifest = Manifest(
            version=name,
            created=datetime.now(UTC),
            fingerprint=fingerprint,
            encoder=encoder,
            dim=dim,
            dataset=dataset,
            index=index,
            counts=draft.counts,
            state=draft.change_token,
            segments=tuple(SegmentEntry(id=s.id, count=s.count) for s in draft.segments),
            deleted=tuple(draft.deleted.tolist()),
            derived=dict(structures),
            layers=draft.layers,
        )
        version = add_version(store, name, lambda path: write_record(path, manifest))
        self._published.update(segment.id for segment in draft.segments)
        publish(store, name)
        self.catalogue.mark_published(draft.layers)
        # What was recorded meanwhile, by a verification beside this build, is for the next one.
        update_damage(store, checked=self._damage_found_before)
        return version

    def new_derived(self) -> Path:
        """Create the folder of a new derived structure."""
        folder = self.derived / numbered_name(last_number(self.derived) + 1)
        folder.mkdir()
        sync(self.derived)
        return folder

    def has_derived(self, derived: Derived) -> bool:
        """Tell whether the files of a derived structure exist and are not known to be damaged.

        The file with its training is read in full; of the others, which are large, only the size.
        """
        folder = self.derived / derived.folder
        if find_damage(trained_path(folder), derived.trained):
            return False
        files = {part_name(name): part.file for name, part in derived.parts.items()}
        try:
            for name, record in files.items():
                check_size(folder / name, record)
        except StoreCorrupt:
            return False
        return derived.folder not in self.damage().derived

    def write_derived(self, path: Path, content: Bytes) -> FileRecord:
        """Write a file of a derived structure, replacing one that a crashed build left."""
        return replace_file(path, content)

    def roll_back(self, name: str) -> None:
        """Make another version the published one. Raises :class:`StoreCorrupt`."""
        self._store.version(name)
        publish(self._store, name)

    def collect_garbage(self, keep: int = KEEP_VERSIONS) -> None:
        """Remove all but the last ``keep`` versions, and every file that nothing refers to.

        That includes what crashed builds left. The published version is kept, however old it is.
        """
        self.require_same_store()
        remove_unneeded(
            self._store,
            self._manifests(),
            keep,
            published=self.published(),
            segments=self.catalogue.segments(),
            layers=[layer.id for layer in self.catalogue.layers()],
        )

    def _layers(self) -> tuple[CatalogueLayer, ...]:
        """Return the catalogue's layers, after writing a new one if it has changed."""
        layers, next_id = self._sound_layers(), self.catalogue.next_id()
        changes = self.catalogue.changes_since(layers[-1].next_id if layers else 0)
        if layers and not changes:
            return layers
        folder, name = self._store.layers, self._new_layer_name()
        path = layer_path(folder, name)
        kept = layers_to_keep(layers, changes)
        merged = {layer_path(folder, layer.id): layer.file for layer in layers[len(kept) :]}
        if any(find_damage(old, record) for old, record in merged.items()):
            kept, merged = [], {}  # write everything anew rather than copy damage
        rows = self.catalogue.write_layer(path, kept[-1] if kept else None, list(merged))
        sync(folder)
        return (
            *kept,
            CatalogueLayer(id=name, rows=rows, next_id=next_id, file=describe_file(path)),
        )

    def _new_layer_name(self) -> str:
        """Return a name that no file has and no version refers to."""
        names = {file.stem for file in self._store.layers.glob("*.sqlite")}
        names |= {layer.id for m in self._manifests().values() for layer in m.layers}
        numbers = (int(name) for name in names if name.isdecimal())
        return numbered_name(max(numbers, default=0) + 1)

    def _sound_layers(self) -> tuple[CatalogueLayer, ...]:
        """Return the newest version's layers, or none if all have to be written anew.

        One may be damaged, or an older Lookalike may have written it, without all of the index.
        """
        layers, damaged = self.catalogue.layers(), self.damage().layers
        try:
            for layer in layers:
                path = layer_path(self._store.layers, layer.id)
                check_size(path, layer.file)
                if not is_indexed(path):
                    return ()
        except StoreCorrupt:
            return ()
        return () if any(layer.id in damaged for layer in layers) else layers
