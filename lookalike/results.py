"""What a search from Python returns."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, overload

from indexer.errors import LookalikeError

MAX_ROWS = 50
"""Results a notebook shows: each carries its thumbnail."""


@dataclass(frozen=True, slots=True)
class Result:
    """One neighbour of a query.

    ``distance`` is the Euclidean distance between features of norm 1, 0 to 2, and ``cosine`` is
    ``1 - distance**2 / 2``. ``rank`` counts from 1. ``key`` is the image's path below its folder.
    """

    rank: int
    image_id: int
    key: str
    distance: float
    cosine: float
    metadata: Mapping[str, Any]
    box: Mapping[str, float] | None = None
    """Of a box: where it is in its picture, x, y, width and height as fractions; else None."""
    percentile: float | None = None
    """How many percent of the pairs of indexed images that chance picks are nearer."""
    share_alike: float | None = None
    """The share of the pairs at this distance that share a value of ``Results.label_field``."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, named as in the HTTP API; ``box`` is there for a box only."""
        values = {**asdict(self), "metadata": dict(self.metadata)}
        if self.box is None:
            del values["box"]
        return values


class Results(Sequence[Result]):
    """The neighbours of a query, nearest first. Notebooks show them as a table of thumbnails."""

    def __init__(
        self,
        results: Iterable[Result],
        thumbnail: Callable[[int], bytes],
        *,
        no_match: bool = False,
        label_field: str | None = None,
    ) -> None:
        self._results = tuple(results)
        self._thumbnail = thumbnail
        self.no_match = no_match
        """True if probably nothing matches the query, so far away is even the best result."""
        self.label_field = label_field
        """The field by whose values images are alike: the most telling one, if there is any."""

    @overload
    def __getitem__(self, number: int) -> Result: ...
    @overload
    def __getitem__(self, number: slice) -> "Results": ...
    def __getitem__(self, number: int | slice) -> "Result | Results":
        if isinstance(number, slice):
            return Results(
                self._results[number],
                self._thumbnail,
                no_match=self.no_match,
                label_field=self.label_field,
            )
        return self._results[number]

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        lines = (f"{result.rank:4}  {result.distance:.4f}  {result.key}" for result in self)
        return "\n".join((f"{len(self)} results", *lines))

    def to_list(self) -> list[dict[str, Any]]:
        """Return a dictionary for each result, as JSON-ready values named as in the HTTP API."""
        return [result.to_dict() for result in self]

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{result.rank}</td><td>{self._picture(result)}</td>"
            f"<td>{escape(result.key)}</td><td>{result.distance:.4f}</td></tr>"
            for result in self[:MAX_ROWS]
        )
        head = "<tr><th>rank</th><th>image</th><th>key</th><th>distance</th></tr>"
        left_out = len(self) - MAX_ROWS
        more = f"<p>{left_out} more results are not shown.</p>" if left_out > 0 else ""
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>{more}"

    def _picture(self, result: Result) -> str:
        try:
            content = base64.b64encode(self._thumbnail(result.image_id)).decode("ascii")
        except LookalikeError as error:  # the file has gone since
            return escape(error.message)
        return f'<img src="data:image/jpeg;base64,{content}" alt="{escape(result.key)}">'
