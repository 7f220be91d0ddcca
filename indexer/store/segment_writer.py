"""How a build changes segments: it commits batches and merges small segments."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import EncoderMismatch, StoreCorrupt, StoreUnavailable
from indexer.store.catalogue_writer import CatalogueWriter
from indexer.store.damage import read_damage, update_damage
from indexer.store.files import Bytes, inodes, last_number, numbered_name
from indexer.store.records import Damage, Manifest
from indexer.store.rows import NewImage
from indexer.store.segments import Segment, write_segment
from indexer.store.store import Store


class SegmentSize(NamedTuple):
    """How many vectors a segment holds, and how many of them are not deleted."""

    stored: int
    alive: int


def encoder_mismatch(
    folder: Path, theirs: Mapping[str, object], ours: Mapping[str, object]
) -> EncoderMismatch:
    """Return the error of a store with vectors of another encoder than that of the settings."""
    return EncoderMismatch(
        f"The index in {folder} was made with {_described(theirs)}; the settings name "
        f"{_described(ours)}, and their vectors cannot be compared.",
        "To go on with the index, leave the encoder out: lookalike index. "
        f"To use {_described(ours)}, name another store: --store FOLDER.",
    )


def _described(encoder: Mapping[str, object]) -> str:
    """Return model, layer and weights, as far as they are known, and the fingerprint."""
    model = encoder.get("model", "an encoder")
    layer = f" {encoder['layer']}" if model == "vgg16" else ""
    weights = f" with the weights {encoder['weights']}" if "weights" in encoder else ""
    fingerprint = f" ({encoder['fingerprint']})" if "fingerprint" in encoder else ""
    return f"{model}{layer}{weights}{fingerprint}"


class SegmentWriter:
    """Commits and merges segments and their images' rows; published versions do not change."""

    def __init__(self, store: Store, catalogue: CatalogueWriter) -> None:
        self.catalogue = catalogue
        self._store = store
        manifests = self._manifests().values()
        self._published = {entry.id for manifest in manifests for entry in manifest.segments}
        """The segments that versions refer to, which must not be removed."""
        self._identity = inodes([store.catalogue])
        named = map(int, self._published)  # including those missing from the folder
        self._last_segment = max(last_number(store.segments), catalogue.last_segment(), *named)
        self._verified: set[str] = set()
        self._stored: dict[str, int] = {}

    def damage(self) -> Damage:
        """Return the damage that ``verify`` or a build has recorded."""
        return read_damage(self._store)

    def segment(self, name: str) -> Segment:
        """Open a segment. Raises :class:`~indexer.errors.StoreCorrupt`."""
        return Segment(self._store.segments / name)

    def verified_segment(self, name: str) -> Segment:
        """Open a segment and verify its checksums, so that damage is not copied into a new one.

        Raises :class:`~indexer.errors.StoreCorrupt`; the next build makes the segment again.
        """
        segment = self.segment(name)
        if name not in self._verified:
            if segment.problems():
                update_damage(self._store, damaged=Damage(segments=(name,)))
                raise StoreCorrupt(
                    f"{segment.folder} is damaged.",
                    "Run the build again: it makes the segment again from its images.",
                )
            self._verified.add(name)
        return segment

    @property
    def sizes(self) -> dict[str, SegmentSize]:
        """The size of each segment that holds at least one image's vector, in order."""
        alive = self.catalogue.sizes()
        for name in alive.keys() - self._stored.keys():
            self._stored[name] = self.segment(name).count
        return {name: SegmentSize(self._stored[name], n) for name, n in alive.items()}

    def require_encoder(self, fingerprint: str, encoder: Mapping[str, object]) -> None:
        """Raise :class:`EncoderMismatch` if the store holds vectors of another encoder.

        ``encoder`` is the specification with this fingerprint.
        """
        for name in self.catalogue.segments():
            segment = self.segment(name)
            self._stored[name] = segment.count
            other = segment.marker.fingerprint
            if other != fingerprint:
                manifests = self._manifests().values()
                known = {manifest.fingerprint: manifest.encoder for manifest in manifests}
                theirs = {"fingerprint": other, **known.get(other, {})}
                ours = {"fingerprint": fingerprint, **encoder}
                raise encoder_mismatch(self._store.folder, theirs, ours)

    def commit(
        self,
        indexed: Sequence[NewImage],
        vectors: Bytes,
        skipped: Sequence[NewImage],
        *,
        dim: int,
        fingerprint: str,
    ) -> None:
        """Make a batch durable: a segment of the indexed images' vectors, then all rows at once.

        ``vectors`` is the content of the segment's file of vectors, in the order of ``indexed``.
        A crash between the two leaves a segment that no row refers to, which
        :meth:`~indexer.store.writer.Writer.collect_garbage` removes.
        """
        self.require_same_store()
        first_id = self.catalogue.next_id()
        name = None
        if indexed:
            ids = np.arange(first_id, first_id + len(indexed), dtype=np.int64)
            name = self._write_segment(ids, [vectors], dim=dim, fingerprint=fingerprint)
        with self.catalogue.transaction():
            self.catalogue.add(indexed, first_id=first_id, segment=name)
            self.catalogue.add(skipped, first_id=first_id + len(indexed))

    def replace(
        self, names: Sequence[str], ids: NDArray[np.int64], vectors: Iterable[Bytes]
    ) -> None:
        """Replace segments with one new segment that holds their images' vectors, as in ``ids``.

        ``vectors`` yields the content of its file of vectors piece by piece. The old segments are
        removed at once, unless a version refers to them.
        """
        self.require_same_store()
        old = self.segment(names[0]).marker
        name = self._write_segment(ids, vectors, dim=old.dim, fingerprint=old.fingerprint)
        with self.catalogue.transaction():
            self.catalogue.relocate(ids, name, names)
        for unused in set(names) - self._published:
            shutil.rmtree(self._store.segments / unused)

    def require_same_store(self) -> None:
        """Raise :class:`StoreUnavailable` if the store was removed, or another is in its place.

        What this build has committed is not in that one, and must not be mixed with it.
        """
        if inodes([self._store.catalogue]) != self._identity:
            raise StoreUnavailable(
                f"{self._store.folder} was removed or replaced while a build was writing to it.",
                "Nothing was published. Run the build again.",
            )

    def _write_segment(
        self, ids: NDArray[np.int64], vectors: Iterable[Bytes], *, dim: int, fingerprint: str
    ) -> str:
        self._last_segment += 1
        name = numbered_name(self._last_segment)
        folder = self._store.segments / name
        write_segment(folder, ids, vectors, dim=dim, fingerprint=fingerprint)
        self._stored[name] = len(ids)
        return name

    def _manifests(self) -> dict[str, Manifest]:
        """Return the manifests of all versions that are not damaged.

        Raises :class:`OSError` if one cannot be read now: the files it refers to must be kept.
        """
        found = self._store.manifests(require_read=True)
        return {name: manifest for name, manifest in found.items() if manifest is not None}
