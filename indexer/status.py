"""Status: what a store holds, without opening its vectors."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexer.config import Config
from indexer.promise import Promise
from indexer.store import Counts, Manifest, RunRow, Store, live_catalogue


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that is not in the index, and why."""

    key: str
    stage: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """The published version of a store, its accounting and its size."""

    store: Path
    manifest: Manifest
    promise: Promise | None
    """What approximate search finds."""
    counts: Counts
    reasons: dict[str, int]
    skipped: list[SkippedFile]
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
            "segments": len(self.manifest.segments),
            "last_run": asdict(self.last_run) if self.last_run else None,
            "bytes_on_disk": self.bytes_on_disk,
        }


def status(config: Config) -> Status:
    """Read the status of the configured store. Raises NoPublishedIndex or StoreCorrupt."""
    store = Store(config.store)
    version = store.open_published()
    catalogue = version.catalogue
    with live_catalogue(store.catalogue) as live:
        last_run = live.last_run()
    return Status(
        store=config.store,
        manifest=version.manifest,
        promise=Promise.of(version.manifest, config.index.recall),
        counts=version.manifest.counts,
        reasons=catalogue.skip_reasons(),
        skipped=[
            SkippedFile(row.key, str(row.stage), str(row.reason), str(row.message))
            for row in catalogue.rows("skipped")
        ],
        last_run=last_run,
        bytes_on_disk=sum(f.stat().st_size for f in config.store.rglob("*") if f.is_file()),
    )
