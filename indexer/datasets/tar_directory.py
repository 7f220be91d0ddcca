"""The directory of a tar archive: which files it holds and where their bytes lie.

Tar archives have no directory; all headers are read. Format:
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

import os
import posixpath
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from indexer.datasets.shards import Stamp, stamp_of

DAMAGED = (tarfile.TarError, ValueError, OverflowError, IndexError, MemoryError, RecursionError)
"""What tarfile raises for damaged archives."""

MAX_HEADER_BYTES = 1_000_000
"""Headers are small; a damaged one may say that the rest of the archive is a header."""

MAX_SIZE = 2**63 - 1
"""The largest size of a file, and the largest number of the catalogue."""

MAX_LINKS = 40
"""How many links may lead to each other, as on Linux."""


class Extent(NamedTuple):
    """Offset and size of a member's bytes in its archive.

    ``pieces`` are the parts of a sparse member that are stored, as offset and size within it.
    """

    offset: int
    size: int
    pieces: tuple[tuple[int, int], ...] | None = None


@dataclass(slots=True)
class Directory:
    """The files of one archive, as of its ``stamp``."""

    stamp: Stamp
    files: dict[str, Extent] = field(default_factory=dict)
    """By name. A link to a file of the archive is a file, too, as when unpacking."""
    dangling: dict[str, str] = field(default_factory=dict)
    """Links to what the archive does not hold: their target by name."""
    ignored: Counter[str] = field(default_factory=Counter)
    damage: str | None = None


def read_directory(file: BinaryIO) -> Directory:
    """Read all headers of an archive, up to the first damage, which is recorded.

    Archives that were joined, as by ``cat``, are read one after the other.
    """
    directory, links = Directory(stamp_of(file)), _Links()
    start: int | None = 0
    try:
        while start is not None:
            file.seek(start)
            end = _read_headers(file, directory, links)
            start = _next_archive(file, end)
            if start == end:  # tarfile stops silently at a header that it cannot read
                directory.damage = f"the archive is damaged or cut short after {end:,} bytes"
                break
    except DAMAGED as error:
        directory.damage = f"the archive is damaged: {error or type(error).__name__}"
    links.resolve(directory)
    return directory


def read_extent(file: BinaryIO, extent: Extent) -> bytes:
    """Return a member's bytes, without changing the file's position.

    Raises :class:`ValueError` if the archive ends before, or if its map is damaged.
    """
    if extent.pieces is None:
        return _bytes_at(file, extent.offset, extent.size)
    data, position = bytearray(extent.size), extent.offset
    for start, size in extent.pieces:
        if start < 0 or size < 0 or start + size > extent.size:
            raise ValueError("its map of holes is damaged")
        data[start : start + size] = _bytes_at(file, position, size)
        position += size
    return bytes(data)


def _read_headers(file: BinaryIO, directory: Directory, links: "_Links") -> int:
    """Read the headers from the file's position to the archive's end, and return that position."""
    with tarfile.open(fileobj=_HeaderFile(file), mode="r:") as archive:  # type: ignore[call-overload]
        while (member := archive.next()) is not None:
            if not 0 <= member.size <= MAX_SIZE or archive.offset < member.offset_data:
                raise tarfile.ReadError(f"{member.name} has a size of {member.size:,} bytes")
            _add(member, directory, links)
            archive.members.clear()  # otherwise it keeps all members
        return int(archive.offset)


def _add(member: tarfile.TarInfo, directory: Directory, links: "_Links") -> None:
    name = _plain(member.name)
    if member.isdir():
        links.folders.add(name)
        return
    if member.isreg():
        holes: Any = member.sparse  # None or (offset, size) of each part; typeshed says bytes
        pieces = None if holes is None else tuple(holes)
        extent = Extent(member.offset_data, member.size, pieces)
    elif member.islnk() and _plain(member.linkname) in directory.files:
        extent = directory.files[_plain(member.linkname)]
    elif member.islnk() or member.issym():
        directory.files.pop(name, None)
        links.targets[name] = _target(member)
        return
    else:
        directory.ignored["special"] += 1
        return
    links.targets.pop(name, None)
    if directory.files.get(name, extent) != extent:  # the last one counts, as when unpacking
        directory.ignored["listed twice"] += 1
    directory.files[name] = extent


class _Links:
    """Links whose target was not read before them, and the folders of the archive."""

    def __init__(self) -> None:
        self.targets: dict[str, str] = {}
        self.folders: set[str] = set()

    def resolve(self, directory: Directory) -> None:
        """Add the links to files of the archive; those to folders add no file."""
        found = {name: self._end_of(name, directory) for name in self.targets}
        for name, target in found.items():
            if target in directory.files:
                directory.files[name] = directory.files[target]
        folders = self._all_folders(directory) if found else set()
        for name, target in found.items():
            if target in folders:
                directory.ignored["special"] += 1
            elif name not in directory.files:
                directory.dangling[name] = target

    def _end_of(self, name: str, directory: Directory) -> str:
        """Return what a link leads to, over other links."""
        for _ in range(MAX_LINKS):
            name = self.targets[name]
            if name in directory.files or name not in self.targets:
                break
        return name

    def _all_folders(self, directory: Directory) -> set[str]:
        folders = {".", *self.folders}
        for name in directory.files:
            folder = posixpath.dirname(name)
            while folder and folder not in folders:
                folders.add(folder)
                folder = posixpath.dirname(folder)
        return folders


class _HeaderFile:
    """The part of a file that tarfile reads: no more than a header at once, and not beyond it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has a size of {size:,} bytes")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        if not 0 <= position <= self._size:
            raise tarfile.ReadError("unexpected end of data")
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def _next_archive(file: BinaryIO, end: int) -> int | None:
    """Return where the archive after the end marker at ``end`` begins, or None.

    Without an end marker it is ``end`` itself.
    """
    position = end
    file.seek(end)
    while chunk := file.read(1 << 20):
        if len(chunk) < tarfile.BLOCKSIZE and position == end:
            return end
        if rest := chunk.lstrip(b"\0"):
            position += len(chunk) - len(rest)
            return position // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        position += len(chunk)
    return None if position > end else end


def _target(member: tarfile.TarInfo) -> str:
    """Return the name that a link leads to, within the archive."""
    if member.islnk():
        return _plain(member.linkname)
    return posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _bytes_at(file: BinaryIO, offset: int, size: int) -> bytes:
    data = os.pread(file.fileno(), size, offset)
    if len(data) < size:
        raise ValueError("the archive ends within it")
    return data
