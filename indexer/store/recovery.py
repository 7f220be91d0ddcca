"""The store's own catalogue, compared with the newest version and restored from one.

What a build commits lies in this one file until it is published, and the next version is made from
it. So a build does not start from one that was damaged, replaced or altered by something else: a
published version holds all that is needed to make it again.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import numpy as np

from indexer.errors import StoreCorrupt
from indexer.store.catalogue_schema import SCHEMA
from indexer.store.catalogue_writer import CatalogueWriter
from indexer.store.connections import translated_errors
from indexer.store.damage import update_damage
from indexer.store.files import REBUILD_HINT, check_size, find_damage, sync
from indexer.store.layers import show_layers
from indexer.store.live import beside, is_written
from indexer.store.own_catalogue import OwnCatalogue
from indexer.store.records import CatalogueLayer, Damage
from indexer.store.rows import OWN_NAMES, ROW_COLUMNS
from indexer.store.segments import Segment
from indexer.store.store import Store
from indexer.store.versions import Version, layer_path

MARK_OFFSET = 68
"""Of the application id in the header: https://www.sqlite.org/fileformat2.html#application_id"""

MAY_CHANGE = ("key", "mtime_ns", "metadata")
"""The columns that a build changes in a row; an id stands for one content, so others never do."""

NEVER_CHANGE = [name for name in ROW_COLUMNS.split(", ") if name not in MAY_CHANGE]


def catalogue_problems(store: Store, catalogue: OwnCatalogue) -> list[str]:
    """Return what is wrong with the store's own catalogue.

    Its file must be sound, its rows those of the newest version but for changes that a build
    makes, and its places those in the segments. Damage to a layer is not blamed on it.
    """
    problems = catalogue.problems()
    if problems:
        return problems
    with translated_errors(catalogue.path, "read"), catalogue.own_connection() as connection:
        if _definitions(connection) != _expected_definitions():
            return [f"{catalogue.path}: its tables or triggers are not those of a catalogue"]
    return [
        f"{catalogue.path}: {problem}"
        for problem in (
            *_older(store, catalogue),
            *_misplaced(store, catalogue),
            *_altered(store, catalogue),
        )
    ]


