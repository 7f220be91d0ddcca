"""What a build says when it has ended, and where what an analysis found is kept."""

import argparse
import sys
from typing import TYPE_CHECKING

from indexer.cli.places import with_places
from indexer.errors import LookalikeError
from indexer.text import printable

if TYPE_CHECKING:
    from indexer.analysis import Duplicates, Evaluation, Leaks, Outliers, Suspects
    from indexer.build import BuildReport
    from indexer.config import Config
    from indexer.store import ReportName

    Analysis = Duplicates | Evaluation | Leaks | Outliers | Suspects


def print_report(report: "BuildReport", config: "Config", options: argparse.Namespace) -> None:
    """Print what a build found and did; the ``options`` are those of its command."""
    if report.ignored:
        names = ", ".join(f"{suffix} {n}" for suffix, n in sorted(report.ignored.items()))
        print(printable(f"passed over: {names}"))
    if report.skipped:
        print(with_places("skipped files and reasons: lookalike status --skipped", options))
    if report.recognised:
        print(f"recognised by content, not encoded again: {report.recognised}")
    for note in report.notes:
        print(printable(with_places(note, options)))
    print(f"store   {config.store}")
    print(f"version {report.version}, encoder {report.encoder}, {report.removed} removed")
    print(report.summary)


def save_for_page(config: "Config", name: "ReportName", found: "Analysis") -> None:
    """Save what was found in the store, where a server's page finds it.

    What was found is printed even if that fails: the version may be gone after hours of work.
    """
    from indexer.store import Store, save_report

    store = Store(config.store)
    try:
        save_report(store, name, store.version(found.version).manifest, found.to_json())
    except (OSError, LookalikeError) as error:
        print(f"Not saved for the page: {error}", file=sys.stderr)
