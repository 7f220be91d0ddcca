"""Ingest: read new files, recognise known contents, encode the rest and commit.

Files are read and decoded, encoded and committed side by side. Whatever was encoded is committed as
a segment as soon as possible, so that an interrupted build encodes little twice;
:mod:`indexer.build.compact` merges the small segments.
"""

import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Never

import numpy as np
from tqdm import tqdm

from indexer.build.blocks import ClusterExtraction
from indexer.build.compact import compact
from indexer.build.diff import SHOWN, TIMEOUT, TIMEOUT_TWICE, TIMEOUTS, Changes, is_same_file
from indexer.build.extract import Batch, Contents, Prepared, Recognised, Skipped, extract
from indexer.config import DatasetConfig
from indexer.datasets import Dataset, Item
from indexer.datasets.base import BAR_DELAY_S
from indexer.encoders import Encoder, Vectors
from indexer.errors import ImageTooLarge, OutOfMemory
from indexer.executors import Background
from indexer.images import POSITION, ExifFields
from indexer.store import ImageRow, NewImage, Stamp, Writer

COMMIT_VECTORS = 4096
"""Batches are committed together up to this many vectors: larger segments are cheaper per image."""

FAST = 500
"""From so many images per second on, batches are gathered before they are committed."""

GATHER_SECONDS = 2.0
"""For how long. A killed build encodes again what was encoded in this time, and what was under way:
the batches in the encoder, and those being committed."""


@dataclass(slots=True)
class Ingested:
    """How many files were encoded, recognised, skipped and removed."""

    encoded: int = 0
    recognised: int = 0
    """Moved, copied or touched files, whose content already had a vector."""
    skipped: int = 0
    removed: int = 0
    """Keys that are gone, except those of moved files."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Indexed images that cannot be found or read now and were not found elsewhere: reason by key.
    They stay in the index."""
    noted: dict[str, str] = field(default_factory=dict)
    """What is wrong with files that were encoded, as their picture is whole, by key."""
    to_reencode: list[Item] = field(default_factory=list)
    """Files whose known content was replaced during the build, so that they must be encoded."""


