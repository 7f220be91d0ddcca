"""Executors, which run tasks beside the thread that uses their results."""

from indexer.executors.background import Background
from indexer.executors.base import Failure, Worker, untimed
from indexer.executors.local import FEW_CORES, LocalExecutor

__all__ = ["FEW_CORES", "Background", "Failure", "LocalExecutor", "Worker", "untimed"]
