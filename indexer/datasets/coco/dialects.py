"""The dialects of COCO: where they have the name and the split of an image, and what is none."""

import posixpath
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Raw

from indexer.datasets.coco.formats import Image
from indexer.datasets.files import is_below
from indexer.text import escaped, spellings

SPLIT = re.compile(
    r"(?<![a-z])(?:test-dev|test-challenge|train|trainval|val|valid|validation|test|unlabeled|"
    r"minitrain|minival|valminusminival)(?:(?:19|20)\d\d)?(?![a-z0-9])",
    re.IGNORECASE,
)
"""The names of splits, as of folders and in the names of files: ``instances_train2017.json``."""

OBJECTS365 = re.compile("images/v[12]/")
"""How names of Objects365 begin, whose archives unpack into ``patch0/`` and so on."""

SHOWN = 8
"""How many names of fields a message shows."""

USUAL_HINT = "Name a COCO JSON file with images in dataset.annotations."
CONVERT = "Convert the annotations to one COCO JSON file, or index the folder without them."


def split_of_file(file: Path) -> str | None:
    """Return the split that an annotation file describes, from its name, or else its folder's.

    Roboflow's files are ``train/_annotations.coco.json``, for instance.
    """
    found = SPLIT.search(file.stem) or SPLIT.fullmatch(file.parent.name)
    return found and found[0]


def folders_of(image: Image, of_file: str | None) -> list[str]:
    """Return the folders named like a split that may hold an image, the likeliest first.

    These are the one that its record names, the one in COCO's URL of it, and its file's split.
    """
    in_url = posixpath.basename(posixpath.dirname(_path_in_url(image.coco_url)))
    named = (image.filepath, in_url if SPLIT.fullmatch(in_url) else None, of_file)
    return [folder for folder in dict.fromkeys(named) if folder and is_below(folder)]


def paths_of(image: Image, folders: list[str], is_there: Callable[[str], bool]) -> list[str]:
    """Return the paths where the file of an image may be, the likeliest first.

    Below the root are either the images, or ``folders``, of which ``is_there`` tells whether one
    is. The list is empty if the record has no name; paths may lead out of the root.
    """
    names = list(dict.fromkeys(spelt for name in _names_of(image) for spelt in spellings(name)))
    below = [name for name in names if is_below(name)]
    present = [folder for folder in folders if is_there(folder)]
    absent = [folder for folder in folders if folder not in present]
    paths = [*_within(present, below), *below, *_within(absent, below)]
    return list(dict.fromkeys(map(posixpath.normpath, paths))) or names


def refusal(file: Path) -> tuple[str, str] | None:
    """Return what a file is that is no JSON object, and what to do; None if that is unknown."""
    data = file.read_bytes()
    if data.startswith(b"PK\3\4"):
        return "it is a zip archive", f"Unpack it, and name a file in it: unzip {quote(str(file))}"
    if data.startswith(b"\x1f\x8b"):
        return "it is compressed by gzip", f"Unpack it: gunzip --keep {quote(str(file))}"
    if data[:100].lstrip().startswith(b"<"):
        return "it is XML, like the annotations of Pascal VOC", CONVERT
    if _is_tfrecord(data):
        return "it is binary, like the TFRecord files of TensorFlow", CONVERT
    with suppress(msgspec.DecodeError, RecursionError):
        values = msgspec.json.decode(data, type=list[Raw])
        first = msgspec.json.decode(values[0]) if values else None
        if isinstance(first, dict) and "image_id" in first:
            found = f"it is a list of {in_words(first)}, like the results of a detector"
            return found, "Name the annotation file of the images that were its input."
        return "it is a list, not an object with a list of images", USUAL_HINT
    return None


def in_words(fields: Iterable[str]) -> str:
    """Return the first names of fields that were found, for a message."""
    names = sorted(fields)
    shown = [escaped(name) for name in names[:SHOWN]]
    return ", ".join([*shown, "..."] if len(names) > SHOWN else shown) or "nothing"


def _within(folders: Iterable[str], names: list[str]) -> list[str]:
    return [
        name if name.startswith(f"{folder}/") else f"{folder}/{name}"
        for folder in folders
        for name in names
    ]


def _names_of(image: Image) -> list[str]:
    """Return the names that the file of an image can have."""
    name = image.file_name or image.filename
    if not name:
        return _names_in_url(image.coco_url)
    if "://" in name:
        return _names_in_url(name)
    names = [name, unquote(name)] if "%" in name else [name]
    if found := OBJECTS365.match(name):
        names.append(name[found.end() :])
    return names


def _names_in_url(url: str | None) -> list[str]:
    path = _path_in_url(url)
    return [path, posixpath.basename(path)] if path else []


def _path_in_url(url: str | None) -> str:
    try:
        return unquote(urlsplit(url).path).lstrip("/") if url else ""
    except ValueError:  # no URL
        return ""


def _is_tfrecord(data: bytes) -> bool:
    """Tell whether a file begins with the length of a record that fits into it, as no text does.

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    return len(data) >= 16 and int.from_bytes(data[:8], "little") <= len(data) - 16
