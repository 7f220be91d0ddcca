"""What a search for images passes over: what the settings exclude, and Lookalike's own files."""

import fnmatch
import re
from collections.abc import Collection, Iterable

from indexer.text import composed

STORE_MARKS = {"segments", "versions", "derived", "layers"}
"""The folders by which an index is recognised. A copy of one has no others."""

STORE_FOLDERS = STORE_MARKS | {"graphs", "reports"}
STORE_FILES = {
    "COPY",
    "CURRENT",
    "build.lock",
    "build.owner",
    "build.progress",
    "catalogue.sqlite",
    "catalogue.sqlite-shm",
    "catalogue.sqlite-wal",
    "damage.json",
}
"""What an index consists of; :mod:`indexer.store` explains it."""


class Exclusion:
    """Glob patterns of what is passed over, as in ``dataset.exclude``.

    A pattern without ``/`` matches the name of a file or folder at any depth, one with ``/`` the
    path below the image folder. ``*`` and ``?`` stand for any characters, ``[ab]`` for one of
    them. Case does not matter, nor whether letters are composed or decomposed. What lies in an
    excluded folder is excluded.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        stripped = [pattern.strip("/") for pattern in patterns]
        self._names = _any_of(pattern for pattern in stripped if "/" not in pattern)
        self._paths = _any_of(pattern for pattern in stripped if "/" in pattern)

    def __call__(self, name: str, path: str) -> bool:
        """Tell whether a file or folder is excluded by its name or its path."""
        return bool(_matches(self._names, name) or _matches(self._paths, path))

    def part_of(self, path: str) -> str | None:
        """Return the outermost folder of a path, or the path itself, if that is excluded."""
        end = -1
        while end < len(path):
            begin, end = end + 1, path.find("/", end + 1)
            end = len(path) if end < 0 else end
            if self(path[begin:end], path[:end]):
                return path[:end]
        return None


def is_store(names: Collection[str]) -> bool:
    """Tell from the names in a folder whether it is an index of Lookalike."""
    return STORE_MARKS.issubset(names)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    translated = [fnmatch.translate(composed(pattern)) for pattern in patterns]
    return re.compile("|".join(translated), re.IGNORECASE) if translated else None


def _matches(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is not None and pattern.match(composed(text)) is not None
