"""Tar shards in WebDataset's style, read without unpacking."""

import json
import os
import re
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from indexer.datasets.base import Item, Listing
from indexer.datasets.files import (
    GONE_HINT,
    NOT_UTF8,
    check_size,
    escaped,
    ignored_as,
    is_text,
    reason_of,
    require_folder,
    walk,
)
from indexer.errors import DatasetError, ImageGone, ImageUnreadable

SIDECARS = (".json", ".txt", ".cls")
"""Endings of members with the metadata of the image of the same name."""

MAX_SIDECAR_BYTES = 64_000
"""Larger ones are ignored: their content is part of the catalogue and of every result."""

DAMAGED = (tarfile.TarError, ValueError, OverflowError, IndexError, MemoryError)
"""What tarfile raises for damaged archives."""

Extent = tuple[int, int]
"""Offset and size of a member's bytes in its archive."""

Extents = dict[str, Extent]
Stamp = tuple[int, int]
"""An archive's size and modification time."""


@dataclass(slots=True)
class _Shard:
    """The members of one archive, as of its ``stamp``; tar files have no directory."""

    stamp: Stamp
    images: Extents = field(default_factory=dict)
    sidecars: Extents = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    damage: str | None = None


class TarShards:
    """The images in tar files: each root is a ``.tar`` file or a folder that holds some.

    A key is ``shard.tar/member.jpg``, the shard's path below its folder, then the member's name.
    Members ``x.json``, ``x.txt`` and ``x.cls`` are metadata of the image ``x.*``: the fields of the
    JSON object, ``text`` and ``class``. All images of a shard are read again if the shard changes.
    Archives must be uncompressed, so that images can be read at their offsets.
    """

    def __init__(self, *roots: Path) -> None:
        self._roots = roots
        self._paths: dict[str, Path] | None = None
        self._extents: dict[str, tuple[Stamp, Extents]] = {}
        self._indexing = threading.Lock()

    @property
    def source(self) -> str:
        """The paths of the folders and archives."""
        return ", ".join(str(root) for root in self._roots)

    def scan(self) -> Listing:
        """List the images of all shards by reading the headers of the archives.

        A damaged shard is unreadable, under its name followed by /; the members before the damage
        are listed.
        """
        listing = Listing()
        self._paths = self._find(listing)
        if not self._paths and not listing.unreadable:
            raise DatasetError(
                f"There are no .tar files in {self.source}.",
                "Name an uncompressed .tar file, or a folder that holds some, in dataset.root.",
            )
        for name, path in self._paths.items():
            try:
                with path.open("rb") as file:
                    shard = _read_directory(file)
                    listing.items += _items(name, shard, file, listing)
                    self._extents[name] = shard.stamp, shard.images
            except OSError as error:
                listing.unreadable[f"{name}/"] = reason_of(error)
                continue
            listing.ignored.update(shard.ignored)
            if shard.damage:
                listing.unreadable[f"{name}/"] = shard.damage
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image."""
        name, member = self._locate(key)
        try:
            with self._known()[name].open("rb") as file:
                extent = self._extents_in(name, file).get(member)
                if extent is None:
                    raise ImageGone(f"The archive {name} holds no {member}.", GONE_HINT)
                check_size(extent[1], key)
                data = _bytes_at(file, extent)
        except FileNotFoundError:
            raise ImageGone(f"The archive {name} does not exist.", GONE_HINT) from None
        except OSError as error:
            message = f"The archive {name} cannot be read: {reason_of(error)}."
            raise ImageUnreadable(message, GONE_HINT) from None
        if len(data) < extent[1]:
            raise ImageUnreadable(f"The archive {name} ends within {member}.", GONE_HINT)
        return data

    def _find(self, listing: Listing) -> dict[str, Path]:
        """Return the archives by name, in order. Raises DatasetError if two have the same name."""
        found: list[tuple[str, Path]] = []
        for root in self._roots:
            if root.suffix.lower() == ".tar" and not root.is_dir():
                if not root.exists():
                    raise DatasetError(
                        f"The archive {root} does not exist.", "Check the path, or dataset.root."
                    )
                found.append((root.name, root))
                continue
            require_folder(root)
            for entry, key in walk([(root, "")], listing):
                if key.lower().endswith(".tar") and not entry.name.startswith("."):
                    if is_text(key):
                        found.append((key, Path(entry.path)))
                    else:
                        listing.unreadable[f"{escaped(key)}/"] = NOT_UTF8
                else:
                    listing.ignored[ignored_as(entry.name) or "no archive"] += 1
        paths = dict(sorted(found))
        if len(paths) < len(found):
            (name, _), *_ = Counter(name for name, _ in found).most_common(1)
            raise DatasetError(
                f"Two archives in {self.source} are called {name}.",
                "Their names tell their images apart: rename one of them.",
            )
        return paths

    def _known(self) -> dict[str, Path]:
        if self._paths is None:
            try:
                self._paths = self._find(Listing())
            except DatasetError:
                raise ImageGone("The archives cannot be found.", GONE_HINT) from None
        return self._paths

    def _locate(self, key: str) -> tuple[str, str]:
        """Split a key into the names of shard and member. The latter is never used as a path."""
        for end in re.finditer(r"\.tar/", key, re.IGNORECASE):
            if key[: end.end() - 1] in self._known():
                return key[: end.end() - 1], key[end.end() :]
        raise ImageGone(f"{key} is in none of the archives.", GONE_HINT)

    def _extents_in(self, name: str, file: BinaryIO) -> Extents:
        """Return the extents of an archive's images, read again if the file has changed."""
        with self._indexing:
            stamp, extents = self._extents.get(name, (None, {}))
            if stamp != _stamp(file):
                shard = _read_directory(file)
                stamp, extents = self._extents[name] = shard.stamp, shard.images
            return extents


