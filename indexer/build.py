"""Build: make the store match the dataset, then publish a version."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.changes import Changes, compare
from indexer.config import Config
from indexer.datasets import Dataset, open_dataset
from indexer.encoders import Encoder, Vectors, open_encoder
from indexer.extract import Batch, extract
from indexer.plan import estimate
from indexer.store import (
    Derived,
    DerivedKind,
    NewImage,
    Recall,
    RunRow,
    Segment,
    Stamp,
    Store,
    Writer,
    open_writer,
)

# A segment is committed when it has this many vectors (64 MB at 4096-d) or after this long:
# an interruption loses no more than that.
SEGMENT_VECTORS = 4096
SEGMENT_SECONDS = 60.0

MUCH = 500
"""From this many images on, a build measures and shows its plan first."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build found and did. ``found == indexed + skipped``, always."""

    version: str
    encoder: str
    fingerprint: str
    found: int
    indexed: int
    skipped: int
    reasons: dict[str, int]
    encoded: int
    """Images that were new or changed and went through the encoder in this run."""
    removed: int
    """Images of the last version that are gone."""
    ignored: dict[str, int]
    notes: list[str]
    """What else is worth knowing: why an index was trained again."""
    seconds: float

    @property
    def summary(self) -> str:
        """The accounting in one line."""
        reasons = ", ".join(f"{reason} {n}" for reason, n in self.reasons.items())
        rate = self.encoded / self.seconds if self.seconds else 0.0
        return (
            f"found {self.found} = indexed {self.indexed} + skipped {self.skipped}"
            f"{f' ({reasons})' if reasons else ''} in {self.seconds:.1f} s, {rate:.1f} img/s"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {**asdict(self), "summary": self.summary}


def build(config: Config, encoder: Encoder | None = None) -> BuildReport:
    """Index the new and changed images of the dataset, drop the vanished ones, publish.

    Shows the plan and a progress bar on stderr if there is much to do. ``encoder`` may be one that
    is loaded already, of the configured kind; without it the configured one is opened. An
    interrupted build keeps what it committed; the next one continues there.

    Raises the errors of what it uses; these come before anything is encoded:
    :class:`~indexer.errors.WeightsUnavailable`, :class:`~indexer.errors.DatasetError`,
    :class:`~indexer.errors.EncoderMismatch`, :class:`~indexer.errors.StoreBusy`,
    :class:`~indexer.errors.DiskTooSmall` and :class:`~indexer.errors.ConfigError`.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    encoder = encoder or open_encoder(config.encoder)
    dataset = open_dataset(config.dataset)
    store = Store(config.store)
    with open_writer(store) as writer:
        writer.require_encoder(encoder.spec.fingerprint)
        writer.tidy()
        changes = compare(dataset, writer.catalogue.stamps())
        _check_approximate(config, encoder, len(changes.listing.items))
        much = len(changes.to_encode) >= MUCH
        forecast = estimate(config, encoder, dataset, changes, measure=much)
        if much:
            sys.stderr.write(f"{forecast.summary}\n")
        with writer.catalogue.transaction():
            writer.catalogue.remove(changes.removed)
            writer.catalogue.describe((item.key, item.metadata) for item in changes.listing.items)
        encoded = _encode(changes, dataset, encoder, writer, config)
        counts, reasons = writer.catalogue.counts(), writer.catalogue.skip_reasons()
        version, notes = _published(store, writer, encoder, config), list[str]()
        if version is None:
            version, notes = _publish(writer, encoder, config)
        report = BuildReport(
            version=version,
            encoder=str(encoder.spec),
            fingerprint=encoder.spec.fingerprint,
            found=counts.found,
            indexed=counts.indexed,
            skipped=counts.skipped,
            reasons=reasons,
            encoded=encoded,
            removed=len(changes.removed),
            ignored=dict(changes.listing.ignored),
            notes=notes,
            seconds=round(time.monotonic() - clock, 3),
        )
        writer.catalogue.add_run(
            RunRow(
                started=started.isoformat(timespec="seconds"),
                seconds=report.seconds,
                found=counts.found,
                indexed=counts.indexed,
                skipped=counts.skipped,
                encoded=encoded,
                summary=report.summary,
            )
        )
        writer.tidy()
    return report


def _encode(
    changes: Changes, dataset: Dataset, encoder: Encoder, writer: Writer, config: Config
) -> int:
    """Encode and commit what is new; return how many images went through the encoder."""
    if changes.to_encode:
        encoder.load()  # settles the batch size
    segment = _OpenSegment(writer, encoder, changes.known)
    segment.skip(
        NewImage(key=key, status="skipped", stage="scan", reason="unreadable", message=why)
        for key, why in changes.listing.unreadable.items()
    )
    encoded = skipped = 0
    with tqdm(total=len(changes.to_encode), unit="img", desc="Encoding", disable=None) as bar:
        try:
            for batch in extract(
                dataset, changes.to_encode, encoder, max_pixels=config.dataset.max_pixels
            ):
                segment.add(batch)
                encoded += len(batch.prepared)
                skipped += len(batch.skipped)
                bar.set_postfix(skipped=skipped, refresh=False)
                bar.update(len(batch.prepared) + len(batch.skipped))
        finally:
            segment.commit()  # also when interrupted: what is encoded is not encoded again
    return encoded


class _OpenSegment:
    """Outcomes collected until they are worth a segment."""

    def __init__(self, writer: Writer, encoder: Encoder, known: Mapping[str, Stamp]) -> None:
        self._writer = writer
        self._known = known
        self._spec = encoder.spec
        self._reset()

    def add(self, batch: Batch) -> None:
        """Take over a batch's outcomes; commit when there are enough or it has been long."""
        self._vectors.append(batch.vectors)
        self._indexed += [
            NewImage(
                key=image.item.key,
                size=image.item.size,
                mtime_ns=image.item.mtime_ns,
                sha256=image.sha256,
                format=image.format,
                width=image.width,
                height=image.height,
                metadata=image.item.metadata,
            )
            for image in batch.prepared
        ]
        self.skip(
            NewImage(
                key=skip.item.key,
                size=skip.item.size,
                mtime_ns=skip.item.mtime_ns,
                metadata=skip.item.metadata,
                status="skipped",
                stage=skip.stage,
                reason=skip.reason,
                message=skip.message,
            )
            for skip in batch.skipped
        )
        waited = time.monotonic() - self._since
        if len(self._indexed) >= SEGMENT_VECTORS or waited >= SEGMENT_SECONDS:
            self.commit()

    def skip(self, images: Iterable[NewImage]) -> None:
        """Account for skipped files, unless they were skipped for the same reason before."""
        self._skipped += [
            image
            for image in images
            if self._known.get(image.key) != Stamp(image.size, image.mtime_ns, image.reason)
        ]

    def commit(self) -> None:
        """Make everything collected so far durable."""
        from indexer.vector_index import flat_file

        if self._indexed or self._skipped:
            empty = np.empty((0, self._spec.dim), np.float32)
            self._writer.commit(
                self._indexed,
                flat_file(np.concatenate([empty, *self._vectors])),
                self._skipped,
                dim=self._spec.dim,
                fingerprint=self._spec.fingerprint,
            )
        self._reset()

    def _reset(self) -> None:
        self._indexed: list[NewImage] = []
        self._skipped: list[NewImage] = []
        self._vectors: list[Vectors] = []
        self._since = time.monotonic()


def _check_approximate(config: Config, encoder: Encoder, found: int) -> None:
    """Refuse an index that cannot be made before hours of encoding, not after."""
    if config.index.approximate:
        from indexer.vector_index import resolve_factory

        resolve_factory(config.index.approximate, encoder.spec.dim, found)


def _published(store: Store, writer: Writer, encoder: Encoder, config: Config) -> str | None:
    """Return the published version's id if publishing again would only repeat it."""
    if store.current() is None:
        return None
    manifest = store.open_published().manifest
    ours = (
        config.dataset,
        config.index.approximate,
        encoder.spec.model_dump(),
        writer.catalogue.state(),
    )
    theirs = (manifest.dataset, manifest.index.approximate, manifest.encoder, manifest.state)
    return manifest.version if ours == theirs else None


def _publish(writer: Writer, encoder: Encoder, config: Config) -> tuple[str, list[str]]:
    """Publish a version; return its id and what the derived structures have to say."""
    notes: list[str] = []

    def structures(
        segments: Sequence[Segment],
        deleted: NDArray[np.int64],
        previous: Mapping[DerivedKind, Derived],
    ) -> tuple[dict[DerivedKind, Derived], tuple[Recall, ...]]:
        from indexer.derive import derive

        dim = encoder.spec.dim
        derived = derive(writer, config.index.approximate, segments, deleted, dim, previous)
        notes.extend(derived.notes)
        return derived.structures, derived.recall

    version = writer.publish(
        fingerprint=encoder.spec.fingerprint,
        encoder=encoder.spec.model_dump(),
        dim=encoder.spec.dim,
        dataset=config.dataset,
        index=config.index,
        derive=structures,
    )
    return version.id, notes
