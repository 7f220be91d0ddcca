"""Copies of an index in object storage: push the published version there, pull it elsewhere.

Nodes of a cluster fetch the parts that they search.
"""

from indexer.transfer.part import PulledParts
from indexer.transfer.pull import Pulled, pull
from indexer.transfer.push import Pushed, push

__all__ = ["Pulled", "PulledParts", "Pushed", "pull", "push"]
