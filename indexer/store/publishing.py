"""The last steps of a change to a store: a version is published, what none needs is removed."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from indexer.store.contents import Needed, manifest_path
from indexer.store.files import numbered, refuse_link, replace_file, sync, unfinished_name
from indexer.store.records import Manifest
from indexer.store.store import CURRENT, Store, current_content
from indexer.store.versions import Version

KEEP_VERSIONS = 3


def add_version(store: Store, name: str, write: Callable[[Path], object]) -> Version:
    """Add a version to a store that has all its files, and open it; it is not published yet.

    ``write`` writes the manifest to the path it is given. Raises
    :class:`~indexer.errors.StoreCorrupt` if the store lacks anything.
    """
    folder = store.versions / unfinished_name(name)
    folder.mkdir(exist_ok=True)  # a process that died may have left it
    refuse_link(folder)
    write(folder / Path(manifest_path(name)).name)
    folder.rename(store.versions / name)
    sync(store.versions)
    return store.version(name)


def publish(store: Store, name: str) -> None:
    """Make a version the published one: readers see the old one until this one rename."""
    replace_file(store.folder / CURRENT, current_content(name))


def remove_unneeded(
    store: Store,
    manifests: dict[str, Manifest],
    keep: int,
    *,
    published: str | None,
    segments: Iterable[str] = (),
    layers: Iterable[str] = (),
) -> None:
    """Remove all but the last ``keep`` versions, and every file that nothing refers to.

    The published version is kept, however old it is, and so are the named segments and layers. The
    newest graph is kept, too, whosever it is: the graph of the next version begins with it.
    """
    kept = {*sorted(manifests)[-keep:], published or ""}
    needed = Needed.of(
        [manifests[name] for name in kept & manifests.keys()],
        versions=kept,
        segments=segments,
        layers=layers,
        graphs=sorted(folder.name for folder in numbered(store.graphs))[-1:],
    )

    def is_needed(path: Path) -> bool:
        return path.relative_to(store.folder).as_posix() in needed

    for parent in (store.versions, store.segments, store.derived, store.graphs):
        for folder in numbered(parent):
            if not is_needed(folder):
                shutil.rmtree(folder)
    for file in (*store.derived.glob("*/*.npy*"), *store.layers.glob("*.sqlite*")):
        if not is_needed(file):
            file.unlink()
