"""The rows of a table, whatever its format."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

KEY_COLUMNS = ("key", "path", "file_name", "file")
"""How the column is called that says which image a row describes: the first of them that is there,
in small or capital letters."""

BAD_ROWS = "table rows that cannot be read"


class Row(NamedTuple):
    """What a table says of an image."""

    place: str
    """Where in the table it is, for messages."""
    path: str
    """The image; empty if the row does not say which."""
    values: dict[str, Any]
    """Its other columns, as JSON-ready values. None and empty text are no values."""


def key_column(names: Sequence[str]) -> str:
    """Return the name of the column with the paths of images.

    Raises :class:`ValueError`, which names the columns, if there is none, or two of one name.
    """
    ((most_frequent, count),) = Counter(names).most_common(1) or [("", 0)]
    if count > 1:
        raise ValueError(f"two of its columns are called {most_frequent}")
    found = {name.lower(): name for name in reversed(names)}
    for name in KEY_COLUMNS:
        if name in found:
            return found[name]
    raise ValueError(
        f"no column is called {', '.join(KEY_COLUMNS[:-1])} or {KEY_COLUMNS[-1]}; there are "
        f"{', '.join(names) or 'none'}"
    )
