"""A search in progress: what is known of it between its first step and its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.config import Mode
from indexer.errors import LookalikeError
from indexer.search.answers import Answer, Stopwatch
from indexer.search.batched_index import MAX_RESULTS
from indexer.search.paging import first_depth
from indexer.search.queries import Example, Query, Selection, Vector, combined
from indexer.search.words import WordMatches
from indexer.vector_index import Found

Pixels = NDArray[np.uint8]


@dataclass(slots=True)
class PendingSearch:
    """One of several searches that are made together. A step that fails leaves its error."""

    query: Query
    selection: Selection
    k: int = 0
    mode: Mode = "exact"
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    pixels: Pixels | None = None
    """The query's own image, until it is encoded."""
    preview: bytes | None = None
    note: str = ""
    """What is wrong with the file of the query's own image."""
    words: WordMatches | None = None
    """The images that say the query's text."""
    feature: Vector | None = None
    """Of the query's own image, vector or text; None if it has examples only."""
    vector: Vector | None = None
    """What is searched for."""
    depth: int = 0
    found: Found | None = None
    """The first ``depth`` neighbours, once they are found."""
    answer: Answer | None = None
    failure: LookalikeError | None = None

    def run(self, step: "Callable[[PendingSearch], None]") -> None:
        """Run a step unless an earlier one failed; keep its error if it fails.

        The traceback is not kept: it refers to this search, which then stayed until Python looks
        for cycles, and its image with it.
        """
        if self.failure is None:
            try:
                step(self)
            except LookalikeError as error:
                self.failure = error.fresh()

    def combine(self, features: Callable[[Sequence[Example]], Vector]) -> None:
        """Set ``vector``: the query's own feature, moved by its examples.

        ``features`` returns the stored features of examples, float32 (n, dim).
        """
        query = self.query
        positives, negatives = features(query.positives), features(query.negatives)
        weights = [example.weight for example in query.positives]
        if self.feature is not None:
            if not (query.positives or query.negatives):
                self.vector = self.feature
                return
            positives, weights = np.vstack([self.feature, positives]), [1.0, *weights]
        negative_weights = [example.weight for example in query.negatives]
        self.vector = combined(positives, weights, negatives, negative_weights)

    def batched_depth(self, count: int) -> int:
        """Return how many of ``count`` neighbours to find in a batch with other searches.

        0 if it is to be searched alone: it is approximate, among some images only, or too deep.
        """
        selection = self.selection
        if self.failure or self.mode != "exact" or not selection.searches_all:
            return 0
        depth = first_depth(
            count,
            self.k,
            selection.page,
            selection.threshold,
            collapse=selection.collapse_duplicates,
        )
        return depth if depth <= MAX_RESULTS else 0

    def outcome(self) -> Answer | LookalikeError:
        """Return the answer, or the error of the step that failed."""
        outcome = self.failure or self.answer
        assert outcome is not None
        return outcome
