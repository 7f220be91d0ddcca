"""Executors, which run the preparation of images."""

from indexer.executors.local import LocalExecutor

__all__ = ["LocalExecutor"]
