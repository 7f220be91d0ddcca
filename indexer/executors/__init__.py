"""Where extraction runs."""

from indexer.executors.local import LocalExecutor

__all__ = ["LocalExecutor"]