def _stamp(file: BinaryIO) -> Stamp:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _read_directory(file: BinaryIO) -> _Shard:
    """Read all headers of an archive, up to the first damage, which is recorded."""
    shard = _Shard(_stamp(file))
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                _add(shard, member)
                archive.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps all members
            end = archive.offset
    except DAMAGED as error:
        shard.damage = f"the archive is damaged: {error or type(error).__name__}"
    else:
        # tarfile stops silently at a header that it cannot read.
        if _bytes_at(file, (end, tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
            shard.damage = f"the archive is damaged or cut short after {end:,} bytes"
    return shard


def _add(shard: _Shard, member: tarfile.TarInfo) -> None:
    name = member.name.removeprefix("./")
    if not member.isreg() or member.issparse():
        if not member.isdir():
            shard.ignored["special"] += 1
        return
    heading, extent = ignored_as(os.path.basename(name)), (member.offset_data, member.size)  # noqa: PTH119
    if heading in SIDECARS:
        shard.sidecars[name] = extent
    elif heading:
        shard.ignored[heading] += 1
    else:
        if name in shard.images:  # the last one counts, as when unpacking
            shard.ignored["listed twice"] += 1
        shard.images[name] = extent


def _items(name: str, shard: _Shard, file: BinaryIO, listing: Listing) -> Iterator[Item]:
    """Yield the images of a shard with the shard's time, as members may have any time."""
    used = set[str]()
    for member, (_, size) in shard.images.items():
        key = f"{name}/{member}"
        if not is_text(key):
            listing.unreadable[escaped(key)] = NOT_UTF8
            continue
        metadata: dict[str, Any] = {}
        stem = os.path.splitext(member)[0]  # noqa: PTH122 -- for every member; Path is slow
        for ending in SIDECARS:
            if (extent := shard.sidecars.get(stem + ending)) is not None:
                used.add(stem + ending)
                try:
                    metadata |= _read_sidecar(ending, extent, file)
                except ValueError as error:
                    listing.ignored[f"{ending} ({error})"] += 1
        yield Item(key, size, shard.stamp[1], metadata)
    for sidecar in shard.sidecars.keys() - used:
        listing.ignored[os.path.splitext(sidecar)[1]] += 1  # noqa: PTH122


def _read_sidecar(ending: str, extent: Extent, file: BinaryIO) -> dict[str, Any]:
    """Return the metadata in a sidecar. Raises ValueError with the heading to ignore it under."""
    if extent[1] > MAX_SIDECAR_BYTES:
        raise ValueError("too large")
    try:
        text = _bytes_at(file, extent).decode("utf-8").strip()
        if ending == ".txt":
            return {"text": text}
        if ending == ".cls":
            return {"class": int(text) if text.isdecimal() else text}
        value = json.loads(text, parse_constant=lambda _: None)  # JSON has no NaN
        # nor numbers beyond those of a float, nor lone surrogates
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise ValueError("damaged") from None
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _bytes_at(file: BinaryIO, extent: Extent) -> bytes:
    """Return an extent of a file, without changing the file's position."""
    offset, size = extent
    return os.pread(file.fileno(), size, offset)
