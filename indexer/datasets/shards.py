"""Shards: files that hold many images each, found in folders or named one by one."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from indexer.datasets.base import Listing
from indexer.datasets.files import GONE_HINT, NOT_UTF8, ignored_as, require_folder, revision_of
from indexer.datasets.walk import Rules, walk
from indexer.errors import DatasetError, ImageGone
from indexer.text import escaped, is_text

Stamp = tuple[int, int, str]
"""A shard's size, modification time and revision."""


def stamp_of(file: BinaryIO) -> Stamp:
    """Return what tells whether an open shard has changed."""
    return _stamp(os.fstat(file.fileno()))


def stamp_at(path: Path) -> Stamp:
    """Return what :func:`stamp_of` would of the file that is at a path now."""
    return _stamp(path.stat())


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, revision_of(found)


class Shards:
    """The shards with an ending such as ``.tar``: each root is one, or a folder that holds some.

    A shard's name is that of its file, with the path below its folder. The key of an image begins
    with the name of its shard and a slash. Hidden and excluded files are passed over.
    """

    def __init__(self, roots: tuple[Path, ...], ending: str, rules: Rules) -> None:
        self.roots = roots
        self.rules = rules
        self._ending = ending
        self._known: dict[str, Path] | None = None

    @property
    def source(self) -> str:
        """The paths of the folders and shards."""
        return ", ".join(str(root) for root in self.roots)

    def find(self, listing: Listing) -> dict[str, Path]:
        """Search for the shards; return their paths by name, in order.

        Raises :class:`DatasetError` if there are none, or if two have the same name.
        """
        paths = self._find(listing)
        if not paths and not listing.unreadable:
            raise DatasetError(
                f"There are no {self._ending} files in {self.source}.",
                f"Name a {self._ending} file, or a folder that holds some, in dataset.root.",
            )
        self._known = paths
        return paths

    def locate(self, key: str) -> tuple[str, Path, str]:
        """Split a key into its shard, whose name and path are returned, and the rest.

        The rest is never used as a path. Raises :class:`~indexer.errors.ImageGone`.
        """
        if self._known is None:
            try:
                self._known = self._find(Listing())
            except DatasetError:
                message = f"The {self._ending} files cannot be found."
                raise ImageGone(message, GONE_HINT) from None
        for end in re.finditer(f"{re.escape(self._ending)}/", key, re.IGNORECASE):
            name, rest = key[: end.end() - 1], key[end.end() :]
            if name in self._known:
                return name, self._known[name], rest
        raise ImageGone(f"{key} is in none of the {self._ending} files.", GONE_HINT)

    def _find(self, listing: Listing) -> dict[str, Path]:
        found: list[tuple[str, Path]] = []
        for root in self.roots:
            if root.suffix.lower() == self._ending and not root.is_dir():
                if not root.exists():
                    raise DatasetError(
                        f"The file {root} does not exist.", "Check the path, or dataset.root."
                    )
                found.append((root.name, root))
                continue
            require_folder(root)
            for entry, key in walk([(root, "")], listing, self.rules):
                if not key.lower().endswith(self._ending) or entry.name.startswith("."):
                    listing.ignored[ignored_as(entry.name) or f"no {self._ending} file"] += 1
                elif is_text(key):
                    found.append((key, Path(entry.path)))
                else:
                    listing.unreadable[f"{escaped(key)}/"] = NOT_UTF8
        paths = dict(sorted(found))
        if len(paths) < len(found):
            (name, _), *_ = Counter(name for name, _ in found).most_common(1)
            raise DatasetError(
                f"Two of the {self._ending} files in {self.source} are called {name}.",
                "Their names tell their images apart: rename one of them.",
            )
        return paths
