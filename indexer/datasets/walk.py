"""Walk the folders of a source: every file that is not hidden or excluded, each folder once."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.datasets.base import Listing, links_in_words
from indexer.datasets.exclusion import STORE_FILES, STORE_FOLDERS, Exclusion, is_store
from indexer.images import SUFFIXES
from indexer.text import escaped

MAX_NOTE_BYTES = 1000
SOURCES = {*SUFFIXES, ".tar", ".parquet"}
NOTE_SUFFIXES = {"", ".txt", ".md"}
"""A small file of this kind may say that a disk is not mounted there: NOT_MOUNTED, README.txt."""

MAX_LOOKED_AT = 10_000
"""How many files and folders behind a link are looked at before it is taken to hold images."""

EMPTY_FOLDER = "the folder is empty"
DANGLING_LINK = "the link leads nowhere"
NOT_FOLLOWED = "the link leads out of the image folder and is not followed"

HIDDEN = "hidden"
EXCLUDED = "excluded"
INDEXES = "folders of an index"
LINKS = "links to folders elsewhere, not followed"
AGAIN = "links to folders that are searched anyway, not followed"
LOOPS = "links to a folder that they lie in, not followed"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a walk passes over, and whether it follows links to folders elsewhere.

    ``follow_links`` is None if nobody has decided: then none is followed, and a build asks if there
    are images behind one.
    """

    exclude: Exclusion = field(default_factory=Exclusion)
    follow_links: bool | None = None


