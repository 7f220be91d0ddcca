"""Why two images are similar: which parts of their pictures make it."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexer.search.query_encoder import Pixels, QueryEncoder

Method = Literal["contributions", "occlusion"]
Grid = NDArray[np.float64]
"""A number for each cell of a grid over a picture, (rows, columns), from the upper left."""

CELLS = 7
"""Rows and columns of the grid whose cells are covered one by one, as the networks' own has."""

KEPT = 1000
"""How many explanations are kept."""

MEANINGS: dict[Method, str] = {
    "contributions": (
        "The cells of each picture add up to the cosine similarity, exactly. A bright cell shows "
        "much of what the encoder sees anywhere in the other picture. It does not tell which part "
        "of the other picture it is like, and the encoder sees the surroundings of a cell, too."
    ),
    "occlusion": (
        "Each cell was covered by itself, in the mean colour of the picture: the brighter it is, "
        "the more the cosine similarity fell. The cells do not add up to it. A thing that several "
        "cells show may stay dark, since the others still show it, and covering a cell makes edges "
        "of its own."
    ),
}
"""What a heat map shows and what not, in sentences."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What each part of two pictures does for their cosine similarity."""

    method: Method
    cosine: float
    first: Grid
    second: Grid

    @property
    def distance(self) -> float:
        """The Euclidean distance that belongs to the cosine similarity."""
        return float(np.sqrt(max(2 - 2 * self.cosine, 0)))

    @property
    def meaning(self) -> str:
        """What the grids show and what not, in sentences."""
        return MEANINGS[self.method]

    def turned(self) -> "Explanation":
        """Return the same with the pictures exchanged."""
        return replace(self, first=self.second, second=self.first)

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready values, named as in the HTTP API."""
        return {
            "method": self.method,
            "cosine": self.cosine,
            "distance": self.distance,
            "first": self.first.tolist(),
            "second": self.second.tolist(),
            "meaning": self.meaning,
        }


class Explanations:
    """The last :data:`KEPT` explanations, by the two images' contents. Safe between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, bool], Explanation] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, first: str, second: str, *, by_covering: bool) -> Explanation | None:
        """Return the explanation of two contents, in either order, if it is kept."""
        with self._lock:
            for one, is_turned in (((first, second), False), ((second, first), True)):
                if found := self._kept.get((*one, by_covering)):
                    self._kept.move_to_end((*one, by_covering))
                    return found.turned() if is_turned else found
        return None

    def keep(self, first: str, second: str, explanation: Explanation, *, by_covering: bool) -> None:
        """Keep an explanation; forget the one that was asked for least recently."""
        with self._lock:
            self._kept[first, second, by_covering] = explanation
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)


def explain(
    encoder: QueryEncoder, first: Pixels, second: Pixels, *, by_covering: bool = False
) -> Explanation:
    """Explain the similarity of two images, uint8 (224, 224, 3).

    If the features are means over a grid, it is divided among the cells of each picture. Else, or
    ``by_covering``, each cell is covered: as much work as encoding a hundred images. Raises what
    :meth:`QueryEncoder.encode` raises, and :class:`~indexer.errors.InvalidQuery` for a feature that
    is not finite.
    """
    cells = None if by_covering else encoder.cells([first, second])
    if cells is None:
        return by_occlusion(encoder, first, second)
    return by_contributions(cells.astype(np.float64))


def by_contributions(cells: NDArray[np.float64]) -> Explanation:
    """Divide the cosine of two means of cells, (2, rows, columns, dim), among the cells.

    With the mean f of cells a, and g of the others, it is the sum of a·g / (n |f| |g|) over the n
    cells of either picture.
    """
    means = cells.mean(axis=(1, 2))
    norms = np.linalg.norm(means, axis=1)
    norms[norms == 0] = 1
    count = cells.shape[1] * cells.shape[2]
    first, second = (cells[n] @ means[1 - n] / (count * norms.prod()) for n in (0, 1))
    return Explanation("contributions", float(first.sum()), first, second)


def by_occlusion(encoder: QueryEncoder, first: Pixels, second: Pixels) -> Explanation:
    """Cover each cell of either picture; return by how much the cosine falls."""
    whole = _encoded(encoder, [first, second])
    cosine = float(whole[0] @ whole[1])
    drops = [
        cosine - _encoded(encoder, covered_each(image)) @ other
        for image, other in ((first, whole[1]), (second, whole[0]))
    ]
    grids = [drop.reshape(CELLS, CELLS) for drop in drops]
    return Explanation("occlusion", cosine, grids[0], grids[1])


def covered_each(image: Pixels) -> list[Pixels]:
    """Return an image with each cell covered in turn, by row."""
    return [covered(image, [number]) for number in range(CELLS * CELLS)]


def covered(image: Pixels, numbers: "list[int] | NDArray[np.int64]") -> Pixels:
    """Return an image, uint8 (h, w, 3), with some cells in its mean colour.

    They are numbered by row.
    """
    height, width = image.shape[0] // CELLS, image.shape[1] // CELLS
    copy, colour = image.copy(), image.mean(axis=(0, 1)).round().astype(np.uint8)
    for number in numbers:
        top, left = (int(place) for place in divmod(int(number), CELLS))
        copy[top * height : (top + 1) * height, left * width : (left + 1) * width] = colour
    return copy


def _encoded(encoder: QueryEncoder, images: list[Pixels]) -> NDArray[np.float64]:
    """Return the features of images, (n, dim). Raises the error of one that has none."""
    vectors = []
    for found in encoder.encode(images):
        if isinstance(found, Exception):
            raise found
        vectors.append(found)
    return np.asarray(vectors, np.float64)
