"""Parquet files with the bytes of images, as Hugging Face's ``datasets`` writes them."""

from indexer.datasets.parquet.dataset import ParquetShards, require_library

__all__ = ["ParquetShards", "require_library"]
