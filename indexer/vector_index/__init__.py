"""Vectors to neighbours: exact search by proof, approximate search with measured recall."""

from indexer.vector_index.approximate import ApproximateIndex
from indexer.vector_index.automatic import choose_factory
from indexer.vector_index.base import Coder, Found, Part, SearchParameters, Stage, VectorIndex
from indexer.vector_index.exact import ExactIndex
from indexer.vector_index.factory import AUTO, code_size, resolve_factory
from indexer.vector_index.flat import (
    flat_file,
    id_mapped_file,
    merged_file,
    read_vectors,
)
from indexer.vector_index.inverted import ApproximateCoder
from indexer.vector_index.mapped import MappedVectors
from indexer.vector_index.projection import Projection, ProjectionCoder, StoredProjection
from indexer.vector_index.recall import measure_recall
from indexer.vector_index.shortlist import Shortlist
from indexer.vector_index.shortlist_codes import (
    SHORTLIST_FROM,
    ShortlistCoder,
    shortlist_bytes,
    shortlist_levels,
    shortlist_memory,
)

__all__ = [
    "AUTO",
    "SHORTLIST_FROM",
    "ApproximateCoder",
    "ApproximateIndex",
    "Coder",
    "ExactIndex",
    "Found",
    "MappedVectors",
    "Part",
    "Projection",
    "ProjectionCoder",
    "SearchParameters",
    "Shortlist",
    "ShortlistCoder",
    "Stage",
    "StoredProjection",
    "VectorIndex",
    "choose_factory",
    "code_size",
    "flat_file",
    "id_mapped_file",
    "measure_recall",
    "merged_file",
    "read_vectors",
    "resolve_factory",
    "shortlist_bytes",
    "shortlist_levels",
    "shortlist_memory",
]
