"""Segments: immutable batches of vectors with the ids of their images."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt
from indexer.store.contents import MARKER
from indexer.store.files import (
    REBUILD_HINT,
    Bytes,
    check_size,
    find_damage,
    read_bytes,
    read_record,
    refuse_link,
    sync,
    write_file,
    write_record,
)
from indexer.store.records import FORMAT, Marker

VECTORS = "vectors.faiss"
IDS = "ids.npy"


class Segment:
    """One segment on disk, its marker read and the sizes of its files checked.

    Raises :class:`StoreCorrupt` if anything is missing or not of the recorded size.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        refuse_link(folder)
        self.marker = check_marker(read_record(folder / MARKER, Marker), folder)
        for name, record in self.marker.files.items():
            check_size(folder / name, record)

    @property
    def count(self) -> int:
        """How many vectors it holds."""
        return self.marker.count

    @property
    def digest(self) -> str:
        """SHA-256 of the file of vectors."""
        return self.marker.files[VECTORS].sha256

    @property
    def vectors_path(self) -> Path:
        """The file of vectors, an ``IndexFlatL2`` as FAISS writes it."""
        return self.folder / VECTORS

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The image id of every vector, int64 (count,)."""
        try:
            content = read_bytes(self.folder / IDS, self.marker.files[IDS].bytes)
            if hashlib.sha256(content).hexdigest() != self.marker.files[IDS].sha256:
                raise StoreCorrupt(f"{self.folder / IDS} is damaged.", REBUILD_HINT)
            ids: NDArray[np.int64] = np.load(BytesIO(content), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StoreCorrupt(f"{self.folder / IDS}: {error}", REBUILD_HINT) from error
        if ids.shape != (self.count,) or ids.dtype != np.int64:
            raise StoreCorrupt(f"{self.folder / IDS} does not hold {self.count} ids.", REBUILD_HINT)
        return ids

    def problems(self) -> list[str]:
        """Read every byte and return what differs from the marker."""
        found = [find_damage(self.folder / name, r) for name, r in self.marker.files.items()]
        return [problem for problem in found if problem]


def check_marker(marker: Marker, source: object) -> Marker:
    """Return a marker of this format. Raises :class:`StoreCorrupt` for any other."""
    if marker.format != FORMAT or set(marker.files) != {VECTORS, IDS}:
        raise StoreCorrupt(f"{source} is not a segment of format {FORMAT}.", REBUILD_HINT)
    return marker


def write_segment(
    folder: Path, ids: NDArray[np.int64], vectors: Iterable[Bytes], *, dim: int, fingerprint: str
) -> Segment:
    """Write a new segment, its marker last, and open it.

    ``vectors`` yields the content of its file of vectors, of dimension ``dim``; ``fingerprint`` is
    that of the encoder that made them.
    """
    folder.mkdir(parents=True)
    id_file = BytesIO()
    np.save(id_file, ids.astype(np.int64), allow_pickle=False)
    contents: Mapping[str, Iterable[Bytes]] = {VECTORS: vectors, IDS: [id_file.getvalue()]}
    files = {name: write_file(folder / name, data) for name, data in contents.items()}
    marker = Marker(fingerprint=fingerprint, count=len(ids), dim=dim, files=files)
    write_record(folder / MARKER, marker)
    sync(folder.parent)
    return Segment(folder)
