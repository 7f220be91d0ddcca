"""Tables that describe the images of any dataset: CSV, JSON Lines and Parquet."""

from indexer.datasets.tables.described import Described
from indexer.datasets.tables.reading import require_table
from indexer.datasets.tables.values import plain_values, usable

__all__ = ["Described", "plain_values", "require_table", "usable"]
