"""A search under way: what is known of it between the question and the answer."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.answers import Answer, Stopwatch
from indexer.config import Mode
from indexer.errors import LookalikeError
from indexer.gathering import MOST_RESULTS
from indexer.paging import first_depth
from indexer.queries import Query, Selection, Vector
from indexer.vector_index import Found

Pixels = NDArray[np.uint8]


@dataclass(slots=True)
class Underway:
    """One of the searches that are made together. A step that fails leaves its error."""

    query: Query
    selection: Selection
    k: int = 0
    mode: Mode = "exact"
    watch: Stopwatch = field(default_factory=Stopwatch)
    pixels: Pixels | None = None
    """The query's own image, until it is encoded."""
    preview: bytes | None = None
    feature: Vector | None = None
    """Of the query's own image or vector; None if it has examples only."""
    vector: Vector | None = None
    """What is searched for."""
    depth: int = 0
    found: Found | None = None
    """The first ``depth`` neighbours, if they were found together with those of others."""
    answer: Answer | None = None
    failure: LookalikeError | None = None

    def attempt(self, step: "Callable[[Underway], None]") -> None:
        """Take a step, unless one before has failed; keep the error if it fails."""
        if self.failure is None:
            try:
                step(self)
            except LookalikeError as error:
                self.failure = error

    def can_share(self, count: int) -> bool:
        """Tell whether this search can be made with others among ``count`` images; set its depth.

        It is exact, among all of them, and not too deep.
        """
        if self.failure or self.mode != "exact" or self.selection.allowed is not None:
            return False
        chosen = self.selection
        self.depth = first_depth(
            count, self.k, chosen.page, chosen.threshold, collapse=chosen.collapse_duplicates
        )
        return 0 < self.depth <= MOST_RESULTS

    def outcome(self) -> Answer | LookalikeError:
        """Return what became of it."""
        outcome = self.failure or self.answer
        assert outcome is not None
        return outcome
