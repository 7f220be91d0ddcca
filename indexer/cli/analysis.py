"""The verbs that tell of a collection: their options, and what they print."""

import argparse
import csv
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.cli import evaluation
from indexer.cli.evaluation import Verb
from indexer.cli.places import with_places
from indexer.cli.reports import save_for_page
from indexer.text import printable

if TYPE_CHECKING:
    from indexer.analysis import Duplicates, Leaks, Outliers, Suspects
    from indexer.config import Config

    Findings = Duplicates | Leaks | Suspects | Outliers


def add_verbs(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
    run: Callable[[Verb, argparse.Namespace], int],
) -> None:
    """Add the verbs, with the ``shared`` options. ``run`` runs one and returns the exit status."""
    verb = verbs.add_parser(
        "graph", parents=[shared], help="find the nearest others of every image"
    )
    verb.add_argument("--k", type=int, default=50, metavar="N", help="how many of each image (50)")
    verb.add_argument(
        "--mode", choices=("exact", "approximate"), default="exact", help="how to search (exact)"
    )
    verb.set_defaults(command=partial(run, graph))

    evaluation.add_verb(verbs, shared, run)

    verb = verbs.add_parser(
        "duplicates", parents=[shared], help="groups of images that are one picture, or similar"
    )
    _add_distance(verb)
    for flag, what in (("--reference", "compare with images"), ("--new", "compare only images")):
        verb.add_argument(
            flag,
            action="append",
            default=[],
            metavar="CLAUSE",
            help=f"{what} that pass, such as folder=inbox; all clauses hold",
        )
    verb.add_argument(
        "--remove-list",
        type=Path,
        metavar="FILE",
        help="write the keys of all copies but the best to a file, one a line; nothing is deleted",
    )
    verb.set_defaults(command=partial(run, duplicates))

    verb = verbs.add_parser(
        "leaks", parents=[shared], help="images of one split that are in another one as well"
    )
    verb.add_argument(
        "--between",
        nargs=2,
        required=True,
        metavar=("SPLIT", "OTHER"),
        help="the images of OTHER are looked for in SPLIT, such as train val",
    )
    verb.add_argument("--by", default="split", metavar="FIELD", help="the field of splits (split)")
    _add_distance(verb)
    verb.set_defaults(command=partial(run, leaks))

    verb = verbs.add_parser(
        "suspects", parents=[shared], help="images whose label is not that of their neighbours"
    )
    verb.add_argument("--by", metavar="FIELD", help="the field with the labels (the folder)")
    _add_listing(verb)
    verb.set_defaults(command=partial(run, suspects))

    verb = verbs.add_parser(
        "outliers", parents=[shared], help="images that are far from all others"
    )
    _add_listing(verb)
    verb.set_defaults(command=partial(run, outliers))


def _add_distance(verb: argparse.ArgumentParser) -> None:
    """Add the options of verbs that look for copies."""
    verb.add_argument(
        "--within",
        type=float,
        metavar="DISTANCE",
        help="the largest distance of similar images (suggested by the collection's own distances)",
    )
    verb.add_argument("--csv", action="store_true", help="print them as CSV, and nothing else")


def _add_listing(verb: argparse.ArgumentParser) -> None:
    """Add the options of verbs that list images."""
    verb.add_argument("--top", type=int, default=100, metavar="N", help="list so many (100)")
    verb.add_argument("--csv", action="store_true", help="print them as CSV, and nothing else")


def graph(options: argparse.Namespace, config: "Config") -> int:
    """Make the neighbour graph of the published version."""
    from indexer.analysis import make_graph

    done = make_graph(config, k=options.k, mode=options.mode)
    print(json.dumps(done.to_json()) if options.json else done.summary)
    return 0


def _make_missing_graph(config: "Config") -> None:
    """Make the neighbour graph if the published version has none, and say so."""
    from indexer.analysis import make_missing_graph

    def say(version: str, k: int, mode: str) -> None:
        what = f"the {k} nearest others of every image, {mode}"
        print(f"Version {version} has no neighbour graph. Making it: {what}.", file=sys.stderr)

    if made := make_missing_graph(config, say):
        print(f"graph: {made.summary}", file=sys.stderr)


