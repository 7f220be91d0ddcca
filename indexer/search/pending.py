"""A search that has begun: what is known of it until it is answered."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.config import Mode
from indexer.errors import LookalikeError
from indexer.search.answers import Answer, Stopwatch
from indexer.search.gathering import MOST_RESULTS
from indexer.search.paging import first_depth
from indexer.search.queries import Query, Selection, Vector
from indexer.vector_index import Found

Pixels = NDArray[np.uint8]


@dataclass(slots=True)
class PendingSearch:
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
    """The first ``depth`` neighbours, once they are found."""
    answer: Answer | None = None
    failure: LookalikeError | None = None

    def attempt(self, step: "Callable[[PendingSearch], None]") -> None:
        """Take a step, unless one before has failed; keep the error if it fails."""
        if self.failure is None:
            try:
                step(self)
            except LookalikeError as error:
                self.failure = error

    def shared_depth(self, count: int) -> int:
        """Return how many of ``count`` neighbours to find together with other searches' ones.

        0 if it is to go by itself: it is approximate, among some images only, or too deep.
        """
        chosen = self.selection
        if self.failure or self.mode != "exact" or chosen.allowed is not None:
            return 0
        depth = first_depth(
            count, self.k, chosen.page, chosen.threshold, collapse=chosen.collapse_duplicates
        )
        return depth if depth <= MOST_RESULTS else 0

    def outcome(self) -> Answer | LookalikeError:
        """Return what became of it."""
        outcome = self.failure or self.answer
        assert outcome is not None
        return outcome
