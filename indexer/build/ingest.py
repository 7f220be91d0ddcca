"""Ingest: read what is new, recognise what is known by its content, encode the rest, commit.

A batch is committed as a segment of its own before the next one is encoded, so that nothing is
encoded twice whatever happens; :mod:`indexer.build.compact` merges the small segments.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Never

import numpy as np
from tqdm import tqdm

from indexer.build.compact import compact
from indexer.build.diff import TIMEOUT, TIMEOUT_TWICE, Changes
from indexer.build.extract import Batch, Prepared, Recognised, Skipped, extract
from indexer.datasets import Dataset, Item
from indexer.encoders import Encoder, Vectors
from indexer.store import ImageRow, NewImage, Stamp, Writer


@dataclass(slots=True)
class Ingested:
    """How many files went which way."""

    encoded: int = 0
    recognised: int = 0
    """Moved, copied or merely touched: their content had its vector already."""
    skipped: int = 0
    removed: int = 0
    """Keys that are gone, those of moved files aside."""
    again: list[Item] = field(default_factory=list)
    """Recognised by a content that was replaced meanwhile: they have to be encoded after all."""


class Ingest:
    """Makes the catalogue match the changes, a batch at a time."""

    def __init__(
        self, changes: Changes, dataset: Dataset, encoder: Encoder, writer: Writer, max_pixels: int
    ) -> None:
        self._changes = changes
        self._dataset = dataset
        self._encoder = encoder
        self._writer = writer
        self._max_pixels = max_pixels
        self._gone = set(changes.removed)
        self.done = Ingested()

    def run(self) -> Ingested:
        """Read, recognise or encode everything; drop what is gone at the end."""
        changes, catalogue = self._changes, self._writer.catalogue
        unreadable = (
            NewImage(key=key, status="skipped", stage="scan", reason="unreadable", message=why)
            for key, why in changes.listing.unreadable.items()
        )
        self._commit([], np.empty((0, self._encoder.spec.dim), np.float32), unreadable)
        known = catalogue.contents() if changes.to_read else set[str]()
        with tqdm(total=len(changes.to_read), unit="img", desc="Encoding", disable=None) as bar:
            self._extract(changes.to_read, known, bar)
            again, self.done.again = self.done.again, []
            self._extract(again, set(), bar)
        with catalogue.transaction():
            catalogue.remove(self._gone)
            catalogue.describe((item.key, item.metadata) for item in changes.listing.items)
        self.done.removed = len(self._gone)
        return self.done

    def _extract(self, items: list[Item], known: set[str], bar: "tqdm[Never]") -> None:
        batches = extract(
            self._dataset, items, self._encoder, max_pixels=self._max_pixels, known=known
        )
        for batch in batches:
            again = len(self.done.again)
            self._take(batch)
            bar.set_postfix(skipped=self.done.skipped, refresh=False)
            outcomes = len(batch.prepared) + len(batch.skipped) + len(batch.recognised)
            bar.update(outcomes - (len(self.done.again) - again))

    def _take(self, batch: Batch) -> None:
        """Make a batch's outcomes durable."""
        copies = self._recognise(batch.recognised)
        images = [_row(image.item, image) for image in batch.prepared]
        skipped = (_row(skip.item, self._counted(skip)) for skip in batch.skipped)
        vectors = np.concatenate([batch.vectors, self._vectors_of([row for row, _ in copies])])
        self._commit(images + [image for _, image in copies], vectors, skipped)
        self.done.encoded += len(batch.prepared)
        self.done.skipped += len(batch.skipped)
        compact(self._writer)

    def _counted(self, skip: Skipped) -> Skipped:
        """Tell a file that took too long for the second time from one that did for the first."""
        item, before = skip.item, self._changes.known.get(skip.item.key)
        again = before and before[:3] == (item.size, item.mtime_ns, TIMEOUT)
        return replace(skip, reason=TIMEOUT_TWICE) if again and skip.reason == TIMEOUT else skip

    def _recognise(self, files: Iterable[Recognised]) -> list[tuple[ImageRow, NewImage]]:
        """Give known contents their new keys; return those to be copied, with the rows to copy."""
        catalogue, copies = self._writer.catalogue, []
        with catalogue.transaction():
            for file in files:
                item = file.item
                rows = {row.key: row for row in catalogue.with_content(file.sha256)}
                moved = next((row for key, row in rows.items() if key in self._gone), None)
                if not rows:
                    self.done.again.append(item)
                    continue
                self.done.recognised += 1
                source = next(iter(rows.values()))
                image = _row(item, source)
                if item.key in rows:
                    catalogue.touch(rows[item.key].id, item.mtime_ns)
                elif moved:
                    catalogue.rename(moved.id, image)
                    self._gone.remove(moved.key)
                else:
                    copies.append((source, image))
        return copies

    def _vectors_of(self, rows: list[ImageRow]) -> Vectors:
        """Return the stored vectors of catalogue rows, (n, dim)."""
        from indexer.vector_index import read_vectors

        vectors = np.empty((len(rows), self._encoder.spec.dim), np.float32)
        for vector, row in zip(vectors, rows, strict=True):
            segment = self._writer.sound_segment(str(row.segment))
            vector[:] = read_vectors(segment.vectors_path, np.array([row.row]))[0]
        return vectors

    def _commit(
        self, images: list[NewImage], vectors: Vectors, skipped: Iterable[NewImage]
    ) -> None:
        """Commit images and skipped files, unless they were skipped for the same reason before."""
        from indexer.vector_index import flat_file

        known = self._changes.known
        new = [image for image in skipped if known.get(image.key) != _stamp(image)]
        if images or new:
            self._writer.commit(
                images,
                flat_file(vectors),
                new,
                dim=self._encoder.spec.dim,
                fingerprint=self._encoder.spec.fingerprint,
            )


def _stamp(image: NewImage) -> Stamp:
    pixels = image.width * image.height if image.width and image.height else None
    return Stamp(image.size, image.mtime_ns, image.reason, pixels)


def _row(item: Item, outcome: Prepared | Skipped | ImageRow) -> NewImage:
    """Return a file's row: decoded or skipped now, or of the content of a row that is known."""
    row = NewImage(item.key, item.size, item.mtime_ns, metadata=item.metadata)
    if isinstance(outcome, Skipped):
        return replace(
            row,
            status="skipped",
            stage=outcome.stage,
            reason=outcome.reason,
            message=outcome.message,
            width=outcome.width,
            height=outcome.height,
        )
    return replace(
        row,
        sha256=outcome.sha256,
        format=outcome.format,
        width=outcome.width,
        height=outcome.height,
    )
