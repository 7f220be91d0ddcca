"""The verbs of ``lookalike`` and of ``python -m indexer``: their options, and how they end.

Exit status 0 for success, 1 for a failure explained on stderr, 2 for wrong usage, 130 for Ctrl-C,
141 if what reads the output stops early, as ``head`` does.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer import __version__
from indexer.cli import analysis, commands
from indexer.cli.places import with_places
from indexer.errors import ConfigError, LookalikeError
from indexer.machine import CLOSED_PIPE, INTERRUPTED
from indexer.text import printable

if TYPE_CHECKING:
    from indexer.config import Config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    options = _parser().parse_args(arguments)
    status: int = options.command(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m indexer",
        description="Make an image index, query it, check it.",
        epilog="Settings come from config.yaml, LOOKALIKE_SECTION__KEY variables and these flags.",
    )
    parser.add_argument("--version", action="version", version=f"Lookalike {__version__}")
    add_verbs(parser.add_subparsers(metavar="VERB", required=True))
    return parser


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add every verb. The parsed ``command``, called with the options, returns the exit status."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="settings (config.yaml)")
    shared.add_argument("--store", metavar="FOLDER", help="where the index lives")
    shared.add_argument("--json", action="store_true", help="print JSON for machines")

    source = argparse.ArgumentParser(add_help=False)
    images = source.add_mutually_exclusive_group()
    images.add_argument(
        "paths",
        nargs="*",
        default=[],
        metavar="PATH",
        help="folders of images, a list of them (.txt), .tar or .parquet files or s3://bucket/path",
    )
    images.add_argument("--images", metavar="PATH", help="the same, for one PATH")
    source.add_argument(
        "--annotations",
        action="append",
        metavar="FILE",
        help="COCO's JSON file that describes the folder's images; several: --annotations FILE "
        "--annotations FILE",
    )
    source.add_argument(
        "--items",
        choices=("images", "boxes"),
        help="whether images are found, or each box of COCO's annotations by itself",
    )
    source.add_argument(
        "--metadata",
        metavar="FILE",
        help="a table that describes the images: .csv, .jsonl or .parquet",
    )
    source.add_argument(
        "--follow-links",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether to index folders elsewhere that links in the folder lead to",
    )
    source.add_argument(
        "--gps",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the positions in photographs become metadata, which everybody sees who may "
        "search",
    )
    source.add_argument("--encoder", metavar="MODEL", help="vgg16 or efficientnet_lite0")
    source.add_argument(
        "--layer",
        choices=("fc2", "fc1"),
        help="vgg16 only: the layer that the vectors are of (fc2)",
    )
    source.add_argument("--weights", metavar="FILE", help="imagenet, or a Keras weights file")

    verb = verbs.add_parser(
        "index",
        aliases=["build"],
        parents=[shared, source],
        help="make the index match the images",
    )
    extent = verb.add_mutually_exclusive_group()
    extent.add_argument(
        "--dry-run", action="store_true", help="print what would be done, and change nothing"
    )
    extent.add_argument(
        "--watch",
        action="store_true",
        help="go on until Ctrl-C: index what changes in the folders a few seconds later",
    )
    verb.add_argument(
        "--allow-shrink",
        action="store_true",
        help="remove all images that cannot be found, even if their disk may be away",
    )
    verb.add_argument(
        "--reread",
        action="store_true",
        help="read all files, not only those whose size, times or inode number differ; encode "
        "those whose content has changed",
    )
    verb.set_defaults(command=partial(_run, commands.build))

    verb = verbs.add_parser("plan", parents=[shared, source], help="what indexing will take")
    verb.set_defaults(command=partial(_run, commands.plan))

    verb = verbs.add_parser("search", parents=[shared], help="find the images most like one image")
    query = verb.add_mutually_exclusive_group(required=True)
    query.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="an image file")
    query.add_argument(
        "--text",
        metavar="WORDS",
        help="find the images that look like those whose captions have these words",
    )
    verb.add_argument("--k", type=int, metavar="N", help="how many results")
    verb.add_argument("--mode", choices=("exact", "approximate"), help="how to search")
    verb.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="CLAUSE",
        help="search only images that pass, such as category=dog or 'width>=640'; all clauses hold",
    )
    verb.add_argument(
        "--facets",
        default="",
        metavar="FIELDS",
        help="count the values of these fields, such as category,licence, in the images that pass",
    )
    verb.add_argument(
        "--server", metavar="URL", help="ask this server (with the key LOOKALIKE_KEY, if it is set)"
    )
    verb.set_defaults(command=partial(_run, commands.search))

    verb = verbs.add_parser("status", parents=[shared], help="what the index holds")
    verb.add_argument(
        "--skipped", action="store_true", help="list every skipped file with its reason"
    )
    verb.add_argument(
        "--csv", action="store_true", help="print the skipped files as CSV, and nothing else"
    )
    verb.add_argument(
        "--fields", action="store_true", help="list what images can be filtered by, and the types"
    )
    verb.set_defaults(command=partial(_run, commands.status))

    verb = verbs.add_parser("verify", parents=[shared], help="check every checksum and count")
    verb.set_defaults(command=partial(_run, commands.verify))

    analysis.add_verbs(verbs, shared, _run)

    verb = verbs.add_parser(
        "export", parents=[shared], help="write the vectors, ids and keys for other programs"
    )
    verb.add_argument("--to", choices=("npy", "parquet", "faiss"), required=True, help="the format")
    verb.add_argument(
        "path", type=Path, metavar="PATH", help="the file to write; for npy, the folder"
    )
    verb.set_defaults(command=partial(_run, commands.export))

    for name, help_text, command in (
        ("push", "copy the index to object storage, only what is missing there", commands.push),
        ("pull", "fetch the index that was pushed there, only what is missing here", commands.pull),
    ):
        verb = verbs.add_parser(name, parents=[shared], help=help_text)
        verb.add_argument(
            "address", metavar="ADDRESS", help="s3://bucket/path, or another address of fsspec"
        )
        verb.set_defaults(command=partial(_run, command))

    verb = verbs.add_parser("versions", parents=[shared], help="the published versions")
    verb.set_defaults(command=partial(_run, commands.versions))

    verb = verbs.add_parser("rollback", parents=[shared], help="publish an older version again")
    verb.add_argument(
        "version", nargs="?", metavar="VERSION", help="which one (the one before the published one)"
    )
    verb.set_defaults(command=partial(_run, commands.rollback))

    verb = verbs.add_parser("prune", parents=[shared], help="remove old versions")
    verb.add_argument(
        "--keep", type=int, default=1, metavar="N", help="how many of the last ones stay (1)"
    )
    verb.set_defaults(command=partial(_run, commands.prune))


def _run(verb: Callable[[argparse.Namespace, "Config"], int], options: argparse.Namespace) -> int:
    """Run a verb with the settings the options ask for; explain on stderr why it fails."""
    try:
        from indexer.config import load_config

        status = verb(options, load_config(options.config, flags_of(options)))
        sys.stdout.flush()
    except BrokenPipeError:  # what reads it, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again
        return CLOSED_PIPE
    except LookalikeError as error:
        _explain(with_places(error.message, options))
        if error.hint:
            print(with_places(error.hint, options), file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written, ...
        _explain(str(error))
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What was committed is kept; run it again to go on.", file=sys.stderr)
        return INTERRUPTED
    return status


def _explain(problem: str) -> None:
    """Print an error on stderr. It may contain names of files, which may hold anything."""
    print(f"Error: {printable(problem)}", file=sys.stderr)


def flags_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that were given, nested like the configuration."""
    flags: dict[str, Any] = {}
    places = {
        "store": ("store",),
        "annotations": ("dataset", "annotations"),
        "items": ("dataset", "items"),
        "metadata": ("dataset", "metadata"),
        "follow_links": ("dataset", "follow_links"),
        "gps": ("dataset", "gps"),
        "encoder": ("encoder", "model"),
        "layer": ("encoder", "layer"),
        "weights": ("encoder", "weights"),
    }
    for name, (*sections, key) in places.items():
        if (value := getattr(options, name, None)) is not None:
            section = flags
            for part in sections:
                section = section.setdefault(part, {})
            section[key] = _one_or_several(value) if isinstance(value, list) else value
    images = getattr(options, "images", None)
    paths = [images] if images else getattr(options, "paths", [])
    if paths:
        flags.setdefault("dataset", {})["root"] = _one_or_several(paths)
    if kind := _kind(paths, getattr(options, "annotations", None)):
        flags["dataset"]["kind"] = kind
    if getattr(options, "encoder", None) == "efficientnet_lite0" and not options.weights:
        flags["encoder"]["weights"] = "imagenet"  # not those config.yaml has for VGG16
    return flags


def _one_or_several(paths: Sequence[str]) -> str | Sequence[str]:
    return paths if len(paths) > 1 else paths[0]


def _kind(paths: Sequence[str], annotations: Sequence[str] | None) -> str | None:
    """Return the kind of dataset that the flags can only mean, or None: then the configured one."""
    if annotations is not None:
        return "coco"
    from indexer.config import is_address

    suffixes = {Path(path).suffix.lower() for path in paths}
    if any(map(is_address, paths)):
        return "parquet" if suffixes == {".parquet"} else "objects"
    if ".json" in suffixes:
        raise ConfigError(
            f"{' '.join(paths)} is no folder of images.",
            "COCO takes a folder and its files: lookalike index FOLDER --annotations A.json "
            "--annotations B.json (with make: IMAGES=FOLDER ANNOTATIONS=A.json,B.json).",
        )
    kinds = {".txt": "list", ".tar": "tar", ".parquet": "parquet"}
    return kinds.get(suffixes.pop()) if len(suffixes) == 1 else None
