"""The versions of a store: list them, publish an older one, remove old ones."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from indexer.config import Config
from indexer.errors import StoreCorrupt, UnknownVersion
from indexer.store import Store, open_writer

logger = logging.getLogger(__name__)


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
