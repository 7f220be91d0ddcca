"""Vectors to neighbours: exact search over segments, approximate search with exact distances."""

from indexer.vector_index.approximate import (
    ApproximateIndex,
    check_factory,
    code_size,
    write_approximate,
)
from indexer.vector_index.base import Part, VectorIndex
from indexer.vector_index.exact import ExactIndex, flat_file

__all__ = [
    "ApproximateIndex",
    "ExactIndex",
    "Part",
    "VectorIndex",
    "check_factory",
    "code_size",
    "flat_file",
    "write_approximate",
]
