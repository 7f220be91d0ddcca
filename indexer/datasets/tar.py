"""Tar shards in WebDataset's style, read without unpacking."""

import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from indexer.datasets.base import Item, Listing
from indexer.datasets.files import GONE_HINT, NOT_UTF8, check_size, ignored_as, reason_of
from indexer.datasets.shards import Shards, Stamp, stamp_of
from indexer.datasets.sidecars import SIDECARS, Sidecars
from indexer.datasets.tar_directory import Directory, Extent, read_directory, read_extent
from indexer.datasets.walk import EXCLUDED, HIDDEN, Rules
from indexer.errors import ImageGone, ImageUnreadable
from indexer.text import escaped, is_text

FEW_SHARDS = 2
"""How many shards a process of a build reads at the same time: it ends one and begins the next."""


class TarShards:
    """The images in tar files: each root is a ``.tar`` file or a folder that holds some.

    A key is ``shard.tar/member.jpg``, the shard's path below its folder, then the member's name.
    Members ``x.json``, ``x.txt`` and ``x.cls`` are metadata of the images ``x.*``, see
    :mod:`indexer.datasets.sidecars`. Hidden and excluded members are passed over, as in folders.
    All images of a shard are read again if the shard changes. Archives must be uncompressed, so
    that images can be read at their offsets. The offsets in the last ``shards_kept`` shards stay in
    memory; by default those in all of them.
    """

    def __init__(
        self, *roots: Path, rules: Rules | None = None, shards_kept: int | None = None
    ) -> None:
        self._shards = Shards(roots, ".tar", rules or Rules())
        self._shards_kept = shards_kept
        self._images: dict[str, tuple[Stamp, Mapping[str, Extent]]] = {}
        self._indexing = threading.Lock()

    def __reduce__(self) -> tuple[partial["TarShards"], tuple[Path, ...]]:
        """Make a copy for a process that reads one shard after the other."""
        rules = self._shards.rules
        return partial(TarShards, rules=rules, shards_kept=FEW_SHARDS), self._shards.roots

    @property
    def source(self) -> str:
        """The paths of the folders and archives."""
        return self._shards.source

    def scan(self) -> Listing:
        """List the images of all shards by reading the headers of the archives.

        A damaged shard is unreadable, under its name followed by /; the members before the damage
        are listed.
        """
        listing = Listing()
        for name, path in self._shards.find(listing).items():
            try:
                with path.open("rb") as file:
                    directory = read_directory(file)
                    self._images[name] = directory.stamp, _images_of(directory)
                    self._list(name, directory, file, listing)
            except OSError as error:
                listing.unreadable[f"{name}/"] = reason_of(error)
                continue
            if directory.damage:
                listing.unreadable[f"{name}/"] = directory.damage
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image."""
        name, path, member = self._shards.locate(key)
        try:
            with path.open("rb") as file:
                extent = self._images_in(name, file).get(member)
                if extent is None:
                    raise ImageGone(f"The archive {name} holds no {member}.", GONE_HINT)
                check_size(extent.size, key)
                return read_extent(file, extent)
        except FileNotFoundError:
            raise ImageGone(f"The archive {name} does not exist.", GONE_HINT) from None
        except OSError as error:
            message = f"The archive {name} cannot be read: {reason_of(error)}."
            raise ImageUnreadable(message, GONE_HINT) from None
        except ValueError as error:
            raise ImageUnreadable(f"{key} cannot be read: {error}.", GONE_HINT) from None

    def _list(self, name: str, directory: Directory, file: BinaryIO, listing: Listing) -> None:
        """List the images of an archive with its time, as members may have any time."""
        listing.ignored.update(directory.ignored)
        _, mtime_ns, revision = directory.stamp
        images, sidecars, excluded = dict[str, int](), Sidecars(name, file, listing), set[str]()
        for member in [*directory.files, *directory.dangling]:
            extent = directory.files.get(member)
            heading = HIDDEN if _is_hidden(member) else ignored_as(os.path.basename(member))  # noqa: PTH119
            part = self._shards.rules.exclude.part_of(member)
            if part is not None and heading != HIDDEN:
                excluded.add(part)
            elif extent is not None and heading in SIDECARS:
                sidecars.add(member, extent)
            elif heading:
                listing.ignored[heading] += 1
            elif extent is None:
                why = f"the link leads to {directory.dangling[member]}, which is not in the archive"
                listing.unreadable[escaped(f"{name}/{member}")] = escaped(why)
            elif not is_text(f"{name}/{member}"):
                listing.unreadable[escaped(f"{name}/{member}")] = NOT_UTF8
            else:
                images[member] = extent.size
        for part in sorted(excluded):
            listing.pass_over(EXCLUDED, f"{name}/{part}")
        for member, size in images.items():
            metadata = sidecars.metadata_of(member)
            listing.items.append(Item(f"{name}/{member}", size, mtime_ns, metadata, revision))
        sidecars.count_unused()

    def _images_in(self, name: str, file: BinaryIO) -> Mapping[str, Extent]:
        """Return the extents of an archive's images, read again if the file has changed."""
        with self._indexing:
            stamp, images = self._images.get(name, (None, {}))
            if stamp != stamp_of(file):
                directory = read_directory(file)
                stamp, images = directory.stamp, _images_of(directory)
                self._images[name] = stamp, images
                if self._shards_kept and len(self._images) > self._shards_kept:
                    del self._images[next(iter(self._images))]
            return images


def _images_of(directory: Directory) -> dict[str, Extent]:
    """Return the extents of the files that may be images."""
    names = ((name, os.path.basename(name)) for name in directory.files)  # noqa: PTH119
    return {name: directory.files[name] for name, base in names if ignored_as(base) is None}


def _is_hidden(member: str) -> bool:
    """Tell whether a member, or a folder it lies in, is hidden."""
    return any(part.startswith(".") and part not in (".", "..") for part in member.split("/"))
