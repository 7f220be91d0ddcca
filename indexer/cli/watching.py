"""``lookalike index --watch``: what it prints while it follows a folder."""

import argparse
import json
import signal
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from indexer.cli.places import with_places
from indexer.cli.reports import print_report
from indexer.machine import INTERRUPTED
from indexer.text import printable

if TYPE_CHECKING:
    from indexer.build import BuildReport
    from indexer.config import Config


def watch(options: argparse.Namespace, config: "Config") -> int:
    """Follow the folders of images until Ctrl-C or SIGTERM, and print a line for each version."""
    from indexer.build.watch import watch

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a service ends it, too
    printer = _Printer(config, options)
    try:
        watch(config, printer, allow_shrink=options.allow_shrink, reread=options.reread)
    except KeyboardInterrupt:
        print(f"\n{printer.last_line}", file=sys.stderr)
    return INTERRUPTED


class _Printer:
    """Prints the first report as a build does, and those that follow in a line each."""

    def __init__(self, config: "Config", options: argparse.Namespace) -> None:
        self._config = config
        self._options = options
        self._last: BuildReport | None = None

    def __call__(self, what: "BuildReport | str") -> None:
        if isinstance(what, str):
            print(printable(with_places(what, self._options)), file=sys.stderr, flush=True)
            return
        if self._options.json:
            print(json.dumps(what.to_json()))
        elif self._last is None:
            print_report(what, self._config, self._options)
        else:
            print(printable(_line(what, self._last)))
            for note in what.notes:
                print(printable(with_places(note, self._options)))
        sys.stdout.flush()
        self._last = what

    @property
    def last_line(self) -> str:
        """What has been reached when the user ends it."""
        if self._last is None:
            return "Stopped. What was committed is kept; run it again to go on."
        return (
            f"Stopped. Version {self._last.version} in {self._config.store} holds "
            f"{self._last.indexed:,} images. What has changed since is indexed next time."
        )


def _line(report: "BuildReport", before: "BuildReport") -> str:
    done = {
        "encoded": report.encoded,
        "recognised": report.recognised,
        "removed": report.removed,
        "skipped": max(0, report.skipped - before.skipped),
    }
    counts = ", ".join(f"{number:,} {name}" for name, number in done.items() if number)
    now = datetime.now().astimezone()
    return (
        f"{now:%H:%M:%S} version {report.version}: {counts or 'metadata'}; found {report.found:,} "
        f"= indexed {report.indexed:,} + skipped {report.skipped:,}, {report.seconds:.1f} s"
    )
