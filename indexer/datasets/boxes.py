"""Boxes of pictures as items: their keys, and what tells whether one has changed."""

import hashlib
from urllib.parse import quote

from indexer.images import Box

MARK = "#box="
"""What stands between the key of a file and the id of a box, in the key of a box."""


def key_of_box(file: str, annotation: int | str) -> str:
    """Return the key of a box: ``train2017/000000000009.jpg#box=441444``."""
    return f"{file}{MARK}{quote(str(annotation), safe='')}"


def file_of_box(key: str) -> str:
    """Return the key of the file that a box lies in, from the box's key."""
    return key.rpartition(MARK)[0]


def is_box(key: str) -> bool:
    """Tell whether a key looks like that of a box."""
    return MARK in key


def revision_of_box(revision: str, box: Box) -> str:
    """Return the revision of a box: another one if its file's differs, or the box itself."""
    return f"{revision} {','.join(map(str, box))}"


def box_in(revision: str) -> str:
    """Return the part of a box's revision that is the box."""
    return revision.partition(" ")[2]


def content_of_box(sha256: str, box: Box) -> str:
    """Return what stands for the content of a box: a SHA-256 of its file's and of the region."""
    return hashlib.sha256(f"{sha256} {','.join(map(str, box))}".encode()).hexdigest()
