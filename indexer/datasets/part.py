"""Look at some paths in a folder only, and find what a scan of all of it would find there."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.exclusion import STORE_FILES, STORE_FOLDERS, STORE_MARKS
from indexer.datasets.files import add_file, ignored_as
from indexer.datasets.walk import Rules, is_empty, is_visible
from indexer.text import escaped


@dataclass(frozen=True, slots=True)
class Part:
    """What there is at some paths of a folder: a listing of them, and keys with nothing there."""

    listing: Listing = field(default_factory=Listing)
    missing: set[str] = field(default_factory=set)
    """A file or a folder may have been there, whose folder is there and holds others."""

    @property
    def keys(self) -> set[str]:
        """All keys that were looked at."""
        items = {item.key for item in self.listing.items}
        return items | self.listing.unreadable.keys() | self.missing


class Unclear(Exception):
    """Only a scan of the whole folder can tell."""


def look_at(roots: Sequence[tuple[Path, str]], rules: Rules, paths: Iterable[str]) -> Part | None:
    """Return what a scan would find at some absolute paths; None if only a scan can tell.

    That is so of folders, links to folders, what lies behind them, and what is missing from a
    folder that is missing as well, or empty, as a mount point without its disk.
    """
    places, part = _Places(roots, rules), Part()
    try:
        for path in sorted({*paths}):
            _look_at(places, path, part)
    except (Unclear, OSError, ValueError):
        return None
    part.listing.in_order()
    return part


def _look_at(places: "_Places", path: str, part: Part) -> None:
    folder, name = os.path.split(path)
    prefix = places.prefix_of(folder)
    if prefix is None or not places.is_seen(folder, name, prefix + name):
        return
    key = prefix + name
    try:
        found = os.stat(path)  # noqa: PTH116 -- as in add_file()
    except FileNotFoundError:
        if os.path.islink(path) or places.is_empty(folder):  # noqa: PTH114
            raise Unclear from None
        part.missing.add(escaped(key))
        return
    if stat.S_ISDIR(found.st_mode):
        if _is_store(path):
            return
        raise Unclear
    if heading := ignored_as(name):
        part.listing.ignored[heading] += 1
    else:
        add_file(part.listing, path, key)


class _Places:
    """The folders below some roots, each looked at once."""

    def __init__(self, roots: Sequence[tuple[Path, str]], rules: Rules) -> None:
        self._exclude = rules.exclude
        self._prefixes: dict[str, str | None] = {str(root): prefix for root, prefix in roots}
        self._is_empty: dict[str, bool] = {}

    def prefix_of(self, folder: str) -> str | None:
        """Return what the keys of a folder's files begin with; None if it is passed over."""
        if folder not in self._prefixes:
            self._prefixes[folder] = self._find_prefix(folder)
        return self._prefixes[folder]

    def _find_prefix(self, folder: str) -> str | None:
        above, name = os.path.split(folder)
        if above == folder:  # in none of the roots
            raise Unclear
        prefix = self.prefix_of(above)
        if prefix is None or not self.is_seen(above, name, prefix + name):
            return None
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise Unclear
        return f"{prefix}{name}/"

    def is_seen(self, folder: str, name: str, key: str) -> bool:
        """Tell whether something in a folder is not passed over."""
        if not is_visible(name) or self._exclude(name, key):
            return False
        is_of_store = name in STORE_FOLDERS or name in STORE_FILES
        return not (is_of_store and _is_store(folder))

    def is_empty(self, folder: str) -> bool:
        """Tell whether there is nothing to see in a folder."""
        if folder not in self._is_empty:
            self._is_empty[folder] = is_empty(Path(folder), self._exclude)
        return self._is_empty[folder]


def _is_store(folder: str) -> bool:
    return all(os.path.isdir(f"{folder}/{name}") for name in STORE_MARKS)  # noqa: PTH112
