"""Copies of an index in object storage: push the published version there, pull it elsewhere."""

from indexer.transfer.pull import Pulled, pull
from indexer.transfer.push import Pushed, push

__all__ = ["Pulled", "Pushed", "pull", "push"]
