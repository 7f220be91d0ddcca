"""Whether every byte and count of a store is right."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from indexer.config import Config
from indexer.errors import NoGraph, StoreBusy, StoreCorrupt, StoreUnavailable
from indexer.store import (
    GRAPH_HINT,
    REBUILD_HINT,
    Damage,
    Manifest,
    Store,
    Version,
    catalogue_problems,
    live_catalogue,
    stored_graph,
    update_damage,
)

RESTORED_HINT = "The next build makes the catalogue again from the published version."


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
