"""Vectors, segments and indexes for the tests of search, and their reference."""

from functools import partial
from pathlib import Path

import numpy as np

from indexer.store import DerivedFiles, DerivedKind
from indexer.vector_index import (
    ApproximateCoder,
    ApproximateIndex,
    Coder,
    ExactIndex,
    MappedVectors,
    Part,
    Shortlist,
    ShortlistCoder,
    VectorIndex,
    flat_file,
)
from indexer.vector_index.base import Ids, Vectors
from indexer.vector_index.opened import Indexes
from indexer.vector_index.sharded import LocalShards, Shard, ShardedIndex
from indexer.vector_index.shortlist import query_codes

DIM = 16
NOTHING = np.empty(0, np.int64)


def unit(vectors: np.ndarray) -> Vectors:
    """Divide vectors by their norms."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def some_vectors(count: int, seed: int = 0, dim: int = DIM) -> Vectors:
    """Return random directions."""
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def photo_like(count: int, seed: int = 0, dim: int = 256) -> Vectors:
    """Return vectors as image encoders make them: clustered, a quarter active, none negative."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).gamma(0.3, size=(20, dim))
    noise = np.exp(random.normal(0, 0.5, (count, dim)))
    vectors = centres[random.integers(0, 20, count)] * noise
    return unit(np.where(vectors < np.quantile(vectors, 0.75), 0, vectors) + 1e-6)


def parts(folder: Path, vectors: Vectors, ids: Ids, count: int = 3) -> list[Part]:
    """Write vectors as segments."""
    made = []
    for number, rows in enumerate(np.array_split(np.arange(len(ids)), count)):
        path = folder / f"{number}.faiss"
        path.write_bytes(flat_file(vectors[rows]))
        made.append(Part(path, ids[rows]))
    return made


def mapped(folder: Path, vectors: Vectors, ids: Ids, deleted: Ids = NOTHING) -> MappedVectors:
    """Write vectors as three segments and map them."""
    return MappedVectors(parts(folder, vectors, ids), vectors.shape[1], np.array(deleted, np.int64))


def encoded(folder: Path, name: str, coder: Coder, vectors: MappedVectors) -> list[Path]:
    """Write what a coder makes of every segment."""
    files = []
    for number, part in enumerate(vectors.parts):
        files.append(folder / f"{name}-{number}.npy")
        files[-1].write_bytes(coder.encode(part.matrix).content)
    return files


def shortlisted(folder: Path, vectors: MappedVectors) -> ExactIndex:
    """Open exact search with a shortlist."""
    coder = ShortlistCoder.train(vectors)
    (folder / "shortlist").write_bytes(coder.to_bytes())
    files = encoded(folder, "shortlist", coder, vectors)
    loaded = ShortlistCoder.load(folder / "shortlist")
    return ExactIndex(vectors, Shortlist(loaded, files, vectors))


def approximate(folder: Path, vectors: MappedVectors, factory: str) -> ApproximateIndex:
    """Open approximate search."""
    coder = ApproximateCoder.train(vectors, factory)
    (folder / "trained").write_bytes(coder.to_bytes())
    files = encoded(folder, "approximate", coder, vectors)
    return ApproximateIndex(ApproximateCoder.load(folder / "trained"), files, ExactIndex(vectors))


def open_kind(kind: str, folder: Path, vectors: MappedVectors) -> VectorIndex:
    """Open an index of a kind: exact, shortlist or a factory string."""
    if kind == "exact":
        return ExactIndex(vectors)
    if kind == "shortlist":
        return shortlisted(folder, vectors)
    return approximate(folder, vectors, kind)


def shards(
    kind: str, folder: Path, parts: list[Part], dim: int, count: int, deleted: Ids = NOTHING
) -> LocalShards:
    """Open segments in shards: exact, or with a shortlist or an approximate index over all."""
    vectors = MappedVectors(parts, dim, deleted)
    made: dict[DerivedKind, DerivedFiles] = {}
    if kind != "exact":
        name: DerivedKind = "shortlist" if kind == "shortlist" else "approximate"
        coder: Coder = (
            ShortlistCoder.train(vectors)
            if kind == "shortlist"
            else ApproximateCoder.train(vectors, kind)
        )
        (folder / "trained").write_bytes(coder.to_bytes())
        made[name] = DerivedFiles(folder / "trained", encoded(folder, name, coder, vectors))

    def shard(number: int) -> Shard:
        own = slice(number, None, count)

        def files(kind: DerivedKind) -> DerivedFiles | None:
            return DerivedFiles(made[kind].trained, made[kind].parts[own]) if kind in made else None

        return Shard(Indexes(MappedVectors(parts[own], dim, deleted), files))

    return LocalShards([shard(number) for number in range(count)])


def sharded(
    kind: str, folder: Path, parts: list[Part], dim: int, count: int, deleted: Ids = NOTHING
) -> ShardedIndex:
    """Open one index over segments in shards."""
    opened = shards(kind, folder, parts, dim, count, deleted)
    if kind == "shortlist":
        coder, vectors = ShortlistCoder.load(folder / "trained"), MappedVectors(parts, dim, deleted)
        return ShardedIndex(opened, "exact", partial(query_codes, coder, vectors=vectors))
    return ShardedIndex(opened, "exact" if kind == "exact" else "approximate")


def brute_force(vectors: Vectors, query: Vectors) -> np.ndarray:
    """Return all distances in float64."""
    return np.linalg.norm(vectors.astype(np.float64) - query.astype(np.float64), axis=1)


def assert_nearest(
    distances: np.ndarray, found: np.ndarray, vectors: Vectors, ids: Ids, query: Vectors
) -> None:
    """Check that the distances are those of the found ids, and that no other id is nearer."""
    true = dict(zip(ids.tolist(), brute_force(vectors, query), strict=True))
    assert len(set(found.tolist())) == len(found)
    np.testing.assert_allclose(distances, [true[i] for i in found.tolist()], atol=1e-5)
    assert (np.diff(distances) >= 0).all()
    best = np.sort(brute_force(vectors, query))[: len(found)]
    np.testing.assert_allclose(distances, best, atol=1e-5)
