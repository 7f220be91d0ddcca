"""Executors, which run the preparation of images."""

from indexer.executors.local import LocalExecutor, untimed

__all__ = ["LocalExecutor", "untimed"]
