"""Maintenance of a store: status, verification, versions."""

from indexer.maintenance.history import VersionInfo, prune, rollback, versions
from indexer.maintenance.state import SkippedFile, SkippedFormat, Status, status
from indexer.maintenance.verification import Verdict, verify

__all__ = [
    "SkippedFile",
    "SkippedFormat",
    "Status",
    "Verdict",
    "VersionInfo",
    "prune",
    "rollback",
    "status",
    "verify",
    "versions",
]
