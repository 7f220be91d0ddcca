"""From a query to an answer: queries, the searcher and its answers."""

from indexer.encoders import EncoderSpec
from indexer.images import Box, pixels, read_file
from indexer.search.answers import Answer, Distribution, Hit, ImageFile, IndexInfo
from indexer.search.batching import Batcher
from indexer.search.collection import Collection
from indexer.search.image_sources import file_of
from indexer.search.queries import Allowed, Example, Query, Selection
from indexer.search.searcher import Searcher
from indexer.store import Counts, ImageRow, PublishedIdentity
from indexer.vector_index import Projection, Stage
from indexer.vector_index.promise import Promise

__all__ = [
    "Allowed",
    "Answer",
    "Batcher",
    "Box",
    "Collection",
    "Counts",
    "Distribution",
    "EncoderSpec",
    "Example",
    "Hit",
    "ImageFile",
    "ImageRow",
    "IndexInfo",
    "Projection",
    "Promise",
    "PublishedIdentity",
    "Query",
    "Searcher",
    "Selection",
    "Stage",
    "file_of",
    "pixels",
    "read_file",
]
