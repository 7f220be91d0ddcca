"""A copy of an index at an address, as its own records describe it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from indexer.errors import StoreCorrupt
from indexer.object_storage import ObjectFolder
from indexer.store.contents import manifest_path, marker_path
from indexer.store.files import MAX_RECORD_BYTES, Record, parse_record
from indexer.store.records import Manifest, Marker
from indexer.store.segments import check_marker
from indexer.store.store import CURRENT, MAX_NAME_BYTES, version_named
from indexer.store.versions import check_manifest

DAMAGED_HINT = (
    "A push may have replaced it meanwhile: try again. Otherwise remove what is at that address, "
    "then push the index again from where it was made."
)

R = TypeVar("R", bound=Record)


class Copy:
    """A copy of an index: a folder of objects laid out like a store.

    Its records are read when they are asked for. What is wrong with them is raised as
    :class:`~indexer.errors.StoreCorrupt`.
    """

    def __init__(self, folder: ObjectFolder) -> None:
        self.folder = folder
        self.address = folder.address

    def current(self) -> str | None:
        """Return the version that was pushed last; None if there is none."""
        content = self.folder.read(CURRENT, MAX_NAME_BYTES)
        if content is None:
            return None
        with _explained():
            return version_named(content, f"{self.address}/{CURRENT}")

    def manifest(self, version: str) -> tuple[Manifest, bytes]:
        """Return the manifest of a version, and the bytes it was read from."""
        path = manifest_path(version)
        with _explained():
            manifest, content = self._record(path, Manifest)
            return check_manifest(manifest, version, f"{self.address}/{path}"), content

    def marker(self, segment: str) -> tuple[Marker, bytes]:
        """Return the marker of a segment, and the bytes it was read from."""
        path = marker_path(segment)
        with _explained():
            marker, content = self._record(path, Marker)
            return check_marker(marker, f"{self.address}/{path}"), content

    def _record(self, path: str, model: type[R]) -> tuple[R, bytes]:
        content = self.folder.read(path, MAX_RECORD_BYTES)
        if content is None:
            raise StoreCorrupt(f"{self.address}/{path} is missing.")
        return parse_record(content, model, f"{self.address}/{path}"), content


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about damage in a copy, which is not what to do about that in a store."""
    try:
        yield
    except StoreCorrupt as error:
        raise StoreCorrupt(error.message, DAMAGED_HINT) from error
