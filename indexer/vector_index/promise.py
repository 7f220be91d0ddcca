"""The recall that approximate search promises: the setting in use, and notes on it."""

from dataclasses import dataclass
from typing import Any

from indexer.store import Derived, Manifest, Recall, RecallPoint
from indexer.vector_index import SearchParameters

WORTH_SAYING_MS = 1.0
"""Exact search is reported as faster if it takes at least this much less time."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The share of the 30 nearest that approximate search finds with 95 % confidence."""

    wanted: float
    """``index.recall``."""
    measured: Recall
    point: RecallPoint
    """The setting in use: the fastest that reaches the wanted recall, else the best one."""
    factory: str
    """The FAISS factory string of the index."""

    @classmethod
    def of(cls, manifest: Manifest, wanted: float) -> "Promise | None":
        """Return the promise of a version, or None if it has no approximate index."""
        approximate = manifest.derived.get("approximate")
        return cls.of_index(approximate, wanted) if approximate else None

    @classmethod
    def of_index(cls, approximate: Derived, wanted: float) -> "Promise | None":
        """Return the promise of an approximate index, or None if its recall was not measured."""
        measured = approximate.recall
        if measured is None:
            return None
        reached = (point for point in measured.points if point.recall >= wanted)
        point = next(reached, measured.points[-1])
        return cls(wanted, measured, point, approximate.made_by)

    @property
    def parameters(self) -> SearchParameters:
        """The parameters of approximate searches."""
        return SearchParameters(self.point.nprobe, self.point.reranked)

    @property
    def is_kept(self) -> bool:
        """True if the wanted recall is reached."""
        return self.point.recall >= self.wanted

    @property
    def exact_is_faster(self) -> bool:
        """True if exact search was clearly faster when both were measured."""
        return self.point.ms - self.measured.exact_ms > WORTH_SAYING_MS

    @property
    def notes(self) -> list[str]:
        """Sentences that tell the user of a problem; none if all is well."""
        notes = []
        if not self.is_kept:
            notes.append(
                f"Approximate search promises {_percent(self.point.recall)} of the 30 nearest, not "
                f"the {_percent(self.wanted)} that index.recall asks for: {self._shortfall}. Use "
                "exact search, a lower index.recall, or another index.approximate."
            )
        if self.exact_is_faster:
            notes.append(
                f"Exact search is faster: {self.measured.exact_ms:.1f} ms, where approximate "
                f"search takes {self.point.ms:.1f} ms to find {_percent(self.point.recall)}. Use "
                "mode=exact."
            )
        return notes

    @property
    def _shortfall(self) -> str:
        if min(self.point.stored, self.point.changed) >= self.wanted:
            return f"{self.measured.queries} queries do not prove more"
        return f"{self.factory} cannot tell more of them apart"

    @property
    def summary(self) -> str:
        """The promise in one line."""
        if not self.measured.queries:
            return "so few images are all compared"
        return (
            f"finds at least {_percent(self.point.recall)} of the 30 nearest with 95 % confidence "
            f"({self.point.nprobe} lists, {self.point.reranked} candidates, {self.point.ms:.1f} "
            f"ms; exact {self.measured.exact_ms:.1f} ms; measured on {self.measured.count:,} "
            "images)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the promise as JSON-ready values."""
        return {
            "wanted": self.wanted,
            "promised": self.point.recall,
            "nprobe": self.point.nprobe,
            "reranked": self.point.reranked,
            "ms": self.point.ms,
            "exact_ms": self.measured.exact_ms,
            "measured_on": self.measured.count,
            "queries": self.measured.queries,
            "notes": self.notes,
        }


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
