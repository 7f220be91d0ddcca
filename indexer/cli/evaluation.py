"""The verb that evaluates a collection: its options, and what it prints."""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.cli.commands import warn_of_random_weights
from indexer.cli.reports import save_for_page
from indexer.errors import ConfigError
from indexer.text import printable

if TYPE_CHECKING:
    from indexer.analysis import Evaluation
    from indexer.config import Config

LABEL_OPTIONS = ("by", "queries", "among", "report")

Verb = Callable[[argparse.Namespace, "Config"], int]


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
    run: Callable[[Verb, argparse.Namespace], int],
) -> None:
    """Add the verb, with the ``shared`` options. ``run`` runs it and returns the exit status."""
    verb = verbs.add_parser(
        "evaluate", parents=[shared], help="how well images of one kind find each other"
    )
    verb.add_argument(
        "--by", metavar="FIELD", help="the field whose values say what is of one kind (the folder)"
    )
    verb.add_argument("--k", type=int, default=10, metavar="N", help="how many results count (10)")
    for flag, what in (("--queries", "ask only images"), ("--among", "search only images")):
        verb.add_argument(
            flag,
            action="append",
            default=[],
            metavar="CLAUSE",
            help=f"{what} that pass, such as split=val; all clauses hold",
        )
    verb.add_argument(
        "--sample",
        type=int,
        default=2000,
        metavar="N",
        help="ask so many images, chosen at random, if there are more (2000)",
    )
    verb.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    verb.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="STORE",
        help="compare with another index of the same images; several: --beside A --beside B",
    )
    verb.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write evaluation.json, evaluation.md and evaluation.html with plots and pictures",
    )
    verb.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="compare distances with people's scores instead: a CSV file with two keys and a "
        "number in each line",
    )
    verb.set_defaults(command=partial(run, evaluate))


def evaluate(options: argparse.Namespace, config: "Config") -> int:
    """Print how well images that share a label find each other, or how people agree."""
    if options.pairs:
        return _agreement(options, config)
    from indexer.analysis import evaluate
    from indexer.analysis.evaluation.tables import lines

    found = evaluate(
        config,
        by=options.by,
        k=options.k,
        queries=options.queries,
        among=options.among,
        sample=options.sample,
        beside=options.beside,
    )
    warn_of_random_weights(str(found.encoder.get("weights", "")))
    save_for_page(config, "evaluation", found)
    written = _write(options.report, config, found) if options.report else []
    if options.json:
        print(json.dumps(found.to_json()))
        return 0
    for line in lines(found, markdown=options.markdown):
        print(line)
    for path in written if not options.markdown else ():
        print(printable(f"written: {path}"))
    return 0


def _agreement(options: argparse.Namespace, config: "Config") -> int:
    """Print how well the distances of pairs agree with people's scores."""
    from indexer.analysis import compare_scores
    from indexer.analysis.evaluation.tables import agreement_lines

    given = [name for name in LABEL_OPTIONS if getattr(options, name)]
    if given:
        raise ConfigError(
            f"--pairs compares distances with scores; --{given[0]} is about labels.",
            "Give one of them. Both are two commands.",
        )
    found = compare_scores(config, options.pairs, options.beside)
    warn_of_random_weights(str(found.encoder.get("weights", "")))
    if options.json:
        print(json.dumps(found.to_json()))
        return 0
    for line in agreement_lines(found, markdown=options.markdown):
        print(line)
    return 0


def _write(folder: Path, config: "Config", found: "Evaluation") -> list[Path]:
    """Write the report with pictures of the images, and return its files."""
    from indexer.analysis.evaluation.report import write_report
    from indexer.search import Collection
    from indexer.store import Store
    from indexer.vector_index.opened import map_vectors

    version = Store(config.store).version(found.version)
    images = Collection(version, map_vectors(version), config.dataset)
    return write_report(folder, found, images.thumbnail)
