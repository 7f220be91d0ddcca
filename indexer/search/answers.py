"""The answers to queries: hits and timings, and the description of the index."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.config import Mode
from indexer.encoders import EncoderSpec
from indexer.search.paging import RankedHit
from indexer.search.queries import Example, Query, Selection
from indexer.search.scale import Scale
from indexer.search.words import WordMatches
from indexer.store import Counts, Facet, ImageRow
from indexer.vector_index import Stage
from indexer.vector_index.promise import Promise


@dataclass(frozen=True, slots=True)
class Hit:
    """One neighbour: the image, and its Euclidean distance to the query.

    ``rank`` counts all neighbours, from 1, also where duplicates are collapsed; those are then
    ``duplicates``, nearest to the query first.
    """

    rank: int
    image: ImageRow
    distance: float
    duplicates: Sequence["Hit"] = ()
    percentile: float | None = None
    """The share of all pairs of images that are nearer, in percent; None if there are no pairs."""
    share_alike: float | None = None
    """The share, 0 to 1, of the pairs at this distance that share a label, if that is known."""

    @classmethod
    def of(cls, ranked: RankedHit, rows: Mapping[int, ImageRow], scale: Scale) -> "Hit":
        """Make a hit, and those of its duplicates, from ranks and the images' rows."""
        within = scale.share_within(ranked.distance)
        return cls(
            ranked.rank,
            rows[ranked.image_id],
            ranked.distance,
            tuple(cls.of(other, rows, scale) for other in ranked.duplicates),
            None if within is None else round(100 * within, 4),
            scale.share_alike(ranked.distance),
        )

    @property
    def cosine(self) -> float:
        """Cosine similarity, computed from the distance, as all vectors have norm 1."""
        return 1 - self.distance**2 / 2

    def to_dict(self) -> dict[str, Any]:
        """Return the hit as JSON-ready values, named and ordered as in the HTTP API."""
        box = {} if self.image.box is None else {"box": self.image.box._asdict()}
        return {
            "rank": self.rank,
            "image_id": self.image.id,
            "key": self.image.key,
            **box,
            "distance": self.distance,
            "cosine": self.cosine,
            "percentile": self.percentile,
            "share_alike": self.share_alike,
            "metadata": dict(self.image.metadata),
            "duplicates": [duplicate.to_dict() for duplicate in self.duplicates],
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """One page of the neighbours of a query, nearest first, and how long each step took (ms).

    ``mode`` and ``k`` are those of the selection, or the settings' where it has none. ``more``
    tells whether there is another page. ``vector`` is the feature that was searched for, float32
    (dim,), and ``own_vector`` that of the query's own image, without further examples.
    """

    version: str
    encoder: EncoderSpec
    query: Query
    selection: Selection
    mode: Mode
    k: int
    more: bool
    hits: Sequence[Hit]
    timings_ms: Mapping[str, float]
    vector: NDArray[np.float32]
    own_vector: NDArray[np.float32] | None
    no_match: bool = False
    """Whether even the best result, besides the query's own image, is too far away to match it."""
    label_field: str | None = None
    """The field whose values images share in :attr:`Hit.share_alike`."""
    preview: bytes | None = None
    note: str = ""
    """What is wrong with the file of the query's own image, whose picture is whole."""
    stages: Sequence[Stage] = ()
    """The stages of the search, and how many images each left."""
    facets: Mapping[str, Facet] = field(default_factory=dict)
    """The counts of the values of fields, in all images that pass the filter."""
    words: WordMatches | None = None
    """The images that say the query's text, whose mean was searched for."""

    @property
    def page(self) -> int:
        """Which page of the results this is, from 1."""
        return self.selection.page

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-ready values, named and ordered as in the HTTP API.

        Only a server knows URLs: those of images are missing, and the query's is None.
        """
        spec = self.encoder
        answer: dict[str, Any] = {
            "version": self.version,
            "encoder": {
                "model": spec.model,
                "layer": spec.layer,
                "weights": spec.weights_name,
                "dim": spec.dim,
                "preprocessing": spec.preprocessing,
                "fingerprint": spec.fingerprint,
                "random_weights": spec.is_random,
            },
            "mode": self.mode,
            "query": self._query_to_dict(),
            "timings_ms": dict(self.timings_ms),
            "results": [hit.to_dict() for hit in self.hits],
            "more": self.more,
            "no_match": self.no_match,
            "label_field": self.label_field,
        }
        if self.facets:
            answer["facets"] = facets_to_dict(self.facets)
        if self.words:
            answer["words"] = self.words.to_dict()
        return answer

    def _query_to_dict(self) -> dict[str, Any]:
        query, selection = self.query, self.selection
        allowed = selection.allowed
        return {
            "kind": query.kind,
            "image_id": query.image_id,
            "text": query.text,
            "url": None,
            "crop": query.crop._asdict() if query.crop else None,
            "allowed": {"key_prefix": allowed.key_prefix, "metadata": dict(allowed.metadata)}
            if allowed
            else None,
            "filter": list(selection.filter),
            "positives": _examples(query.positives),
            "negatives": _examples(query.negatives),
            "k": self.k,
            "page": self.page,
            "threshold": selection.threshold,
            "collapse_duplicates": selection.collapse_duplicates,
            "note": self.note,
        }


def facets_to_dict(facets: Mapping[str, Facet]) -> dict[str, Any]:
    """Return facets as JSON-ready values, named and ordered as in the HTTP API."""
    return {
        name: {"values": [asdict(one) for one in facet.values], "others": facet.others}
        for name, facet in facets.items()
    }


def _examples(examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [{"image_id": example.image_id, "weight": example.weight} for example in examples]


@dataclass(frozen=True, slots=True)
class ListedImages:
    """One page of the images that pass a filter, in the order of their ids."""

    total: int
    """How many images pass."""
    page: int
    images: Sequence[ImageRow]
    more: bool
    facets: Mapping[str, Facet]
    """The counts of the values of fields, in all images that pass the filter."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How far a sample of the collection is from a query.

    ``counts[i]`` images lie between the distances ``edges[i]`` and ``edges[i + 1]``.
    """

    edges: Sequence[float]
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The bytes of an indexed image's file, unchanged since it was indexed."""

    data: bytes
    media_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """The description of an opened index."""

    version: str
    created: datetime
    encoder: EncoderSpec
    counts: Counts
    approximate: str | None
    """The FAISS factory string of the approximate index, or None if there is none."""
    promise: Promise | None
    """The recall of approximate search, and the setting in use."""

    @property
    def modes(self) -> list[Mode]:
        """The search modes this version offers."""
        return ["exact", "approximate"] if self.approximate else ["exact"]


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds spent in each step; decode and encode are 0 if they did not happen."""

    ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("decode", "encode"), 0.0))
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to a step."""
        began = time.perf_counter()
        yield
        spent = (time.perf_counter() - began) * 1000
        self.ms[name] = round(self.ms.get(name, 0.0) + spent, 3)

    def finish(self) -> dict[str, float]:
        """Return the times of the steps, and the total since the stopwatch was made."""
        total = round((time.perf_counter() - self.started) * 1000, 3)
        return {**self.ms, "total": total}
