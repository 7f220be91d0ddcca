"""Maintenance of a store: status, verification, versions."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from indexer.config import Config
from indexer.errors import (
    DecoderMissing,
    NoGraph,
    StoreBusy,
    StoreCorrupt,
    StoreUnavailable,
    UnknownVersion,
    UnsupportedImage,
)
from indexer.images import advice
from indexer.store import (
    GRAPH_HINT,
    REBUILD_HINT,
    Counts,
    Damage,
    Field,
    GraphRecord,
    Manifest,
    RunRow,
    Store,
    Version,
    catalogue_problems,
    live_catalogue,
    open_writer,
    stored_graph,
    update_damage,
)
from indexer.vector_index.promise import Promise

RESTORED_HINT = "The next build makes the catalogue again from the published version."

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of :func:`verify`; without problems every checksum and count is right."""

    version: str | None
    images: int
    problems: list[str]
    not_noted: str | None = None
    """Why the damage could not be recorded for the next build, such as a read-only store."""
    not_checked: str | None = None
    """Why the store's own catalogue could not be checked, such as a build that writes it."""
    hint: str = ""
    """What to do about the problems."""


def verify(config: Config) -> Verdict:
    """Check all checksums and counts of the published version, and the store's own catalogue.

    Damage is reported, not raised. It is also recorded in the store, if that can be written, so
    that the next build makes the damaged parts again. Recorded damage to other parts stays.

    Raises :class:`~indexer.errors.NoPublishedIndex`.
    """
    store = Store(config.store)
    try:
        version = store.open_published()
        damaged = version.damaged_files()
        problems = list(damaged.values()) or version.count_problems()
    except StoreCorrupt as error:
        return Verdict(None, 0, [error.message], hint=REBUILD_HINT)
    folders = [path.parent for path in damaged]
    manifest = version.manifest
    checked = Damage(
        segments=tuple(entry.id for entry in manifest.segments),
        derived=tuple(derived.folder for derived in manifest.derived.values()),
        layers=tuple(layer.id for layer in manifest.layers),
    )
    damage = Damage(
        segments=tuple(sorted({f.name for f in folders if f.parent == store.segments})),
        derived=tuple(sorted({f.name for f in folders if f.parent == store.derived})),
        layers=_damaged_layers(version, damaged) if problems else (),
    )
    not_noted = None
    try:
        update_damage(store, checked=checked, damaged=damage)
    except OSError as error:
        not_noted = f"{store.damage}: {error.strerror}"
    own, not_checked = _own_catalogue_problems(store)
    of_graph = _graph_problems(store, manifest)
    hints = [(problems, REBUILD_HINT), (own, RESTORED_HINT), (of_graph, GRAPH_HINT)]
    return Verdict(
        version.id,
        manifest.counts.indexed,
        problems + own + of_graph,
        not_noted,
        not_checked,
        hint=next((hint for found, hint in hints if found), ""),
    )


def _graph_problems(store: Store, manifest: Manifest) -> list[str]:
    """Return what is wrong with the neighbour graph of a version; nothing if it has none."""
    try:
        return stored_graph(store, manifest).problems()
    except NoGraph:
        return []
    except StoreCorrupt as error:
        return [error.message]


def _own_catalogue_problems(store: Store) -> tuple[list[str], str | None]:
    """Return what is wrong with the store's own catalogue, or why that cannot be told now."""
    if store.is_mere_copy:
        return [], None
    try:
        with live_catalogue(store.catalogue) as catalogue:
            for _ in range(3):
                before = catalogue.commits()
                problems = catalogue_problems(store, catalogue)
                if not problems or catalogue.commits() == before:
                    return problems, None
        return [], f"A build is writing {store.catalogue}."
    except (StoreBusy, StoreUnavailable) as error:
        return [], error.message
    except StoreCorrupt as error:
        return [error.message], None
    except OSError as error:
        return [], str(error)


def _damaged_layers(version: Version, damaged: Collection[Path]) -> tuple[str, ...]:
    """Return the damaged layers; all of them if every file is intact but the counts disagree."""
    layers = [layer.id for layer in version.manifest.layers]
    names = {path.stem for path in damaged if path.suffix == ".sqlite"}
    return tuple(layer for layer in layers if layer in names or not damaged)


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version of the store; only its id is known if it is damaged."""

    version: str
    published: bool
    created: str | None
    found: int | None
    indexed: int | None
    skipped: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the version as JSON-ready values."""
        return asdict(self)


def versions(config: Config) -> list[VersionInfo]:
    """Return the versions of the configured store, the oldest first."""
    store = Store(config.store)
    current = _current(store)
    return [
        VersionInfo(
            name,
            name == current,
            manifest.created.isoformat(timespec="seconds") if manifest else None,
            manifest.counts.found if manifest else None,
            manifest.counts.indexed if manifest else None,
            manifest.counts.skipped if manifest else None,
        )
        for name, manifest in store.manifests().items()
    ]


def _current(store: Store) -> str | None:
    """Return the id of the published version; None if there is none, or its record is damaged."""
    try:
        return store.current()
    except StoreCorrupt:
        return None


def rollback(config: Config, name: str | None = None) -> str:
    """Publish an older version again, by default the previous one; return its id.

    The next build publishes the state of the dataset again. Raises
    :class:`~indexer.errors.UnknownVersion`, :class:`~indexer.errors.StoreBusy`, or
    :class:`~indexer.errors.StoreCorrupt` if that version is damaged.
    """
    store = Store(config.store)
    current = store.current() if name is None else _current(store)
    known = list(store.manifests())
    if not known or (name is None and current is None):
        raise store.no_published_index()
    if name is None:
        older = [version for version in known if version < str(current)]
        if not older:
            raise UnknownVersion(
                f"There is no version before {current}.",
                "`lookalike versions` lists what there is.",
            )
        name = older[-1]
    name = name.zfill(len(known[-1])) if name.isdecimal() else name
    if name not in known:
        raise UnknownVersion(
            f"There is no version {name}.", "`lookalike versions` lists what there is."
        )
    with open_writer(store) as writer:
        _log(writer.notes)
        writer.roll_back(name)
    return name


def _log(notes: Sequence[str]) -> None:
    for note in notes:
        logger.warning(note)


def prune(config: Config, keep: int) -> list[str]:
    """Remove all versions but the last ``keep`` and the published one; return what was removed.

    Raises :class:`~indexer.errors.NoPublishedIndex` and :class:`~indexer.errors.StoreBusy`.
    """
    store = Store(config.store)
    before = set(store.manifests())
    if not before:
        raise store.no_published_index()
    with open_writer(store) as writer:
        _log(writer.notes)
        writer.collect_garbage(keep)
    return sorted(before - set(store.manifests()))
