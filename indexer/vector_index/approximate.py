"""Approximate search: a FAISS inverted-file index proposes, exact distances decide."""

import re
from pathlib import Path

import faiss
import numpy as np

from indexer.errors import ConfigError, StoreCorrupt
from indexer.vector_index.base import Distances, Ids, Vectors
from indexer.vector_index.exact import ExactIndex, nearest, no_results

TRAINING_VECTORS_PER_LIST = 64  # FAISS asks for 39 to 256
MIN_TRAINING_VECTORS = 10_000  # for what else is trained: rotations, quantisers
MAX_TRAINING_BYTES = 2**31
ADD_BLOCK = 16_384

FACTORIES = (
    r"((OPQ\d+(_\d+)?|PCAR?\d+|RR\d+),)?"  # an optional rotation
    r"IVF\d+,(Flat|SQ4|SQ6|SQ8|SQfp16|PQ\d+)"  # lists, and what they hold of each vector
)
"""The factory strings that are accepted: what the contract tests run over."""

CANDIDATES_PER_RESULT = 4
MIN_CANDIDATES = 128


def check_factory(factory: str, dim: int, count: int) -> None:
    """Raise :class:`ConfigError` unless ``count`` vectors can make the index ``factory`` names."""
    _, inverted = _new_index(factory, dim)
    product_quantiser = re.search(r",PQ", factory) is not None
    trained = re.match(r"(?:OPQ\d+_|PCAR?|OPQ)(\d+)", factory)
    needed = max(inverted.nlist, 256 if product_quantiser else 0, dim if trained else 0)
    if count < needed:
        raise ConfigError(
            f"index.approximate: {factory} needs at least {needed} images to be trained; "
            f"there are {count}.",
            "Choose fewer lists (about the square root of the number of images), or null.",
        )


def code_size(factory: str, dim: int) -> int:
    """Return how many bytes the index ``factory`` names keeps of each vector."""
    return int(_new_index(factory, dim)[1].code_size)


def write_approximate(exact: ExactIndex, factory: str, path: Path) -> None:
    """Train the index ``factory`` names on the vectors of ``exact``, fill it, write it.

    Raises :class:`ConfigError` if there are too few vectors for it.
    """
    check_factory(factory, exact.dim, len(exact.ids))
    index, inverted = _new_index(factory, exact.dim)
    size = max(inverted.nlist * TRAINING_VECTORS_PER_LIST, MIN_TRAINING_VECTORS)
    size = min(size, MAX_TRAINING_BYTES // (4 * exact.dim))
    sample = np.random.default_rng(0).permutation(exact.ids)[:size]
    index.train(exact.vectors(sample))
    for start in range(0, len(exact.ids), ADD_BLOCK):
        block = exact.ids[start : start + ADD_BLOCK]
        index.add_with_ids(exact.vectors(block), block)
    faiss.write_index(index, str(path))


class ApproximateIndex:
    """An inverted-file index whose candidates are ranked by their exact distances."""

    def __init__(self, path: Path, exact: ExactIndex, nprobe: int) -> None:
        try:
            self._index = faiss.read_index(str(path))
            self._inverted = faiss.extract_index_ivf(self._index)
        except RuntimeError as error:
            raise StoreCorrupt(f"{path} cannot be opened: {error}") from error
        if (self._index.d, self._index.ntotal) != (exact.dim, len(exact.ids)):
            raise StoreCorrupt(f"{path} does not hold {len(exact.ids)} x {exact.dim} vectors.")
        self._exact = exact
        self._nprobe = min(nprobe, self._inverted.nlist)

    def search(
        self, queries: Vectors, k: int, *, allowed: Ids | None = None
    ) -> tuple[Distances, Ids]:
        """Find about the ``k`` nearest; see :class:`~indexer.vector_index.base.VectorIndex`.

        Every distance is exact; a neighbour is missed if none of the visited lists holds it. More
        lists than ``nprobe`` are visited only where those hold fewer than ``k`` images.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        possible = self._exact.ids if allowed is None else np.intersect1d(allowed, self._exact.ids)
        candidates = min(max(k * CANDIDATES_PER_RESULT, MIN_CANDIDATES), max(len(possible), 1))
        nprobe = self._nprobe
        while True:
            _, ids = self._index.search(
                queries, candidates, params=self._parameters(nprobe, allowed)
            )
            enough = (ids >= 0).sum(axis=1) >= min(k, len(possible))
            if enough.all() or nprobe == self._inverted.nlist:
                break
            nprobe = min(nprobe * 2, self._inverted.nlist)
        squared = np.full(ids.shape, np.inf, np.float32)
        for query, own_ids, own_squared in zip(queries, ids, squared, strict=True):
            found = own_ids >= 0
            own_squared[found] = self._exact.squared_distances(query, own_ids[found])
        return nearest([no_results(len(queries), k), (squared, ids)], k)

    def _parameters(self, nprobe: int, allowed: Ids | None) -> faiss.SearchParameters:
        selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
        inner = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        if isinstance(self._index, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=inner)
        return inner


def _new_index(factory: str, dim: int) -> tuple[faiss.Index, faiss.IndexIVF]:
    """Make an untrained index; only kinds that can be filtered and searched with any nprobe."""
    hint = (
        "Use a factory string such as IVF1024,SQ8 or OPQ64,IVF1024,PQ64: "
        "https://github.com/facebookresearch/faiss/wiki/The-index-factory"
    )
    if not re.fullmatch(FACTORIES, factory):
        raise ConfigError(f"index.approximate: {factory!r} is not supported.", hint)
    try:
        index = faiss.index_factory(dim, factory)
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2]
        raise ConfigError(
            f"index.approximate: {factory} does not fit {dim}-d vectors: {reason}.", hint
        ) from None
    return index, faiss.extract_index_ivf(index)
