"""Queries: what to search with, and which of the neighbours to return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.config import Mode, SearchConfig
from indexer.errors import InvalidQuery
from indexer.images import Box

Vector = NDArray[np.float32]

MAX_EXAMPLES = 64
MIN_NORM = 1e-6
"""A sum of unit vectors shorter than this is only rounding error and has no direction."""


@dataclass(frozen=True, slots=True)
class Example:
    """An indexed image that results should resemble, or should not, and its weight."""

    image_id: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """At most one of an image, an indexed image, a vector and a text, and any number of examples.

    ``image`` is the bytes of a file. ``crop`` is a region of it, or of the indexed image, which is
    then encoded. ``text`` stands for the mean of images whose captions have its words; see
    :mod:`indexer.search.words`. Each of them counts as a positive of weight 1.
    """

    image: bytes | None = None
    image_id: int | None = None
    vector: Sequence[float] | NDArray[np.floating] | None = None
    text: str | None = None
    crop: Box | None = None
    positives: Sequence[Example] = ()
    negatives: Sequence[Example] = ()

    @property
    def kind(self) -> Literal["image", "image_id", "vector", "text", "examples"]:
        """What the query searches with; ``examples`` if it has nothing else."""
        if self.image is not None:
            return "image"
        if self.image_id is not None:
            return "image_id"
        if self.vector is not None:
            return "vector"
        return "examples" if self.text is None else "text"

    @property
    def is_encoded(self) -> bool:
        """True if the query has pixels that go through the encoder."""
        return self.image is not None or self.crop is not None

    def check(self) -> None:
        """Raise :class:`InvalidQuery` unless the parts can be combined."""
        parts = (self.image, self.image_id, self.vector, self.text)
        given = sum(part is not None for part in parts)
        if given > 1:
            raise InvalidQuery("Give one of image, image_id, vector and text, not several.")
        if not given and not self.positives:
            raise InvalidQuery(
                "The query has nothing to search with.",
                "Give an image, image_id, vector, text or at least one of positives.",
            )
        if self.crop is not None and self.image is None and self.image_id is None:
            raise InvalidQuery("crop needs an image or an image_id.")
        if len(self.positives) + len(self.negatives) > MAX_EXAMPLES:
            raise InvalidQuery(f"A query can have up to {MAX_EXAMPLES} examples.")
        for example in (*self.positives, *self.negatives):
            if not 0 < example.weight <= 100:
                raise InvalidQuery(f"The weight {example.weight} is not above 0 and up to 100.")


class Allowed(NamedTuple):
    """Which images may be found: those with this key prefix and these metadata."""

    key_prefix: str = ""
    metadata: Mapping[str, str | int | float | bool] = {}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the neighbours to return; ``k`` and ``mode`` default to the settings.

    A page has ``k`` results, and ``page`` counts from 1 without limit. ``threshold`` is the largest
    distance. ``collapse_duplicates`` puts near-duplicates below the best-ranked of them.

    Only images that are ``allowed`` and pass all clauses of ``filter`` are searched; see
    :mod:`indexer.search.filters`. The values of the fields ``facets`` are counted in all of these.
    """

    k: int | None = None
    page: int = 1
    mode: Mode | None = None
    threshold: float | None = None
    collapse_duplicates: bool = False
    allowed: Allowed | None = None
    filter: Sequence[str] = ()
    facets: Sequence[str] = ()

    @property
    def searches_all(self) -> bool:
        """True if every image may be found."""
        return self.allowed is None and not self.filter

    def within(self, limits: SearchConfig) -> tuple[int, Mode]:
        """Return k and mode with defaults filled in. Raises :class:`InvalidQuery`."""
        k = limits.k if self.k is None else self.k
        if not 1 <= k <= limits.max_k:
            raise InvalidQuery(f"k is {k}; it can be 1 to {limits.max_k}.")
        if self.page < 1:
            raise InvalidQuery(f"page is {self.page}; pages count from 1.")
        if self.threshold is not None and not 0 <= self.threshold <= 2:
            raise InvalidQuery(f"threshold is {self.threshold}; distances lie between 0 and 2.")
        return k, limits.mode if self.mode is None else self.mode


def unit_vector(vector: Sequence[float] | NDArray[np.floating], dim: int) -> Vector:
    """Return a vector divided by its norm, float32 (dim,).

    Raises :class:`InvalidQuery` for a wrong length, infinities, zeros only, or other than numbers.
    """
    try:
        query = np.asarray(vector, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidQuery("The vector is not a list of numbers.") from None
    if query.shape != (dim,):
        raise InvalidQuery(
            f"The vector has {query.size} components; this index has {dim}.",
            "Send a vector of the index's own encoder.",
        )
    norm = np.linalg.norm(query)
    if not np.isfinite(norm) or norm == 0:
        raise InvalidQuery("The vector has no direction: it is zero or not finite.")
    return (query / norm).astype(np.float32)


def combined(
    positives: Vector,
    positive_weights: Sequence[float],
    negatives: Vector,
    negative_weights: Sequence[float],
) -> Vector:
    """Return the direction towards the positives and away from the negatives, float32 (dim,).

    It is the mean of the positives, each times its weight, minus that of the negatives, divided by
    its norm. Vectors are float32 (n, dim) of norm 1. The means divide by the number of vectors, not
    by the sum of the weights, which would cancel the weight of a single negative.

    Raises :class:`InvalidQuery` if they cancel each other out.
    """
    direction = np.asarray(positive_weights, np.float64) @ positives / len(positives)
    if len(negatives):
        direction -= np.asarray(negative_weights, np.float64) @ negatives / len(negatives)
    norm = np.linalg.norm(direction)
    if norm < MIN_NORM:
        raise InvalidQuery(
            "The positive and negative examples cancel each other out.",
            "Remove one, or weigh them differently.",
        )
    return np.asarray(direction / norm, np.float32)
