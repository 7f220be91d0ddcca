"""The store folder as readers see it: one published version, older ones beside it."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from indexer.errors import NoPublishedIndex, StoreCorrupt
from indexer.store.contents import manifest_path
from indexer.store.files import REBUILD_HINT, read_bytes, read_record, refuse_link
from indexer.store.records import Manifest
from indexer.store.versions import Version, VersionPart, read_manifest

CURRENT = "CURRENT"
COPY = "COPY"
"""Marks a copy that was pushed or pulled, which has no catalogue of its own. It says whence."""

MAX_NAME_BYTES = 100


class PublishedIdentity(NamedTuple):
    """What tells a published version from every other, one of another store included.

    Every store counts its versions from 1, so the id alone does not. The rest is that of the
    manifest's file.
    """

    version: str
    device: int
    inode: int
    mtime_ns: int


class Store:
    """A store folder. Making this object touches nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.segments = folder / "segments"
        self.versions = folder / "versions"
        self.derived = folder / "derived"
        self.layers = folder / "layers"
        self.graphs = folder / "graphs"
        self.reports = folder / "reports"
        self.damage = folder / "damage.json"
        self.catalogue = folder / "catalogue.sqlite"
        self.copy = folder / COPY

    @property
    def is_mere_copy(self) -> bool:
        """Whether it has no catalogue of its own, and needs none until something is indexed."""
        return self.copy.exists() and not self.catalogue.exists()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders in the store."""
        return (
            self.segments,
            self.versions,
            self.derived,
            self.layers,
            self.graphs,
            self.reports,
        )

    def current(self) -> str | None:
        """Return the id of the published version, or None."""
        path = self.folder / CURRENT
        try:
            content = read_bytes(path, MAX_NAME_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreCorrupt(f"{path}: {error}", REBUILD_HINT) from error
        return version_named(content, path)

    def identity(self) -> PublishedIdentity | None:
        """Return the identity of the published version, or None. Raises :class:`StoreCorrupt`."""
        current = self.current()
        if current is None:
            return None
        path = self.folder / manifest_path(current)
        try:
            status = path.stat()
        except OSError as error:
            raise StoreCorrupt(f"{path}: {error.strerror}.", REBUILD_HINT) from error
        return PublishedIdentity(current, status.st_dev, status.st_ino, status.st_mtime_ns)

    def manifests(self, *, require_read: bool = False) -> dict[str, Manifest | None]:
        """Return the manifests of all versions by id, in order; None where one is damaged.

        With ``require_read`` one that exists but cannot be read now raises :class:`OSError`.
        """
        found: dict[str, Manifest | None] = {}
        folders = self.versions.iterdir() if self.versions.is_dir() else ()
        for folder in sorted(folder for folder in folders if folder.name.isdecimal()):
            try:
                refuse_link(folder)
                found[folder.name] = read_record(self.folder / manifest_path(folder.name), Manifest)
            except StoreCorrupt as error:
                if require_read:
                    raise_if_unavailable(error)
                found[folder.name] = None
        return found

    def published_manifest(self) -> Manifest | None:
        """Return the manifest of the published version, None if there is no sound one."""
        try:
            return self.manifests().get(self.current() or "")
        except StoreCorrupt:
            return None

    def open_published(self) -> Version:
        """Open the published version. Raises :class:`NoPublishedIndex` if there is none."""
        current = self.current()
        if current is None:
            raise self.no_published_index()
        return self.version(current)

    def no_published_index(self) -> NoPublishedIndex:
        """Return the error of a store in which nothing is published."""
        return NoPublishedIndex(
            f"There is no index in {self.folder} yet.", "Make one with: lookalike index FOLDER"
        )

    def version(self, name: str) -> Version:
        """Open a version by its id. Raises :class:`StoreCorrupt`."""
        for folder in (*self.folders, self.versions / name):
            refuse_link(folder)
        return Version(self.folder, name)

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a version. Raises :class:`StoreCorrupt`."""
        return read_manifest(self.folder / manifest_path(name), name)

    def part(self, name: str, segments: Collection[str]) -> VersionPart:
        """Open some segments of a version. Raises :class:`StoreCorrupt`."""
        for folder in (self.segments, self.versions, self.derived, self.versions / name):
            refuse_link(folder)
        return VersionPart(self.folder, name, segments)


def current_content(version: str) -> bytes:
    """Return what ``CURRENT`` holds when a version is published."""
    return f"{version}\n".encode("ascii")


def version_named(content: bytes, source: object) -> str:
    """Return the version that the content of ``CURRENT`` names. Raises :class:`StoreCorrupt`."""
    try:
        name = content.decode("ascii").strip()
    except ValueError as error:
        raise StoreCorrupt(f"{source}: {error}", REBUILD_HINT) from error
    if not name.isdecimal():
        raise StoreCorrupt(f"{source} does not name a version.", REBUILD_HINT)
    return name


def raise_if_unavailable(error: StoreCorrupt) -> None:
    """Raise the :class:`OSError` behind an error if the file exists but cannot be read now.

    A disk that is away or too many open files are no damage: the file may be intact.
    """
    cause = error.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
        raise cause
