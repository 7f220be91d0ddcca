"""Versions: list them, go back to one, remove old ones."""

from dataclasses import asdict, dataclass
from typing import Any

from indexer.config import Config
from indexer.errors import NoPublishedIndex, UnknownVersion
from indexer.store import Store, open_writer


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
    current = store.current()
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


def rollback(config: Config, name: str | None = None) -> str:
    """Publish an older version again, the one before the published one or ``name``; return its id.

    The next build publishes what is in the folder then. Raises
    :class:`~indexer.errors.UnknownVersion`, :class:`~indexer.errors.StoreBusy`, or
    :class:`~indexer.errors.StoreCorrupt` if that version is damaged.
    """
    store = Store(config.store)
    current = store.current()
    if current is None:
        raise NoPublishedIndex(f"There is no index in {config.store} yet.", "Make one: make index.")
    known = list(store.manifests())
    if name is None:
        older = [version for version in known if version < current]
        if not older:
            raise UnknownVersion(
                f"There is no version before {current}.",
                "`python -m indexer versions` lists what there is.",
            )
        name = older[-1]
    name = name.zfill(len(current)) if name.isdecimal() else name
    if name not in known:
        raise UnknownVersion(
            f"There is no version {name}.", "`python -m indexer versions` lists what there is."
        )
    with open_writer(store) as writer:
        writer.roll_back(name)
    return name


def prune(config: Config, keep: int) -> list[str]:
    """Remove all versions but the last ``keep`` and the published one; return what was removed."""
    store = Store(config.store)
    before = set(store.manifests())
    with open_writer(store) as writer:
        writer.tidy(keep)
    return sorted(before - set(store.manifests()))