def duplicates(options: argparse.Namespace, config: "Config") -> int:
    """Print groups of images that are one picture, or similar."""
    from indexer.analysis import find_duplicates

    _make_missing_graph(config)
    found = find_duplicates(config, options.within, reference=options.reference, new=options.new)
    save_for_page(config, "duplicates", found)
    if options.remove_list is not None:
        _write_keys(options.remove_list, [one.key for one in found.copies])
    if _print_for_machines(options, found):
        return 0
    for number, group in enumerate(found.groups, 1):
        print(f"{number:4}  {group.kind}")
        for one in group.images:
            size = f"{one.width} x {one.height}, {one.bytes or 0:,} bytes"
            kind = [] if one.kind == group.kind else [one.kind]
            words = "".join(f"  {text}" for text in (size, ", ".join([*kind, *one.changes])))
            print(f"      {one.distance:.4f}  {printable(one.key)}{words}".rstrip())
    for note in found.notes:
        print(printable(with_places(note, options)))
    print(f"{found.summary}; nothing was deleted")
    return 0


def _write_keys(path: Path, keys: list[str]) -> None:
    """Write keys to a file, one a line; leave out those that have several lines themselves."""
    from indexer.tables import fits_a_line, lines

    path.write_text(lines(keys), encoding="utf-8", newline="\n")
    if left_out := sum(not fits_a_line(key) for key in keys):
        print(f"Left out of {path}: {left_out:,} keys that contain line breaks.", file=sys.stderr)


def leaks(options: argparse.Namespace, config: "Config") -> int:
    """Print the images of one split that are in another one as well, or similar to one."""
    from indexer.analysis import find_leaks

    first, second = options.between
    _make_missing_graph(config)
    found = find_leaks(config, (first, second), by=options.by, within=options.within)
    save_for_page(config, "leaks", found)
    if _print_for_machines(options, found):
        return 0
    for one in found.leaks:
        print(printable(f"{one.distance:.4f}  {one.key}  {one.of_key}  {one.kind}"))
    for note in found.notes:
        print(printable(with_places(note, options)))
    print(found.summary)
    return 0


def suspects(options: argparse.Namespace, config: "Config") -> int:
    """Print the images whose label is another than that of their neighbours."""
    from indexer.analysis import find_suspects

    _make_missing_graph(config)
    found = find_suspects(config, by=options.by, top=_saved(options.top))
    save_for_page(config, "suspects", found)
    found = found.first(options.top)
    if _print_for_machines(options, found):
        return 0
    for one in found.suspects:
        labels = ", ".join(one.labels)
        print(printable(f"{one.margin:.3f}  {one.key}  {labels}, perhaps {one.suggested}"))
    print(found.summary)
    return 0


def outliers(options: argparse.Namespace, config: "Config") -> int:
    """Print the images that are far from all others."""
    from indexer.analysis import find_outliers

    _make_missing_graph(config)
    found = find_outliers(config, top=_saved(options.top))
    save_for_page(config, "outliers", found)
    found = found.first(options.top)
    if _print_for_machines(options, found):
        return 0
    for one in found.outliers:
        print(f"{one.distance:.4f}  {printable(one.key)}")
    print(found.summary)
    return 0


def _saved(top: int) -> int:
    """Return how many to find: as many as are saved for the page, or as are to be printed."""
    from indexer.analysis.suspects import SAVED

    return max(top, SAVED) if top > 0 else top


def _print_for_machines(options: argparse.Namespace, found: "Findings") -> bool:
    """Print what was found as CSV or as JSON if that is asked for."""
    from indexer.tables import csv_row

    if options.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(map(csv_row, found.rows()))
    elif options.json:
        print(json.dumps(found.to_json()))
    return bool(options.csv or options.json)