def walk(
    roots: Sequence[tuple[Path, str]], listing: Listing, rules: Rules
) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Yield every file below the roots with its key, which begins with the prefix of its root.

    Hidden and excluded files and folders, and those of an index, are counted in
    ``listing.ignored``. Links are followed, but each folder is visited once, which breaks cycles;
    links that are not followed because of that are named there. A link to a folder in none of the
    roots is followed only if the rules say so, and always reported.
    Folders that cannot be listed go to ``listing.unreadable``. Empty folders, links that lead
    nowhere and those that are not followed go to ``listing.doubtful``.
    """
    visited: set[tuple[int, int]] = set()
    links = _Links(roots, listing, rules.follow_links)
    folders, linked = list(roots), list[tuple[Path, str]]()
    while folders or linked:  # a folder's own path is preferred to links
        is_link = not folders
        folder, prefix = (folders or linked).pop()
        try:
            found = folder.stat()
            if (found.st_dev, found.st_ino) in visited:
                if is_link:
                    listing.pass_over(_why_again(folder), prefix.rstrip("/"))
                continue
            visited.add((found.st_dev, found.st_ino))
            entries = list(os.scandir(folder))
        except OSError as error:
            listing.unreadable[escaped(prefix)] = error.strerror or "unreadable folder"
            continue
        for entry in _wanted(entries, prefix, listing, rules.exclude):
            key = prefix + entry.name
            if not _is_folder(entry):
                links.note_dangling(entry, key)
                yield entry, key
            elif not entry.is_symlink():
                folders.append((Path(entry.path), key + "/"))
            elif links.may_follow(entry, key):
                linked.append((Path(entry.path), key + "/"))
    links.report()


def _why_again(link: Path) -> str:
    """Return the heading of a link to a folder that was visited already."""
    lies_in = f"{os.path.realpath(link.parent)}/"
    return LOOPS if lies_in.startswith(f"{os.path.realpath(link)}/") else AGAIN


class _Links:
    """The links to folders that lie in none of the roots."""

    def __init__(
        self, roots: Sequence[tuple[Path, str]], listing: Listing, follow: bool | None
    ) -> None:
        self._inside = tuple(f"{os.path.realpath(root).rstrip('/')}/" for root, _ in roots)
        self._listing = listing
        self._follow = follow
        self._elsewhere: dict[str, str] = {}

    def may_follow(self, entry: "os.DirEntry[str]", key: str) -> bool:
        """Tell whether to follow a link to a folder."""
        if self._leads_elsewhere(entry, key) and not self._follow:
            self._listing.doubtful[f"{escaped(key)}/"] = NOT_FOLLOWED
            return False
        return True

    def note_dangling(self, entry: "os.DirEntry[str]", key: str) -> None:
        """Note a link that leads nowhere. Without an ending it may be that of a folder."""
        if entry.is_symlink() and not os.path.exists(entry):  # noqa: PTH110 -- no Path
            self._listing.doubtful[f"{escaped(key)}/"] = DANGLING_LINK
            if self._follow is None and not _suffix(entry.name):
                self._leads_elsewhere(entry, key)

    def report(self) -> None:
        """Report the links, whether or not they were followed."""
        if self._follow is None:
            for key, target in self._elsewhere.items():
                if not os.path.isdir(target) or _may_hold_images(target):  # noqa: PTH112
                    self._listing.undecided_links[key] = target
        if not self._follow:
            for key in self._elsewhere:
                self._listing.pass_over(LINKS, key)
        elif self._elsewhere:
            followed = links_in_words(self._elsewhere)
            self._listing.notes.append(f"Followed links out of the image folder: {followed}.")

    def _leads_elsewhere(self, entry: "os.DirEntry[str]", key: str) -> bool:
        target = os.path.realpath(entry.path)
        if f"{target.rstrip('/')}/".startswith(self._inside):
            return False
        self._elsewhere[key] = target
        return True


def _wanted(
    entries: list["os.DirEntry[str]"], prefix: str, listing: Listing, exclude: Exclusion
) -> Iterator["os.DirEntry[str]"]:
    """Yield the entries of a folder, the last first, without those that are passed over."""
    store = is_store({entry.name for entry in entries})
    empty = bool(prefix) and not store
    if store:
        listing.pass_over(INDEXES, prefix.rstrip("/") or ".")
    for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
        name, key = entry.name, prefix + entry.name
        if not is_visible(name):
            listing.ignored[HIDDEN] += 1
        elif store and (name in STORE_FOLDERS or name in STORE_FILES):
            continue
        elif exclude(name, key):
            listing.pass_over(EXCLUDED, key)
            empty = empty and _is_folder(entry)  # a file shows that the disk is there
        else:
            empty = empty and _is_note(entry)
            yield entry
    if empty:
        listing.doubtful[escaped(prefix)] = EMPTY_FOLDER


def is_empty(folder: Path, exclude: Exclusion | None = None) -> bool:
    """Tell whether a folder holds nothing to see, as a mount point without its disk.

    Hidden files, excluded folders and notes do not count: a system or its operator may leave some
    there.
    """
    exclude = exclude or Exclusion()
    with os.scandir(folder) as entries:
        visible = (entry for entry in entries if is_visible(entry.name))  # no more than needed
        return all(
            _is_folder(entry) if exclude(entry.name, entry.name) else _is_note(entry)
            for entry in visible
        )


def is_visible(name: str) -> bool:
    """Tell whether a file or folder is not hidden."""
    return not name.startswith(".")


def _may_hold_images(folder: str) -> bool:
    """Tell whether there are images or shards in a folder, or too much to tell."""
    looked_at = 0
    for _, folders, files in os.walk(folder):
        looked_at += len(folders) + len(files)
        if looked_at > MAX_LOOKED_AT or any(_suffix(name) in SOURCES for name in files):
            return True
    return False


def _is_note(entry: "os.DirEntry[str]") -> bool:
    """Tell whether a file may be a note in a mount point without its disk."""
    if _suffix(entry.name) not in NOTE_SUFFIXES:
        return False
    try:
        return entry.is_file(follow_symlinks=False) and entry.stat().st_size <= MAX_NOTE_BYTES
    except OSError:
        return False


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 -- for every file; Path is slow


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; add_file() reports the reason
        return False
