"""From a query to an answer: queries, the searcher and its answers."""

from indexer.encoders import EncoderSpec
from indexer.images import Box, decoded, pixels, read_file, thumbnail
from indexer.search.answers import (
    Answer,
    Distribution,
    Hit,
    ImageFile,
    IndexInfo,
    ListedImages,
    facets_to_dict,
)
from indexer.search.backends import Backend, open_backend
from indexer.search.batching import Batcher
from indexer.search.collection import MARKED_VALUES, Collection
from indexer.search.filters import (
    MAX_CLAUSES,
    MAX_FACETS,
    equal_clause,
    name_text,
    parse_filter,
    parse_names,
)
from indexer.search.image_sources import file_of
from indexer.search.queries import Allowed, Example, Query, Selection
from indexer.search.scale import Scale
from indexer.search.searcher import Searcher
from indexer.search.why import Explanation
from indexer.search.words import WordMatches
from indexer.store import (
    OWN_FIELDS,
    BuildProgress,
    Counts,
    Facet,
    Field,
    ImageRow,
    PublishedIdentity,
    build_progress,
)
from indexer.vector_index import Projection, Stage
from indexer.vector_index.promise import Promise

__all__ = [
    "MARKED_VALUES",
    "MAX_CLAUSES",
    "MAX_FACETS",
    "OWN_FIELDS",
    "Allowed",
    "Answer",
    "Backend",
    "Batcher",
    "Box",
    "BuildProgress",
    "Collection",
    "Counts",
    "Distribution",
    "EncoderSpec",
    "Example",
    "Explanation",
    "Facet",
    "Field",
    "Hit",
    "ImageFile",
    "ImageRow",
    "IndexInfo",
    "ListedImages",
    "Projection",
    "Promise",
    "PublishedIdentity",
    "Query",
    "Scale",
    "Searcher",
    "Selection",
    "Stage",
    "WordMatches",
    "build_progress",
    "decoded",
    "equal_clause",
    "facets_to_dict",
    "file_of",
    "name_text",
    "open_backend",
    "parse_filter",
    "parse_names",
    "pixels",
    "read_file",
    "thumbnail",
]
