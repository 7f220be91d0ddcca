"""What a store holds."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from indexer.config import Config
from indexer.errors import DecoderMissing, NoGraph, StoreCorrupt, UnsupportedImage
from indexer.images import advice
from indexer.store import (
    Counts,
    Field,
    GraphRecord,
    Manifest,
    RunRow,
    Store,
    live_catalogue,
    stored_graph,
)
from indexer.vector_index.promise import Promise

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that is not in the index, and why."""

    key: str
    stage: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SkippedFormat:
    """The files of one ending that are in no format that is read here."""

    suffix: str
    files: int
    advice: str
    """What would read them, or why nothing does."""


@dataclass(frozen=True, slots=True)
class Status:
    """The published version of a store, its counts and its size."""

    store: Path
    manifest: Manifest
    promise: Promise | None
    """The recall of approximate search."""
    counts: Counts
    reasons: dict[str, int]
    skipped: list[SkippedFile]
    formats: list[SkippedFormat]
    """What was skipped because of its format, the most files first."""
    noted: dict[str, str]
    """What is wrong with the files of indexed images, whose pictures are whole, by key."""
    fields: Sequence[Field]
    """What images can be filtered by; nothing if an older Lookalike has indexed them."""
    graph: GraphRecord | None
    """What the neighbour graph of the version is, if it has one."""
    last_run: RunRow | None
    bytes_on_disk: int

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON-ready values."""
        return {
            "store": str(self.store),
            "version": self.manifest.version,
            "created": self.manifest.created.isoformat(),
            "encoder": {**self.manifest.encoder, "fingerprint": self.manifest.fingerprint},
            "dataset": self.manifest.dataset.model_dump(mode="json"),
            "index": self.manifest.index.model_dump(mode="json"),
            "derived": {
                kind: {"made_by": derived.made_by, "trained_count": derived.trained_count}
                for kind, derived in self.manifest.derived.items()
            },
            "recall": [p.model_dump() for p in self.promise.measured.points]
            if self.promise
            else [],
            "promise": self.promise.to_json() if self.promise else None,
            "counts": self.counts.model_dump(),
            "reasons": self.reasons,
            "skipped": [asdict(file) for file in self.skipped],
            "formats": [asdict(found) for found in self.formats],
            "noted": self.noted,
            "fields": [field._asdict() for field in self.fields],
            "segments": len(self.manifest.segments),
            "graph": self.graph.model_dump(include={"k", "mode", "count"}) if self.graph else None,
            "last_run": asdict(self.last_run) if self.last_run else None,
            "bytes_on_disk": self.bytes_on_disk,
        }


def status(config: Config) -> Status:
    """Read the status of the configured store. Raises NoPublishedIndex or StoreCorrupt."""
    store = Store(config.store)
    version = store.open_published()
    catalogue = version.catalogue
    last_run = None
    if not store.is_mere_copy:
        with live_catalogue(store.catalogue) as live:
            last_run = live.last_run()
    skipped = [
        SkippedFile(row.key, str(row.stage), str(row.reason), str(row.message))
        for row in catalogue.rows("skipped")
    ]
    return Status(
        store=config.store,
        manifest=version.manifest,
        promise=Promise.of(version.manifest, config.index.recall),
        counts=version.manifest.counts,
        reasons=catalogue.skip_reasons(),
        skipped=skipped,
        formats=_formats(skipped),
        noted=catalogue.notes(),
        fields=catalogue.metadata.fields,
        graph=_graph(store, version.manifest),
        last_run=last_run,
        bytes_on_disk=_bytes_below(config.store),
    )


def _formats(skipped: Sequence[SkippedFile]) -> list[SkippedFormat]:
    """Count the files that were skipped because of their format, by their endings."""
    reasons = {UnsupportedImage.code, DecoderMissing.code}
    endings = Counter(
        PurePosixPath(file.key).suffix.lower() for file in skipped if file.reason in reasons
    )
    return [SkippedFormat(name, files, advice(name)) for name, files in endings.most_common()]


def _graph(store: Store, manifest: Manifest) -> GraphRecord | None:
    try:
        return stored_graph(store, manifest).record
    except NoGraph:
        return None
    except StoreCorrupt as error:
        logger.warning("The neighbour graph is damaged: %s %s", error.message, error.hint)
        return None


def _bytes_below(folder: Path) -> int:
    """Return the size of all files below a folder, without those that a build removes meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(f"{parent}/{name}").st_size
    return total
