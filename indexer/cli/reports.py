"""What a build says when it has ended."""

from typing import TYPE_CHECKING

from indexer.text import printable

if TYPE_CHECKING:
    from indexer.build import BuildReport
    from indexer.config import Config


def print_report(report: "BuildReport", config: "Config") -> None:
    """Print what a build found and did."""
    if report.ignored:
        names = ", ".join(f"{suffix} {n}" for suffix, n in sorted(report.ignored.items()))
        print(printable(f"passed over: {names}"))
    if report.skipped:
        print("skipped files and reasons: lookalike status --skipped")
    if report.recognised:
        print(f"recognised by content, not encoded again: {report.recognised}")
    for note in report.notes:
        print(printable(note))
    print(f"store   {config.store}")
    print(f"version {report.version}, encoder {report.encoder}, {report.removed} removed")
    print(report.summary)