class Ingest:
    """Applies the changes to the store, a batch at a time.

    Images are extracted by ``cluster``, or on this machine.
    """

    def __init__(
        self,
        changes: Changes,
        dataset: Dataset,
        encoder: Encoder,
        writer: Writer,
        config: DatasetConfig,
        cluster: ClusterExtraction | None = None,
    ) -> None:
        self._changes = changes
        self._dataset = dataset
        self._encoder = encoder
        self._cluster = cluster
        self._writer = writer
        self._max_pixels = config.max_pixels
        self._hidden = () if config.gps else POSITION
        self._gone = set(changes.removed)
        self._damaged: list[Skipped] = []
        self._handled = 0
        """How many of the files to read are done with."""
        self._absent: dict[str, list[int]] = {}
        """The ids of indexed files that were not found where they were, by content."""
        self.done = Ingested(unavailable=dict(changes.unavailable))

    def run(self) -> Ingested:
        """Recognise or encode all files to read, then remove the keys that are gone.

        Indexed images leave the index at the very end: those whose file is gone, and those whose
        file was replaced by one that cannot be decoded. Raises
        :class:`~indexer.errors.IndexWouldShrink` instead of removing too many.
        """
        changes, catalogue = self._changes, self._writer.catalogue
        known = Contents()
        if changes.to_read:
            known = Contents(catalogue.content_hashes())
            self._absent = catalogue.ids_by_content([*self._gone, *self.done.unavailable])
            self._writer.note_progress(0, len(changes.to_read))
        with tqdm(
            total=len(changes.to_read), unit="img", desc="Encoding", disable=None, delay=BAR_DELAY_S
        ) as bar:
            self._extract(changes.to_read, known, bar)
            to_reencode, self.done.to_reencode = self.done.to_reencode, []
            self._extract(to_reencode, Contents(), bar)
        changes.check_shrink([*self._gone, *(skip.item.key for skip in self._damaged)])
        self._skip_the_rest()
        with catalogue.transaction():
            catalogue.remove(self._gone)
            found = ((item.key, item.metadata) for item in changes.listing.items)
            catalogue.update_metadata(found, self._described)
        self.done.removed = len(self._gone)
        return self.done

    def _skip_the_rest(self) -> None:
        """Commit the damaged files that were images before, and the files that could not be read.

        Indexed ones that are unknown stay as they are.
        """
        damaged = (_row(skip.item, skip) for skip in self._damaged)
        unreadable = (
            NewImage(key=key, status="skipped", stage="scan", reason="unreadable", message=why)
            for key, why in self._changes.listing.unreadable.items()
            if key not in self._changes.unavailable
        )
        no_vectors = np.empty((0, self._encoder.spec.dim), np.float32)
        self._commit([], no_vectors, [*damaged, *unreadable])

    def _extract(self, items: list[Item], known: Contents, bar: "tqdm[Never]") -> None:
        batches = self._batches(items, known)
        ahead = max(1, COMMIT_VECTORS // self._encoder.batch_size)
        with Background(batches, ahead) as encoded:
            rate, began = 0.0, time.monotonic()
            while batch := _next_group(encoded, GATHER_SECONDS if rate > FAST else 0):
                now = time.monotonic()
                rate, began = len(batch.prepared) / (now - began), now
                before = len(self.done.to_reencode)
                self._commit_batch(batch)
                shown = {"skipped": self.done.skipped}
                if self._cluster:
                    shown["workers"] = self._cluster.workers
                bar.set_postfix(shown, refresh=False)
                outcomes = len(batch.prepared) + len(batch.skipped) + len(batch.recognised)
                handled = outcomes - (len(self.done.to_reencode) - before)
                self._handled += handled
                self._writer.note_progress(self._handled, len(self._changes.to_read))
                bar.update(handled)

    def _batches(self, items: list[Item], known: Contents) -> Generator[Batch]:
        if self._cluster:
            return self._cluster.extract(items, known)
        return extract(
            self._dataset, items, self._encoder, max_pixels=self._max_pixels, known=known
        )

    def _commit_batch(self, batch: Batch) -> None:
        """Commit the outcomes of a batch."""
        copies = self._recognise(batch.recognised)
        images = [self._described_row(image.item, image, image.exif) for image in batch.prepared]
        skipped = [self._timed_out_twice(skip) for skip in batch.skipped if not self._held(skip)]
        vectors = np.concatenate([batch.vectors, self._vectors_of([row for row, _ in copies])])
        rows = (_row(skip.item, skip) for skip in skipped)
        self._commit(images + [image for _, image in copies], vectors, rows)
        self.done.encoded += len(batch.prepared)
        self.done.noted |= {image.item.key: image.note for image in batch.prepared if image.note}
        self.done.skipped += len(skipped)
        compact(self._writer)

    def _held(self, skip: Skipped) -> bool:
        """Hold back the outcome of a changed file that was indexed; return False for other files.

        If it could not be read, the image stays in the index; see also :meth:`run`.
        """
        if not self._changes.was_indexed(skip.item.key):
            return False
        was_read = skip.stage != "read" or skip.reason == ImageTooLarge.code
        if not was_read or skip.reason == OutOfMemory.code:
            self.done.unavailable[skip.item.key] = skip.message.rstrip(".")
        else:
            self._damaged.append(skip)
        return True

    def _timed_out_twice(self, skip: Skipped) -> Skipped:
        """Change the reason of a file that took too long for the second time."""
        before = self._changes.known.get(skip.item.key)
        tried = before and is_same_file(skip.item, before) and before.reason in TIMEOUTS
        return replace(skip, reason=TIMEOUT_TWICE) if tried and skip.reason == TIMEOUT else skip

    def _recognise(self, files: Iterable[Recognised]) -> list[tuple[ImageRow, NewImage]]:
        """Give known contents their new keys; return the rows to copy, each with its new row."""
        catalogue, copies = self._writer.catalogue, []
        with catalogue.transaction():
            for file in files:
                item, content = file.item, file.sha256
                before = catalogue.with_key(item.key)
                if before and before.sha256 == content:
                    catalogue.touch(self._described_row(item, before, file.exif))
                elif moved := self._take_absent(content):
                    catalogue.rename(moved.id, self._described_row(item, moved, file.exif))
                elif source := catalogue.with_content(content):
                    copies.append((source, self._described_row(item, source, file.exif)))
                else:
                    self.done.to_reencode.append(item)
                    continue
                self.done.recognised += 1
        return copies

    def _described_row(
        self, item: Item, outcome: Prepared | ImageRow, exif: ExifFields
    ) -> NewImage:
        """Return an image's row with its metadata."""
        metadata = self._described(exif, item.metadata)
        return replace(_row(item, outcome), metadata=metadata, exif=exif)

    def _described(self, exif: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the camera noted and may be shown, and over it what the dataset says."""
        shown = {name: value for name, value in exif.items() if name not in self._hidden}
        return {**shown, **given}

    def _take_absent(self, content: str) -> ImageRow | None:
        """Return an indexed row of this content whose file was not found: it may have moved here.

        Each is returned once.
        """
        ids = self._absent.get(content)
        row = self._writer.catalogue.get(ids.pop()) if ids else None
        if row:
            self._gone.discard(row.key)
            self.done.unavailable.pop(row.key, None)
        return row

    def _vectors_of(self, rows: list[ImageRow]) -> Vectors:
        """Return the stored vectors of catalogue rows, (n, dim)."""
        from indexer.vector_index import read_vectors

        vectors = np.empty((len(rows), self._encoder.spec.dim), np.float32)
        places: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(str(row.segment), []).append(place)
        for name, wanted in places.items():
            path = self._writer.verified_segment(name).vectors_path
            vectors[wanted] = read_vectors(path, np.array([rows[place].row for place in wanted]))
        return vectors

    def _commit(
        self, images: list[NewImage], vectors: Vectors, skipped: Iterable[NewImage]
    ) -> None:
        """Commit images, and files that were not skipped before for the same reason."""
        from indexer.vector_index import flat_file

        new, again = list[NewImage](), list[NewImage]()
        for image in skipped:
            before, now = self._changes.known.get(image.key), _stamp(image)
            if before is None or before._replace(revision=now.revision) != now:
                new.append(image)
            elif before != now:
                again.append(image)
        if again:
            with self._writer.catalogue.transaction():
                for image in again:
                    self._writer.catalogue.touch(image)
        if images or new:
            self._writer.commit(
                images,
                flat_file(vectors),
                new,
                dim=self._encoder.spec.dim,
                fingerprint=self._encoder.spec.fingerprint,
            )


def _next_group(encoded: Background[Batch], seconds: float) -> Batch | None:
    """Join the batches that are ready, or will be within ``seconds``; None if there are no more.

    It ends with the batch that makes it :data:`COMMIT_VECTORS` or more.
    """
    batch = encoded.get()
    if batch is None:
        return None
    group, until = [batch], time.monotonic() + seconds
    count = len(batch.prepared)
    while count < COMMIT_VECTORS and (batch := encoded.get(until - time.monotonic())):
        group.append(batch)
        count += len(batch.prepared)
    return Batch(
        [image for batch in group for image in batch.prepared],
        np.concatenate([batch.vectors for batch in group]),
        [skip for batch in group for skip in batch.skipped],
        [file for batch in group for file in batch.recognised],
    )


def damage_notes(noted: Mapping[str, str]) -> list[str]:
    """Return which files are damaged but indexed, in a sentence for the user."""
    if not noted:
        return []
    some = [f"{key} ({what})" for key, what in list(noted.items())[:SHOWN]]
    more = ["..."] if len(noted) > SHOWN else []
    what = f"Damaged files that are indexed, as their pictures are whole: {len(noted):,}"
    return [f"{what}, {'; '.join(some + more)}. `lookalike status --skipped` lists them all."]


def _stamp(image: NewImage) -> Stamp:
    pixels = image.width * image.height if image.width and image.height else None
    return Stamp(image.size, image.mtime_ns, image.reason, pixels, image.revision)


def _row(item: Item, outcome: Prepared | Skipped | ImageRow) -> NewImage:
    """Return a file's row, with what was decoded, or the row of the same content, or the reason."""
    row = NewImage(
        item.key, item.size, item.mtime_ns, metadata=item.metadata, revision=item.revision
    )
    if isinstance(outcome, Skipped):
        width, height = outcome.width, outcome.height
        if (width or 0) * (height or 0) >= 2**63:  # SQLite cannot multiply them
            width = height = None
        return replace(
            row,
            status="skipped",
            stage=outcome.stage,
            reason=outcome.reason,
            message=outcome.message,
            width=width,
            height=height,
        )
    return replace(
        row,
        sha256=outcome.sha256,
        message=(outcome.note if isinstance(outcome, Prepared) else outcome.message) or None,
        format=outcome.format,
        width=outcome.width,
        height=outcome.height,
        box=outcome.box,
    )
