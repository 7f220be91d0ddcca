"""Build: update the store from the dataset, then publish a version."""

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from indexer.build.blocks import ClusterExtraction
from indexer.build.compact import compact
from indexer.build.diff import Changes, compare, compare_part, unavailable_notes
from indexer.build.ingest import Ingest, damage_notes
from indexer.build.plan import estimate
from indexer.build.stored_settings import require_same_network
from indexer.config import Config, IndexConfig
from indexer.datasets import Dataset, Part, open_dataset, require_folders
from indexer.encoders import Encoder, open_encoder
from indexer.errors import StoreCorrupt
from indexer.store import Damage, RunRow, Store, Writer, open_writer

PLAN_FROM_IMAGES = 500
"""From this many images on, a build prints its plan first, without measuring rates."""


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
    """New and changed images that were encoded in this run."""
    recognised: int
    """Images that were moved, copied or touched, whose content already had a vector."""
    removed: int
    """Keys that are gone since the last version."""
    unavailable: int
    """Indexed images that cannot be found or read now; they stay in the index."""
    ignored: dict[str, int]
    notes: list[str]
    """Notes for the user, such as why an index was trained again."""
    seconds: float

    @property
    def summary(self) -> str:
        """The counts in one line."""
        reasons = ", ".join(f"{reason} {n}" for reason, n in self.reasons.items())
        rate = f"{self.encoded / max(self.seconds, 1e-9):.1f} img/s"
        return (
            f"found {self.found} = indexed {self.indexed} + skipped {self.skipped}"
            f"{f' ({reasons})' if reasons else ''} in {self.seconds:.1f} s, "
            f"{rate if self.encoded else 'nothing to encode'}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {**asdict(self), "summary": self.summary}


def build(
    config: Config,
    encoder: Encoder | None = None,
    *,
    part: Part | None = None,
    allow_shrink: bool = False,
    reread: bool = False,
) -> BuildReport:
    """Index the new and changed images of the dataset, remove the missing ones and publish.

    A long build prints its plan and a progress bar on stderr. ``encoder`` may be a loaded one of
    the configured kind; without it the configured one is opened. An interrupted build keeps what it
    committed, and the next one continues there.

    Images that cannot be found or read stay in the index as long as their disk may be away. A build
    that would remove more than a third of the indexed images raises
    :class:`~indexer.errors.IndexWouldShrink`. ``allow_shrink`` removes all that cannot be found.

    ``part`` is the part of the dataset that may have changed; the rest is taken to be as it was,
    and costs nothing. Without it all of the dataset is scanned.

    A file counts as unchanged if its size, times and inode number are. ``reread`` reads all files;
    only those whose content has changed are encoded.

    These errors are raised before anything is encoded:
    :class:`~indexer.errors.WeightsUnavailable`, :class:`~indexer.errors.DatasetError`,
    :class:`~indexer.errors.EncoderMismatch`, :class:`~indexer.errors.StoreBusy`,
    :class:`~indexer.errors.DiskTooSmall` and :class:`~indexer.errors.ConfigError`.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    require_folders(config.dataset)
    if encoder is None:
        require_same_network(config)
        encoder = open_encoder(config.encoder)
    dataset = open_dataset(config.dataset)
    store = Store(config.store)
    with open_writer(store) as writer:
        repaired = [*writer.notes, *_damage_to_current(store), *_repair(writer)]
        writer.require_encoder(encoder.spec.fingerprint, encoder.spec.model_dump())
        writer.collect_garbage()
        limit = config.dataset.max_pixels
        changes = _part_changes(part, writer, limit) or compare(
            dataset, writer.catalogue.stamps(), limit, allow_shrink=allow_shrink, reread=reread
        )
        changes.check_shrink(changes.removed, moved=len(changes.new))
        _check_approximate(config, encoder, changes.indexed + len(changes.new))
        # Measuring rates would encode a sample whose vectors are thrown away.
        forecast = estimate(config, encoder, dataset, changes, measure=False)
        if len(changes.to_encode) >= PLAN_FROM_IMAGES:
            sys.stderr.write(f"{forecast.summary}\n")
        with _cluster(config, dataset, encoder, changes) as cluster:
            if changes.to_read and not cluster:
                encoder.load()  # the batch size is known once it is loaded
            done = Ingest(changes, dataset, encoder, writer, config.dataset, cluster).run()
        compact(writer)
        counts, reasons = writer.catalogue.counts(), writer.catalogue.skip_reasons()
        version, notes = _unchanged_version(store, writer, encoder, config), list[str]()
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
            encoded=done.encoded,
            recognised=done.recognised,
            removed=done.removed,
            unavailable=len(done.unavailable),
            ignored=dict(changes.listing.ignored),
            notes=[
                *repaired,
                *unavailable_notes(done.unavailable),
                *changes.listing.report(),
                *damage_notes(done.noted),
                *(cluster.notes if cluster else ()),
                *notes,
            ],
            seconds=round(time.monotonic() - clock, 3),
        )
        writer.catalogue.add_run(
            RunRow(
                started=started.isoformat(timespec="seconds"),
                seconds=report.seconds,
                found=counts.found,
                indexed=counts.indexed,
                skipped=counts.skipped,
                encoded=done.encoded,
                summary=report.summary,
            )
        )
        writer.collect_garbage()
    return report


def _part_changes(part: Part | None, writer: Writer, max_pixels: int) -> Changes | None:
    """Return what has changed in a part of the dataset; None if all of it must be compared.

    That is so if a folder is gone, whose images are not named.
    """
    catalogue = writer.catalogue
    if part is None or any(catalogue.with_prefix(f"{key}/", limit=1) for key in part.missing):
        return None
    known, indexed = catalogue.stamps(part.keys), catalogue.counts().indexed
    return compare_part(part, known, indexed, max_pixels)


@contextmanager
def _cluster(
    config: Config, dataset: Dataset, encoder: Encoder, changes: Changes
) -> Iterator[ClusterExtraction | None]:
    """Connect to the cluster during the block, if files are read there; None if they are not."""
    if config.executor.kind == "local" or not changes.to_read:
        yield None
        return
    from indexer.executors.ray import connected

    with (
        connected(config.executor),
        closing(ClusterExtraction(config, dataset, encoder.spec)) as cluster,
    ):
        yield cluster


def _check_approximate(config: Config, encoder: Encoder, found: int) -> None:
    """Raise ConfigError for an index that cannot be trained, before anything is encoded."""
    if config.index.approximate:
        from indexer.vector_index import resolve_factory

        resolve_factory(config.index.approximate, encoder.spec.dim, found)


def _unchanged_version(
    store: Store, writer: Writer, encoder: Encoder, config: Config
) -> str | None:
    """Return the published version's id if nothing has changed since it was published."""
    damage = writer.damage()
    if writer.published() is None or damage != Damage():
        return None
    try:
        published = store.open_published()
    except StoreCorrupt:  # publishing again repairs it
        return None
    manifest = published.manifest
    if not published.catalogue.metadata.is_complete:  # publishing again makes it
        return None
    ours = (
        config.dataset,
        _approximate_settings(config.index),
        encoder.spec.model_dump(),
        writer.catalogue.change_token(),
    )
    theirs = (
        manifest.dataset,
        _approximate_settings(manifest.index),
        manifest.encoder,
        manifest.state,
    )
    return manifest.version if ours == theirs else None


def _approximate_settings(index: IndexConfig) -> tuple[str, float] | None:
    """Return the settings that the approximate index depends on."""
    return (index.approximate, index.recall) if index.approximate else None


def _publish(writer: Writer, encoder: Encoder, config: Config) -> tuple[str, list[str]]:
    """Publish a version; return its id and the notes of its derived structures."""
    from indexer.build.derive import derive

    draft = writer.begin()
    derived = derive(draft, writer, config.index, encoder.spec.dim)
    version = writer.publish(
        draft,
        derived.structures,
        fingerprint=encoder.spec.fingerprint,
        encoder=encoder.spec.model_dump(),
        dim=encoder.spec.dim,
        dataset=config.dataset,
        index=config.index,
    )
    return version.id, derived.notes


def _damage_to_current(store: Store) -> list[str]:
    """Return a note if the name of the published version is lost: the build publishes again."""
    try:
        store.current()
    except StoreCorrupt as error:
        return [f"{error.message} A new version was published."]
    return []


def _repair(writer: Writer) -> list[str]:
    """Drop damaged segments, whose images the build then encodes again; return notes on it.

    A segment is damaged if it cannot be opened, or if ``verify`` found it damaged and it still is.
    Other segments are not read in full: that would take longer than most builds.
    """
    found, names = writer.damage(), writer.catalogue.segments()
    damaged = [name for name in names if _is_damaged(writer, name, found)]
    if len(damaged) == len(names) > 1:
        raise StoreCorrupt(
            f"None of the store's {len(names)} segments is intact.",
            "Check that the store's disk is mounted; if it is, delete the store and index again.",
        )
    notes = []
    for name in damaged:
        with writer.catalogue.transaction():
            count = writer.catalogue.drop_segment(name)
        notes.append(f"Segment {name} was damaged: its {count} images are read again.")
    return notes


def _is_damaged(writer: Writer, name: str, found: Damage) -> bool:
    try:
        segment = writer.segment(name)
        return len(segment.ids) != segment.count or (
            name in found.segments and bool(segment.problems())
        )
    except StoreCorrupt:
        return True
