"""The saved reports of the analyses, as the pages of a server show them.

A report is read once, and again when its file is another. Images that are gone since are left out.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from indexer.analysis.copies import Duplicates, Leaks
from indexer.analysis.evaluation import Evaluation
from indexer.analysis.suspects import Outliers, Suspects
from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.search import Searcher
from indexer.store import REPORT_COMMANDS, Report, ReportName, Store, read_report, report_identity
from indexer.store.store import raise_if_unavailable

Findings = TypeVar("Findings", Duplicates, Leaks, Suspects, Outliers, Evaluation)

NAMES: dict[type, ReportName] = {
    Duplicates: "duplicates",
    Leaks: "leaks",
    Suspects: "suspects",
    Outliers: "outliers",
    Evaluation: "evaluation",
}
"""The name of the report of what each analysis finds."""

KINDS = {name: kind for kind, name in NAMES.items()}
"""What the report of each name has found."""


@dataclass(frozen=True, slots=True)
class SavedReport(Generic[Findings]):
    """What an analysis found, as far as it is about images that one version has."""

    found: Findings
    version: str
    """The version that was looked at."""
    created: datetime
    is_current: bool
    """Whether that is the version whose images these are."""
    gone: int
    """How many of the images that the report names are gone since."""


class Reports:
    """The reports of a store. Safe between threads; who asks for one waits while it is read."""

    def __init__(self, config: Config) -> None:
        self._store = Store(config.store)
        self._lock = threading.Lock()
        self._read: dict[ReportName, _Read] = {}
        self._seen: dict[ReportName, _Seen] = {}

    @staticmethod
    def command(kind: type) -> str:
        """Return the verb of the command line that makes a report, with what it needs."""
        return REPORT_COMMANDS[NAMES[kind]]

    def has(self, name: ReportName) -> bool:
        """Tell whether there is a report, which may be damaged."""
        try:
            return report_identity(self._store, name) is not None
        except OSError:  # the store is away
            return False

    def get(self, kind: type[Findings], searcher: Searcher) -> SavedReport[Findings] | None:
        """Return what an analysis found last, for the version of a searcher; None without a report.

        Raises :class:`~indexer.errors.StoreCorrupt` if it is damaged, or of another Lookalike, and
        :class:`OSError` if it cannot be read now.
        """
        name, version = NAMES[kind], (searcher.info.version, searcher.info.created)
        with self._lock:
            read = self._last(name, kind)
            if read is None or read.report is None:  # it was removed at this moment
                return None
            seen = self._seen.get(name)
            if seen is None or seen.read is not read or seen.version != version:
                seen = self._seen[name] = _Seen(read, version, _saved(read, searcher))
            return seen.saved

    def names(self, kind: type[Findings], image_id: int) -> bool:
        """Tell whether the last report of an analysis is about an image, among others.

        It costs nothing once the report was read. It waits for nobody who reads one: until then it
        goes by what was read before. Raises what :meth:`get` raises.
        """
        name = NAMES[kind]
        if self._lock.acquire(blocking=False):
            try:
                read = self._last(name, kind)
            finally:
                self._lock.release()
        else:
            read = self._read.get(name)
        return read is not None and image_id in read.ids

    def _last(self, name: ReportName, kind: type[Any]) -> "_Read | None":
        identity = report_identity(self._store, name)
        if identity is None:
            return None
        read = self._read.get(name)
        if read is None or read.identity != identity:
            read = self._read[name] = _Read.of(self._store, name, kind, identity)
        if read.problem:
            raise read.problem.fresh()
        return read


@dataclass(frozen=True)
class _Read:
    """What the file of a report has, or why it cannot be used."""

    identity: tuple[int, ...]
    report: Report | None = None
    found: Any = None
    problem: StoreCorrupt | None = None

    @classmethod
    def of(
        cls, store: Store, name: ReportName, kind: type[Any], identity: tuple[int, ...]
    ) -> "_Read":
        """Read a report. Raises :class:`OSError` if that may go another time."""
        try:
            report = read_report(store, name)
            found = TypeAdapter(kind).validate_python(report.found) if report else None
        except StoreCorrupt as error:
            raise_if_unavailable(error)
            return cls(identity, problem=error.fresh())
        except ValidationError as error:
            message = f"The report {name} is of another Lookalike: {error.errors()[0]['msg']}."
            hint = f"Make it again with: lookalike {REPORT_COMMANDS[name]}"
            return cls(identity, problem=StoreCorrupt(message, hint))
        # Not the values that it was made of: they take more memory than what was found.
        return cls(identity, report and report.model_copy(update={"found": {}}), found)

    @cached_property
    def ids(self) -> frozenset[int]:
        """The images that it is about."""
        return frozenset(_ids(self.found))


class _Seen(NamedTuple):
    """What a version has of a report."""

    read: _Read
    version: tuple[str, datetime]
    saved: SavedReport[Any]


def _saved(read: _Read, searcher: Searcher) -> SavedReport[Any]:
    """Return a report for the version of a searcher."""
    report, info = read.report, searcher.info
    assert report is not None
    ids = np.array(sorted(read.ids), np.int64)
    there = ids[searcher.collection.has(ids)].tolist()
    is_current = (report.version, report.version_created) == (info.version, info.created)
    found, gone = read.found, len(ids) - len(there)
    if gone or not is_current:
        found = _present(found, searcher.collection.keys(there))
    return SavedReport(found, report.version, report.created, is_current, gone)


def _ids(found: Any) -> Iterable[int]:
    """Yield the ids of the images that something is about."""
    match found:
        case Duplicates():
            return (one.id for group in found.groups for one in group.images)
        case Leaks():
            return (image_id for one in found.leaks for image_id in (one.id, one.of_id))
        case Suspects():
            return (one.id for one in found.suspects)
        case Outliers():
            return (one.id for one in found.outliers)
        case Evaluation():
            return (image_id for one in found.best + found.worst for image_id in one.ids)
    return ()


def _present(found: Any, keys: Mapping[int, str]) -> Any:
    """Return what was found of the images that are there, by id, with the names that they have now.

    A group without its best copy, of which it says how the others differ, is left out.
    """

    def there(some: Iterable[Any]) -> list[Any]:
        return [replace(one, key=keys[one.id]) for one in some if one.id in keys]

    match found:
        case Duplicates():
            groups = [
                replace(group, images=there(group.images))
                for group in found.groups
                if group.images and group.images[0].id in keys
            ]
            return replace(found, groups=[group for group in groups if len(group.images) > 1])
        case Leaks():
            leaks = there(one for one in found.leaks if one.of_id in keys)
            return replace(found, leaks=[replace(one, of_key=keys[one.of_id]) for one in leaks])
        case Suspects():
            return replace(found, suspects=there(found.suspects))
        case Outliers():
            return replace(found, outliers=there(found.outliers))
    return found
