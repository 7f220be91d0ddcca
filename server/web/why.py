"""The page that shows which parts of two pictures make them similar."""

from typing import NamedTuple

import numpy as np
from flask import Blueprint, request

from indexer.errors import LookalikeError
from indexer.search import Explanation, ImageRow
from server.admission.capacity import encoding_slot
from server.current_index import current_index
from server.web.page_state import PageState
from server.web.pages import error_page, render

blueprint = Blueprint("why", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

COVER = "cover"
"""The field of the address that asks to cover each part."""

DARKEST = 0.85
"""How dark a cell becomes that makes nothing of the similarity."""

MOST = 0.2
"""The share of the cells that is told to make so much of the similarity."""


class Cell(NamedTuple):
    """A cell of a heat map: its place, and how dark it is, 0 to 1."""

    x: int
    y: int
    shade: float


class Picture(NamedTuple):
    """One of the two pictures, and the heat map over it."""

    image: ImageRow
    cells: list[Cell]
    rows: int
    columns: int
    summary: str


@blueprint.get("/images/<int:image_id>/why/<int:other_id>")
def why(image_id: int, other_id: int) -> str:
    """Show two images side by side, and over each which parts of it make the similarity."""
    searcher = current_index().searcher()
    state = PageState.parse(request.args, {})
    first, second = (searcher.collection.image(one) for one in (image_id, other_id))
    address = state.url(f"/images/{image_id}/why/{other_id}")
    with encoding_slot(searcher):
        found = searcher.why(image_id, other_id, by_covering=COVER in request.args)
    return render(
        "why.html",
        searcher,
        state=state,
        found=found,
        covering=f"{address}{'&' if '?' in address else '?'}{COVER}=yes",
        pictures=[picture(found, first, found.first), picture(found, second, found.second)],
    )


def picture(found: Explanation, image: ImageRow, grid: np.ndarray) -> Picture:
    """Return a picture with its heat map: the brightest cell of either picture is not darkened."""
    values = np.maximum(grid, 0)
    brightest = max(found.first.max(), found.second.max(), 1e-9)
    cells = [
        Cell(x, y, round(float(DARKEST * (1 - values[y, x] / brightest)), 2))
        for y, x in np.ndindex(*values.shape)
    ]
    rows, columns = values.shape
    return Picture(image, cells, rows, columns, summary(found, values))


def summary(found: Explanation, values: np.ndarray) -> str:
    """Return in a sentence how unequally the cells (rows, columns), at least 0, make it."""
    ranked = np.sort(values.ravel())[::-1]
    count = round(MOST * len(ranked))
    if found.method == "contributions":
        share = 100 * ranked[:count].sum() / (ranked.sum() or 1)
        return f"The {count} brightest of {len(ranked)} cells make {share:.0f} % of the similarity."
    return f"Covering the brightest of {len(ranked)} cells lowers the cosine by {ranked[0]:.3f}."
