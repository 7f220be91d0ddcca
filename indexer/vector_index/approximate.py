"""Approximate search: a FAISS inverted-file index proposes, exact distances decide."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import faiss
import numpy as np

from indexer.errors import StoreCorrupt
from indexer.vector_index.base import (
    Distances,
    Encoded,
    Ids,
    Rows,
    Stage,
    Vectors,
    nearest,
)
from indexer.vector_index.exact import ExactIndex
from indexer.vector_index.factory import new_index
from indexer.vector_index.mapped import MappedVectors
from indexer.vector_index.principal import SAMPLE, principal_axes

TRAINING_VECTORS_PER_LIST = 64
"""FAISS asks for 39 to 256."""

MIN_TRAINING_VECTORS = 10_000
MAX_TRAINING_BYTES = 2**29

BLOCK = 8192
"""Vectors transformed or encoded at once."""

CANDIDATES_PER_RESULT = 8
MIN_CANDIDATES = 256


class ApproximateCoder:
    """A trained FAISS index without vectors: turns vectors into list numbers and codes."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self._inverted = faiss.extract_index_ivf(index)

    @classmethod
    def train(cls, vectors: MappedVectors, factory: str) -> "ApproximateCoder":
        """Train the index ``factory`` names on a random sample of the vectors."""
        index, inverted = new_index(factory, vectors.dim)
        rows = np.random.default_rng(0).permutation(len(vectors))
        chain = _transforms(index)
        for transform in chain:
            sample = vectors.vectors(np.sort(rows[:SAMPLE]))
            if isinstance(transform, faiss.PCAMatrix):
                _set_axes(transform, sample)
            else:
                transform.train(sample)
        wanted = max(inverted.nlist * TRAINING_VECTORS_PER_LIST, MIN_TRAINING_VECTORS)
        wanted = min(wanted, MAX_TRAINING_BYTES // (4 * inverted.d))
        transformed = [
            _transformed(chain, vectors.vectors(np.sort(rows[start : start + BLOCK])))
            for start in range(0, min(wanted, len(rows)), BLOCK)
        ]
        inverted.train(np.concatenate(transformed)[:wanted])
        index.is_trained = True
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> "ApproximateCoder":
        """Read what :meth:`to_bytes` returned. Raises :class:`StoreCorrupt`."""
        try:
            return cls(faiss.deserialize_index(np.frombuffer(path.read_bytes(), np.uint8)))
        except (OSError, RuntimeError) as error:
            raise StoreCorrupt(f"{path} cannot be opened: {error}") from error

    def to_bytes(self) -> memoryview:
        """Return the coder as the content of a FAISS index file."""
        content: memoryview = faiss.serialize_index(self._index).data
        return content

    def encode(self, vectors: Vectors) -> Encoded:
        """Return the content of a part's file: uint8 (n, code size), as FAISS' ``sa_encode``.

        The error is the mean squared distance to the centre of the list a vector falls into.
        """
        codes = [np.empty((0, self._index.sa_code_size()), np.uint8)]
        error, chain = 0.0, _transforms(self._index)
        for start in range(0, len(vectors), BLOCK):
            block = np.ascontiguousarray(vectors[start : start + BLOCK])
            codes.append(self._index.sa_encode(block))
            squared, _ = self._inverted.quantizer.search(_transformed(chain, block), 1)
            error += float(squared.sum())
        file = BytesIO()
        np.save(file, np.concatenate(codes), allow_pickle=False)
        return Encoded(file.getbuffer(), error / max(len(vectors), 1))

    def filled(self, files: Sequence[Path], vectors: MappedVectors) -> faiss.Index:
        """Return the index with the codes of all rows that count, under their row numbers."""
        for path, part, start in zip(files, vectors.parts, vectors.starts, strict=False):
            try:
                codes = np.load(path, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise StoreCorrupt(f"{path} cannot be read: {error}") from error
            expected = (len(part.ids), self._index.sa_code_size())
            if codes.dtype != np.uint8 or codes.shape != expected:
                raise StoreCorrupt(f"{path} does not hold the codes of {len(part.ids)} vectors.")
            rows = np.arange(start, start + len(part.alive))
            try:
                self._inverted.add_sa_codes(np.ascontiguousarray(codes[part.alive]), rows)
            except RuntimeError as error:  # a list number that does not exist
                raise StoreCorrupt(f"{path} is damaged: {error}") from error
        self._index.ntotal = self._inverted.ntotal
        return self._index


class ApproximateIndex:
    """An inverted-file index whose candidates are ranked by their exact distances."""

    def __init__(self, coder: ApproximateCoder, files: Sequence[Path], exact: ExactIndex) -> None:
        self._index = coder.filled(files, exact.vectors)
        self._inverted = faiss.extract_index_ivf(self._index)
        self._exact = exact

    @property
    def lists(self) -> int:
        """How many inverted lists there are."""
        return int(self._inverted.nlist)

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: Ids | None = None,
        explain: list[Stage] | None = None,
        nprobe: int | None = None,
    ) -> tuple[Distances, Ids]:
        """Find about the ``k`` nearest; see :class:`~indexer.vector_index.base.VectorIndex`.

        Every distance is exact; a neighbour is missed if none of the visited lists holds it, or if
        its code makes it look far. More lists than ``nprobe`` are visited only where those hold
        fewer than ``k`` images.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        vectors = self._exact.vectors
        rows = None if allowed is None else vectors.rows_among(allowed)
        possible = len(vectors) if rows is None else len(rows)
        wanted = max(k * CANDIDATES_PER_RESULT, MIN_CANDIDATES)
        if possible <= wanted:
            return self._exact.search(queries, k, allowed=allowed, explain=explain)
        found = self._proposed(queries, k, wanted, rows, nprobe or self.lists)
        if explain is not None:
            explain += [Stage("stored", len(vectors)), Stage("allowed", possible)]
            explain += [Stage("proposed", int((found[0] >= 0).sum()))]
        measure = self._exact.measure
        return nearest(
            self._exact.vectors.share(
                lambda n: measure(queries[n], np.sort(found[n][found[n] >= 0])),
                range(len(queries)),
            ),
            k,
        )

    def _proposed(
        self, queries: Vectors, k: int, wanted: int, rows: Rows | None, nprobe: int
    ) -> Rows:
        """Return rows (n, wanted) from as many lists as it takes to find ``k``; -1 where empty."""
        selector = None
        if rows is not None:
            allowed = np.zeros(len(self._exact.vectors), np.bool_)
            allowed[rows] = True
            bits = np.packbits(allowed, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
        while True:
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
            if isinstance(self._index, faiss.IndexPreTransform):
                parameters = faiss.SearchParametersPreTransform(index_params=parameters)
            found: Rows = self._index.search(queries, wanted, params=parameters)[1]
            if nprobe >= self.lists or ((found >= 0).sum(axis=1) >= k).all():
                return found
            nprobe = min(nprobe * 2, self.lists)


def _transforms(index: faiss.Index) -> list[faiss.VectorTransform]:
    if not isinstance(index, faiss.IndexPreTransform):
        return []
    return [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]


def _transformed(chain: list[faiss.VectorTransform], vectors: Vectors) -> Vectors:
    for transform in chain:
        vectors = transform.apply(vectors)
    return vectors


def _set_axes(transform: faiss.PCAMatrix, sample: Vectors) -> None:
    """Train a PCA our way: FAISS takes minutes for the same at 4096 dimensions."""
    axes = principal_axes(sample, transform.d_out)
    matrix = axes.directions.astype(np.float32)
    faiss.copy_array_to_vector(matrix.ravel(), transform.A)
    faiss.copy_array_to_vector(-(axes.directions @ axes.mean).astype(np.float32), transform.b)
    transform.is_orthonormal = transform.is_trained = True
