"""Reports on disk: what the analyses found, for the page of a server and for later.

Each analysis has one file in ``reports/``, which the next run replaces. A report is of the version
that was published when it was made. It holds ids of images, which are never reused, so that what
it says of images that are still there holds in later versions, too.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from indexer.errors import StoreCorrupt
from indexer.store.files import Record, read_record, refuse_link, write_record
from indexer.store.records import Manifest, Name
from indexer.store.store import Store

ReportName = Literal["duplicates", "leaks", "suspects", "outliers", "evaluation"]

REPORT_FORMAT = 1

REPORT_COMMANDS: dict[ReportName, str] = {
    "duplicates": "duplicates",
    "leaks": "leaks --between SPLIT OTHER",
    "suspects": "suspects",
    "outliers": "outliers",
    "evaluation": "evaluate",
}
"""The command that makes each report."""


class Report(Record):
    """What an analysis found."""

    format: int = REPORT_FORMAT
    name: ReportName
    version: Name
    """The version whose images were looked at."""
    version_created: datetime
    """When that was published: another one may have got its number since."""
    created: datetime
    found: dict[str, Any]
    """What the command prints with ``--json``."""

    def is_of(self, manifest: Manifest) -> bool:
        """Tell whether it is of this version."""
        return (self.version, self.version_created) == (manifest.version, manifest.created)


def save_report(store: Store, name: ReportName, manifest: Manifest, found: dict[str, Any]) -> None:
    """Save what an analysis found in a version, in the place of its last report.

    Raises :class:`OSError` if the store cannot be written.
    """
    store.reports.mkdir(exist_ok=True)
    refuse_link(store.reports)
    report = Report(
        name=name,
        version=manifest.version,
        version_created=manifest.created,
        created=datetime.now(UTC),
        found=found,
    )
    write_record(store.reports / f"{name}.json", report, indent=None)


def report_identity(store: Store, name: ReportName) -> tuple[int, int, int] | None:
    """Return what tells a report's file from one that replaces it, None if there is no report.

    Raises :class:`OSError` if the store cannot be read.
    """
    try:
        status = (store.reports / f"{name}.json").lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_report(store: Store, name: ReportName) -> Report | None:
    """Return the last report of an analysis, None if there is none.

    Raises :class:`StoreCorrupt` if it is damaged, or of a later Lookalike.
    """
    path = store.reports / f"{name}.json"
    hint = f"Make it again with: lookalike {REPORT_COMMANDS[name]}"
    refuse_link(store.reports)
    if not path.exists():
        return None
    try:
        report = read_record(path, Report)
    except StoreCorrupt as error:
        raise StoreCorrupt(error.message, hint) from error
    if (report.format, report.name) != (REPORT_FORMAT, name):
        raise StoreCorrupt(f"{path} is not a report of format {REPORT_FORMAT}.", hint)
    return report
