"""Where a version is searched: in this process, or in shards on a Ray cluster."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from indexer.config import Config, Mode
from indexer.errors import LookalikeError
from indexer.store import Version
from indexer.vector_index import MappedVectors, ShortlistCoder
from indexer.vector_index.base import CandidateIndex
from indexer.vector_index.opened import Indexes, map_vectors
from indexer.vector_index.sharded import ShardedIndex
from indexer.vector_index.shortlist import query_codes

if TYPE_CHECKING:
    from indexer.vector_index.ray_shards import ShardActors


class Replicas(Protocol):
    """Tells which of the replicas of a version's shards answer."""

    @property
    def ready_replicas(self) -> list[int]:
        """How many replicas of each shard answer."""

    def problem(self) -> LookalikeError | None:
        """Return an error to raise if a shard has no replica that answers, else None."""


class OpenedVersion(NamedTuple):
    """The vectors of a version, and the index of each mode there is."""

    vectors: MappedVectors
    """Mapped in this process, wherever they are searched: single vectors are read here."""
    by_mode: Mapping[Mode, CandidateIndex]
    replicas: Replicas | None = None


class Backend(Protocol):
    """Opens one version after the other; several are in use at the same time."""

    def open(self, version: Version) -> OpenedVersion:
        """Open a version, and return once it can be searched."""


def open_backend(config: Config) -> Backend:
    """Return the backend of ``search.backend``, which does nothing before it opens a version."""
    return RayBackend(config) if config.search.backend == "ray" else LocalBackend()


class LocalBackend:
    """Searches in this process."""

    def open(self, version: Version) -> OpenedVersion:
        """Open a version. Raises :class:`~indexer.errors.StoreCorrupt`."""
        indexes = Indexes.of(version)
        return OpenedVersion(indexes.vectors, indexes.by_mode)


class RayBackend:
    """Searches in shards, whose replicas are actors of a Ray cluster."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._actors: ShardActors | None = None

    def open(self, version: Version) -> OpenedVersion:
        """Open a version in the replicas, which are started for the first one.

        Raises :class:`~indexer.errors.ClusterUnavailable`,
        :class:`~indexer.errors.ShardUnavailable`, :class:`~indexer.errors.StoreCorrupt` or
        :class:`~indexer.errors.MissingDependency`.
        """
        vectors = map_vectors(version)
        if self._actors is None:
            self._actors = self._start()
        shards = self._actors.open(version)
        encode = None
        if shortlist := version.derived("shortlist"):
            encode = partial(query_codes, ShortlistCoder.load(shortlist.trained), vectors=vectors)
        modes: dict[Mode, CandidateIndex] = {"exact": ShardedIndex(shards, "exact", encode)}
        if version.derived("approximate"):
            modes["approximate"] = ShardedIndex(shards, "approximate")
        return OpenedVersion(vectors, modes, shards)

    def _start(self) -> "ShardActors":
        from indexer.transfer import PulledParts
        from indexer.vector_index.ray_shards import SameStore, ShardActors

        search = self._config.search
        return ShardActors(
            PulledParts(search.pushed_to) if search.pushed_to else SameStore(self._config.store),
            shards=search.shards,
            replicas=search.replicas,
            address=search.address,
        )
