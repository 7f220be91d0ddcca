"""Tables that describe the images of any dataset: CSV, JSON Lines and Parquet."""

from indexer.datasets.tables.described import Described
from indexer.datasets.tables.reading import require_table

__all__ = ["Described", "require_table"]
