"""What was done to a copy, in words: only what its picture and its file say for sure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from indexer.store import ImageRow

if TYPE_CHECKING:
    from indexer.analysis.copies.geometry import Fit

WHOLE = 0.98
"""A picture that shows so much of the other one shows all of it: a pixel or two may be missing."""

SCALED = 0.02
"""What is scaled by less is not."""

TURNED = 1.0
"""What is turned by fewer degrees is not."""

STRETCHED = 1.03
"""What is stretched by less is not: sides are rounded to whole pixels."""

BRIGHTER = 8.0
"""What is brighter by fewer grey levels is not: saving changes some."""

_PARTS = {1 / 2: "half the width", 1 / 3: "a third of the width", 1 / 4: "a quarter of the width"}


def changes(best: ImageRow, copy: ImageRow, fit: "Fit") -> list[str]:
    """Return how a copy differs from the best one, by how it lies on it."""
    words = [*_size(best, copy, fit), *_place(fit)]
    if abs(fit.brighter) >= BRIGHTER:
        words.append("brighter" if fit.brighter > 0 else "darker")
    if copy.format != best.format:
        words.append(f"saved as {copy.format}")
    elif not words:
        is_smaller = (copy.size or 0) < (best.size or 0)
        words.append("recompressed" if is_smaller and not fit.is_equal else "saved again")
    return words


def lacks_border(fit: "Fit") -> bool:
    """Tell whether the first picture has a border around what the second shows."""
    return fit.shares[0] < WHOLE and fit.are_framed[0]


def _size(best: ImageRow, copy: ImageRow, fit: "Fit") -> Iterator[str]:
    """Yield whether a copy was scaled."""
    areas = [(row.width or 1) * (row.height or 1) for row in (best, copy)]
    parts = [1 if row.box is None else row.box.width * row.box.height for row in (best, copy)]
    scale = fit.scale * np.sqrt(areas[1] * parts[1] / (areas[0] * parts[0]))
    if abs(scale - 1) > SCALED:
        is_whole = min(fit.shares) >= WHOLE
        near = [word for part, word in _PARTS.items() if abs(scale / part - 1) <= SCALED]
        yield near[0] if near and is_whole else f"scaled to {100 * scale:.0f} %"
    if fit.stretch >= STRETCHED:
        yield "stretched"


def _place(fit: "Fit") -> Iterator[str]:
    """Yield how a copy shows another part of the picture, or shows it the other way round."""
    if fit.is_mirrored:
        yield "mirrored"
    if abs(fit.angle) >= TURNED:
        yield f"turned by {abs(fit.angle):.0f}°"
    of_best, of_copy = fit.shares
    _, copy_is_framed = fit.are_framed
    if of_best < WHOLE:
        yield "without the border" if lacks_border(fit) else "cropped"
    if of_copy < WHOLE:
        yield "with a border" if copy_is_framed else "shows more"
