"""Sharded search: the segments of a version divided into shards, and one index over all of them.

Alone, a shard cannot rule out what is farther than the k nearest of the others: 16 shards together
would measure five times as many vectors as one index does. So exact search asks twice. First every
shard measures a few vectors that are probably near; the k-th nearest of all of these is the
distance within which every shard then searches.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.config import Mode
from indexer.store import SegmentEntry, Store
from indexer.vector_index.base import (
    CandidateIndex,
    Candidates,
    Distances,
    Ids,
    SearchParameters,
    Stage,
    Vectors,
    nearest,
)
from indexer.vector_index.exact import BATCH_FROM_QUERIES
from indexer.vector_index.opened import Indexes
from indexer.vector_index.shortlist_codes import Codes

Answer = TypeVar("Answer")


def split(segments: Sequence[SegmentEntry], shards: int) -> list[list[str]]:
    """Return the ids of each shard's segments, ascending.

    The largest segment goes first, always to the shard with the fewest vectors: everybody who
    divides the segments of a version divides them alike.
    """
    loads = [0] * shards
    chosen: list[list[str]] = [[] for _ in range(shards)]
    for segment in sorted(segments, key=lambda segment: (-segment.count, segment.id)):
        least = loads.index(min(loads))
        loads[least] += segment.count
        chosen[least].append(segment.id)
    return [sorted(ids) for ids in chosen]


class IdSet(NamedTuple):
    """Some ids, as they are sent to shards: as numbers, or as bits where that takes fewer bytes."""

    numbers: Ids
    bits: NDArray[np.uint8]
    """Bit i stands for the id i."""

    @classmethod
    def of(cls, ids: Ids | None) -> "IdSet | None":
        """Return the set of ids, int64 (n,), which are not negative; None for None."""
        if ids is None:
            return None
        largest = int(ids.max(initial=0))
        if 64 * len(ids) <= largest:
            return cls(ids, np.empty(0, np.uint8))
        is_in = np.zeros(largest + 1, np.bool_)
        is_in[ids] = True
        return cls(np.empty(0, np.int64), np.packbits(is_in))

    @property
    def ids(self) -> Ids:
        """The ids."""
        return np.flatnonzero(np.unpackbits(self.bits)) if len(self.bits) else self.numbers


class Shard:
    """Some segments of one version, with exact search over them and, if there is one, approximate.

    Safe between threads.
    """

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    @classmethod
    def open(cls, store: Store, version: str, number: int, shards: int) -> "Shard":
        """Open the shard of a number, from 0, out of so many. Raises :class:`StoreCorrupt`."""
        segments = split(store.manifest(version).segments, shards)[number]
        return cls(Indexes.of_part(store.part(version, segments)))

    def __len__(self) -> int:
        return len(self._indexes.vectors)

    def seeds(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: IdSet | None = None,
        codes: Codes | None = None,
    ) -> list[Distances]:
        """Return what :meth:`ExactIndex.seeds` returns."""
        ids = allowed and allowed.ids
        return self._indexes.exact.seeds(queries, ks, allowed=ids, codes=codes)

    def exact(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: IdSet | None = None,
        within: Sequence[float] | None = None,
        codes: Codes | None = None,
    ) -> list[Candidates]:
        """Return what :meth:`ExactIndex.candidates` returns."""
        ids = allowed and allowed.ids
        return self._indexes.exact.candidates(queries, ks, allowed=ids, within=within, codes=codes)

    def approximate(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: IdSet | None = None,
        parameters: SearchParameters | None = None,
    ) -> list[Candidates]:
        """Return what :meth:`ApproximateIndex.candidates` returns."""
        assert self._indexes.approximate is not None
        return self._indexes.approximate.candidates(
            queries, ks, allowed=allowed and allowed.ids, parameters=parameters
        )


class Shards(Protocol):
    """All shards of one version, wherever they are. Safe between threads."""

    def __len__(self) -> int:
        """Return how many shards there are."""

    def ask(self, call: Callable[[Shard], Answer]) -> list[Answer]:
        """Return what ``call`` returns for each shard, in order; never fewer answers than shards.

        Raises :class:`~indexer.errors.ShardUnavailable`.
        """


class LocalShards:
    """The shards of a version in this process."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return len(self._shards)

    def ask(self, call: Callable[[Shard], Answer]) -> list[Answer]:
        """Return what ``call`` returns for each shard; see :class:`Shards`."""
        return [call(shard) for shard in self._shards]


class ShardedIndex(CandidateIndex):
    """One index over all shards.

    Exact search returns what one index over all vectors returns, to the last bit. Approximate
    search finds the same, or nearer ones: each shard proposes as many candidates as one index does.

    ``encode`` computes the codes of a few queries with the coder of the shortlist, once instead of
    twice in every shard.
    """

    def __init__(
        self, shards: Shards, mode: Mode, encode: Callable[[Vectors], Codes] | None = None
    ) -> None:
        self._shards = shards
        self._mode = mode
        self._encode = encode

    def candidates(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
    ) -> list[Candidates]:
        """Return the ``ks[i]`` nearest of query ``i``; see :class:`CandidateIndex`.

        Raises :class:`~indexer.errors.ShardUnavailable`.
        """
        search: Callable[[Shard], list[Candidates]]
        among = IdSet.of(allowed)
        if self._mode == "approximate":
            search = partial(
                Shard.approximate, queries=queries, ks=ks, allowed=among, parameters=parameters
            )
        else:
            is_few = 0 < len(queries) < BATCH_FROM_QUERIES
            codes = self._encode(queries) if self._encode and is_few else None
            seeds = partial(Shard.seeds, queries=queries, ks=ks, allowed=among, codes=codes)
            search = partial(
                Shard.exact,
                queries=queries,
                ks=ks,
                allowed=among,
                within=self._within(seeds, ks),
                codes=codes,
            )
        answers = self._shards.ask(search)
        return [_merged(parts, k) for *parts, k in zip(*answers, ks, strict=True)]

    def _within(
        self, seeds: Callable[[Shard], list[Distances]], ks: Sequence[int]
    ) -> list[float] | None:
        """Return for each query a squared distance that its ``ks[i]`` nearest do not exceed."""
        if len(self._shards) == 1:
            return None
        answers = self._shards.ask(seeds)
        return [_kth(np.concatenate(parts), k) for *parts, k in zip(*answers, ks, strict=True)]


def _kth(squared: Distances, k: int) -> float:
    return float(np.partition(squared, k - 1)[k - 1]) if k <= len(squared) else np.inf


def _merged(parts: Sequence[Candidates], k: int) -> Candidates:
    """Merge the candidates that the shards found for one query; add up the stages of one name."""
    rows: dict[str, int] = {}
    for part in parts:
        for name, count in part.stages:
            rows[name] = rows.get(name, 0) + count
    squared = np.concatenate([part.squared for part in parts])
    ids = np.concatenate([part.ids for part in parts])
    return nearest(Candidates(squared, ids, [Stage(*stage) for stage in rows.items()]), k)
