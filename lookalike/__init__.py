"""Lookalike from Python: build an image index, open it, search it.

>>> import lookalike
>>> index = lookalike.index("Pictures", encoder="efficientnet_lite0")
>>> for result in index.search("photo.jpg", k=10):
...     print(result.rank, result.key, result.distance)

Importing this package is quick: the libraries that do the work are imported when they are needed.
Every error it raises on purpose is a :class:`LookalikeError`.
"""

from indexer import __version__
from indexer.errors import LookalikeError
from lookalike.api import Index, index, open  # noqa: A004 -- lookalike.open, as in gzip.open
from lookalike.results import Result, Results

__all__ = ["Index", "LookalikeError", "Result", "Results", "__version__", "index", "open"]