def seal(catalogue: Path, mark: int) -> None:
    """Give a catalogue that was closed a time whose nanoseconds are its mark.

    Whatever else writes to the file changes its time. As long as both agree, a build need not read
    all of the catalogue to know that it is the one that the last build left.
    """
    now = time.time_ns()
    with suppress(FileNotFoundError):  # the store was moved away meanwhile
        os.utime(catalogue, ns=(now, now // 10**9 * 10**9 + mark))


def _is_sealed(catalogue: Path) -> bool:
    """Tell whether a catalogue is as the last build left it, with nothing beside it to apply."""
    if is_written(catalogue):
        return False
    with catalogue.open("rb") as file:
        header = file.read(MARK_OFFSET + 4)
    mark = int.from_bytes(header[MARK_OFFSET:], "big")
    return len(header) == MARK_OFFSET + 4 and catalogue.stat().st_mtime_ns % 10**9 == mark


@cache
def _expected_definitions() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return _definitions(connection)


def _definitions(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Return the names of tables with those of their columns, and the statements of triggers.

    The statement of a table that was made by an older version of Lookalike is another one. Columns
    for the next build may be missing; it adds them.
    """
    added = ", ".join(f"'{name}'" for name in OWN_NAMES)
    return {
        *connection.execute(
            "SELECT made.name, columns.name FROM main.sqlite_master AS made, "
            "pragma_table_info(made.name) AS columns "
            "WHERE made.type = 'table' AND made.name NOT LIKE 'sqlite_%' "
            f"AND NOT (made.name = 'images' AND columns.name IN ({added}))"
        ),
        *connection.execute(
            "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' "
            "AND name NOT LIKE 'sqlite_%'"
        ),
    }


def _older(store: Store, catalogue: OwnCatalogue) -> Iterator[str]:
    """Find out whether ids would be given again: it is new, or was copied before a publish."""
    for name, manifest in store.manifests().items():
        if manifest and manifest.state[0] > catalogue.next_id():
            yield f"it is older than version {name}"


def _misplaced(store: Store, catalogue: OwnCatalogue) -> Iterator[str]:
    """Compare its places with the ids in the segments; a damaged segment is another matter."""
    for name, alive in catalogue.segment_sizes().items():
        try:
            ids = Segment(store.segments / name).ids
        except StoreCorrupt:
            continue
        places = catalogue.ids_in(name)
        rows, found = places[:, 0], places[:, 1]
        inside = (rows >= 0) & (rows < len(ids))
        dead = np.setdiff1d(ids, found)
        if (
            not inside.all()
            or not np.array_equal(ids[rows], found)
            or alive != len(found)
            or not np.array_equal(catalogue.dead_ids_in(name), dead)
        ):
            yield f"it has other images in segment {name} than the segment itself"


def _altered(store: Store, catalogue: OwnCatalogue) -> Iterator[str]:
    """Compare its rows with those of the newest version."""
    layers = catalogue.layers()
    if not layers or not _have_their_sizes(store, layers):
        return
    fixed = [*NEVER_CHANGE]
    if catalogue.next_id() == layers[-1].next_id:  # a change of keys or metadata skips an id
        fixed += ["key", "metadata"]
    differs = " OR ".join(f"own.{name} IS NOT published.{name}" for name in fixed)
    moved = " OR ".join(f"own.{name} IS NOT published.{name}" for name in MAY_CHANGE)
    queries = {
        "{} of its rows differ from those of the newest version": (
            f"SELECT count(*) FROM images AS own JOIN published USING (id) WHERE {differs} "
            f"OR ({moved}) AND id NOT IN (SELECT id FROM changed)"
        ),
        "{} rows of the newest version are missing": (
            "SELECT count(*) FROM published WHERE id NOT IN (SELECT id FROM images) "
            "AND id NOT IN (SELECT id FROM changed)"
        ),
        "{} of its rows were added by something else than a build": (
            f"SELECT count(*) FROM images WHERE id < {layers[-1].next_id} "
            "AND id NOT IN (SELECT id FROM published)"
        ),
    }
    paths = [layer_path(store.layers, layer.id) for layer in layers]
    with translated_errors(catalogue.path, "read"), catalogue.own_connection() as connection:
        show_layers(connection, "published", paths)
        counts = {text: _count(connection, query) for text, query in queries.items()}
    if any(counts.values()) and not _are_damaged(store, layers):
        yield from (text.format(n) for text, n in counts.items() if n)


def _count(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _have_their_sizes(store: Store, layers: tuple[CatalogueLayer, ...]) -> bool:
    try:
        for layer in layers:
            check_size(layer_path(store.layers, layer.id), layer.file)
    except StoreCorrupt:
        return False
    return True


def _are_damaged(store: Store, layers: tuple[CatalogueLayer, ...]) -> bool:
    return any(find_damage(layer_path(store.layers, layer.id), layer.file) for layer in layers)


def open_catalogue(store: Store) -> tuple[CatalogueWriter, list[str]]:
    """Open the store's own catalogue for a build, restored if need be; return notes on that.

    Raises :class:`StoreCorrupt` if it is damaged and no version is there to restore it from.
    """
    damage = _damage(store)
    if damage is None:
        return CatalogueWriter(store.catalogue), []
    try:
        version = _version_to_restore(store)
        _restore(store, version)
    except StoreCorrupt:
        raise damage from None
    note = (
        f"{damage.message} The catalogue was made again from version {version.id}; "
        "images that were indexed since are read again."
    )
    return CatalogueWriter(store.catalogue), [note]


def _damage(store: Store) -> StoreCorrupt | None:
    """Return what is wrong with the store's own catalogue; None if nothing is, or it is new."""
    if not store.catalogue.exists():
        if not any(store.manifests().values()):
            return None
        return StoreCorrupt(f"{store.catalogue} is missing.", REBUILD_HINT)
    try:
        sealed = _is_sealed(store.catalogue)
        with closing(CatalogueWriter(store.catalogue)) as catalogue:
            if not sealed:
                problems = catalogue_problems(store, catalogue)
            else:
                problems = [f"{catalogue.path}: {problem}" for problem in _older(store, catalogue)]
    except StoreCorrupt as error:
        return error
    return StoreCorrupt(f"{problems[0]}.", REBUILD_HINT) if problems else None


def _version_to_restore(store: Store) -> Version:
    """Return the published version; the newest sound one if the name of that is lost."""
    try:
        name = store.current()
    except StoreCorrupt:
        name = max(name for name, manifest in store.manifests().items() if manifest)
    return store.version(name or "")


def _restore(store: Store, version: Version) -> None:
    """Make the store's own catalogue again from a version, as after the build that published it.

    Ids that any version has seen are not given again.
    """
    layers = version.manifest.layers
    if _are_damaged(store, layers):
        update_damage(store, damaged=Damage(layers=tuple(layer.id for layer in layers)))
        raise StoreCorrupt(f"The catalogue of {version.folder} is damaged.", REBUILD_HINT)
    new = store.catalogue.with_name(f".{store.catalogue.name}.tmp")
    _remove(new)
    with closing(CatalogueWriter(new)) as catalogue:
        catalogue.fill(
            [layer_path(store.layers, layer.id) for layer in layers],
            {segment.id: segment.ids for segment in version.segments},
            layers,
            next_id=max(m.state[0] for m in store.manifests().values() if m),
        )
    sync(new)
    _remove(store.catalogue)  # with its log, which SQLite would apply to the new one
    new.replace(store.catalogue)
    store.copy.unlink(missing_ok=True)
    sync(store.folder)


def _remove(catalogue: Path) -> None:
    for file in beside(catalogue):
        file.unlink(missing_ok=True)
