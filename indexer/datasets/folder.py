"""A folder of images, or several, searched recursively."""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.files import (
    add_file,
    ignored_as,
    is_below,
    read_file,
    require_contents,
    require_folder,
)
from indexer.datasets.part import Part, look_at
from indexer.datasets.walk import Rules, walk
from indexer.errors import DatasetError, ImageGone


class Folder:
    """The image files below one folder or several.

    A key is the path below the folder. In all folders but the first it begins with the folder's
    name, so that adding a folder changes no key.
    """

    def __init__(self, first: Path, *others: Path, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._first = first
        self._others = {f"{other.name}/": other for other in others}
        self._roots = (first, *others)

    @property
    def source(self) -> str:
        """The folders' paths."""
        return ", ".join(str(root) for root in self._roots)

    def scan(self) -> Listing:
        """List the image files that :func:`~indexer.datasets.walk.walk` finds."""
        for root in self._roots:
            require_folder(root)
        self._refuse_ambiguity()
        if self._others:
            require_contents(self._roots, self._rules.exclude)
        listing = Listing()
        for entry, key in walk(self._prefixed, listing, self._rules):
            if heading := ignored_as(entry.name):
                listing.ignored[heading] += 1
            else:
                add_file(listing, entry, key)
        return listing.in_order()

    def scan_part(self, paths: Iterable[str]) -> Part | None:
        """Return what :meth:`scan` would find at these absolute paths; None if it must be asked.

        It costs what the paths cost, not what the folder holds.
        """
        return look_at(self._prefixed, self._rules, paths)

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file."""
        if not is_below(key):
            raise ImageGone(f"{key} is outside the image folder.")
        for prefix, root in self._others.items():
            if key.startswith(prefix):
                return read_file(root / key.removeprefix(prefix), key)
        return read_file(self._first / key, key)

    @property
    def _prefixed(self) -> list[tuple[Path, str]]:
        """The folders, each with what its keys begin with."""
        return [(self._first, ""), *((root, prefix) for prefix, root in self._others.items())]

    def _refuse_ambiguity(self) -> None:
        """Raise :class:`DatasetError` if two files could have one key, or one file two keys."""
        for one, other in combinations(self._roots, 2):
            for outer, inner in ((one, other), (other, one)):
                if inner.resolve().is_relative_to(outer.resolve()):
                    raise DatasetError(
                        f"The image folder {inner} lies in the image folder {outer}.",
                        "Folders are searched recursively: name the outer one only.",
                    )
        if len(self._others) < len(self._roots) - 1:
            raise DatasetError(
                f"Two of the image folders {self.source} have the same name.",
                "Their names tell their images apart: rename one of them.",
            )
        for prefix, root in self._others.items():
            if (self._first / prefix).exists():
                raise DatasetError(
                    f"The image folders {self._first / prefix} and {root} have the same name, "
                    "and keys that begin with it would mean both.",
                    "Rename one of them.",
                )
