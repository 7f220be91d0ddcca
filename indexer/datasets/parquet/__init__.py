"""Parquet files with the bytes of images, as Hugging Face's ``datasets`` writes them."""

from indexer.datasets.parquet.dataset import ParquetShards

__all__ = ["ParquetShards"]
