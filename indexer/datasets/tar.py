"""Tar shards in WebDataset's style, read where they are: nothing is unpacked."""

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
"""Endings of members that describe the image of the same name."""

MAX_SIDECAR_BYTES = 64_000
"""Larger ones are passed over: their content goes into the catalogue and every search result."""

DAMAGED = (tarfile.TarError, ValueError, OverflowError, IndexError, MemoryError)
"""What tarfile raises on bytes that are no archive, or no longer one."""

Place = tuple[int, int]
"""Where a member's bytes are: offset and size."""

Places = dict[str, Place]
Stamp = tuple[int, int]
"""An archive's size and modification time."""


@dataclass(slots=True)
class _Shard:
    """The directory of one archive, which tar files lack, as of one moment."""

    stamp: Stamp
    images: Places = field(default_factory=dict)
    sidecars: Places = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    damage: str | None = None


class TarShards:
    """The images in tar files: each root is a ``.tar`` file or a folder that holds some.

    A key is ``shard.tar/member.jpg``, the shard's path below its folder, then the member's name.
    Members ``x.json``, ``x.txt`` and ``x.cls`` are metadata of the image ``x.*``: the fields of the
    object, ``text`` and ``class``. An image counts as changed when its shard has changed. Archives
    must be uncompressed, since images are read at their offsets.
    """

    def __init__(self, *roots: Path) -> None:
        self._roots = roots
        self._paths: dict[str, Path] | None = None
        self._places: dict[str, tuple[Stamp, Places]] = {}
        self._indexing = threading.Lock()

    @property
    def source(self) -> str:
        """The paths of the folders and archives."""
        return ", ".join(str(root) for root in self._roots)

    def scan(self) -> Listing:
        """List the images of all shards by reading the headers of the archives.

        A shard that is damaged is unreadable itself, under its name with / at the end; what comes
        before the damage is listed.
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
                    self._places[name] = shard.stamp, shard.images
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
                place = self._places_in(name, file).get(member)
                if place is None:
                    raise ImageGone(f"The archive {name} holds no {member}.", GONE_HINT)
                check_size(place[1], key)
                data = _bytes_at(file, place)
        except FileNotFoundError:
            raise ImageGone(f"The archive {name} does not exist.", GONE_HINT) from None
        except OSError as error:
            message = f"The archive {name} cannot be read: {reason_of(error)}."
            raise ImageUnreadable(message, GONE_HINT) from None
        if len(data) < place[1]:
            raise ImageUnreadable(f"The archive {name} ends within {member}.", GONE_HINT)
        return data

    def _find(self, listing: Listing) -> dict[str, Path]:
        """Return the archives by name, in order; two of one name would mix up their images."""
        found: list[tuple[str, Path]] = []
        for root in self._roots:
            if root.suffix.lower() == ".tar" and not root.is_dir():
                if not root.exists():
                    raise DatasetError(
                        f"The archive {root} does not exist.", "Check dataset.root, or IMAGES=."
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
        """Split a key into the names of shard and member; no path is ever made of the latter."""
        for end in re.finditer(r"\.tar/", key, re.IGNORECASE):
            if key[: end.end() - 1] in self._known():
                return key[: end.end() - 1], key[end.end() :]
        raise ImageGone(f"{key} is in none of the archives.", GONE_HINT)

    def _places_in(self, name: str, file: BinaryIO) -> Places:
        """Return where an archive's images are, looked up anew if the file is not the one known."""
        with self._indexing:
            stamp, places = self._places.get(name, (None, {}))
            if stamp != _stamp(file):
                shard = _read_directory(file)
                stamp, places = self._places[name] = shard.stamp, shard.images
            return places


def _stamp(file: BinaryIO) -> Stamp:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _read_directory(file: BinaryIO) -> _Shard:
    """Read all headers of an archive; damage ends the directory and is recorded in it."""
    shard = _Shard(_stamp(file))
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                _add(shard, member)
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
            end = archive.offset
    except DAMAGED as error:
        shard.damage = f"the archive is damaged: {error or type(error).__name__}"
    else:
        # tarfile stops without a word at a header it cannot read.
        if _bytes_at(file, (end, tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
            shard.damage = f"the archive is damaged or cut short after {end:,} bytes"
    return shard


def _add(shard: _Shard, member: tarfile.TarInfo) -> None:
    name = member.name.removeprefix("./")
    if not member.isreg() or member.issparse():
        if not member.isdir():
            shard.ignored["special"] += 1
        return
    heading, place = ignored_as(os.path.basename(name)), (member.offset_data, member.size)  # noqa: PTH119
    if heading in SIDECARS:
        shard.sidecars[name] = place
    elif heading:
        shard.ignored[heading] += 1
    else:
        if name in shard.images:  # as when unpacking, the last one counts
            shard.ignored["listed twice"] += 1
        shard.images[name] = place


def _items(name: str, shard: _Shard, file: BinaryIO, listing: Listing) -> Iterator[Item]:
    """Yield the images of a shard; its time is theirs, since members may be given any time."""
    described = set[str]()
    for member, (_, size) in shard.images.items():
        key = f"{name}/{member}"
        if not is_text(key):
            listing.unreadable[escaped(key)] = NOT_UTF8
            continue
        metadata: dict[str, Any] = {}
        stem = os.path.splitext(member)[0]  # noqa: PTH122 -- for every member; Path is slow
        for ending in SIDECARS:
            if (place := shard.sidecars.get(stem + ending)) is not None:
                described.add(stem + ending)
                try:
                    metadata |= _described(ending, place, file)
                except ValueError as error:
                    listing.ignored[f"{ending} ({error})"] += 1
        yield Item(key, size, shard.stamp[1], metadata)
    for sidecar in shard.sidecars.keys() - described:
        listing.ignored[os.path.splitext(sidecar)[1]] += 1  # noqa: PTH122


def _described(ending: str, place: Place, file: BinaryIO) -> dict[str, Any]:
    """Return the metadata in a sidecar. Raises ValueError, in words, if there is none to be had."""
    if place[1] > MAX_SIDECAR_BYTES:
        raise ValueError("too large")
    try:
        text = _bytes_at(file, place).decode("utf-8").strip()
        if ending == ".txt":
            return {"text": text}
        if ending == ".cls":
            return {"class": int(text) if text.isdecimal() else text}
        value = json.loads(text, parse_constant=lambda _: None)  # JSON itself has no NaN
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # nor half a surrogate pair
    except (ValueError, RecursionError):
        raise ValueError("damaged") from None
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _bytes_at(file: BinaryIO, place: Place) -> bytes:
    """Return a part of a file, up to its end, without moving any thread's position in it."""
    offset, size = place
    return os.pread(file.fileno(), size, offset)
