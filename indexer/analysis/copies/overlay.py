"""Whether two pictures agree where one lies on the other.

Blocks are compared one by one, by their correlation, so that brightness and contrast may differ,
but nothing may be elsewhere or missing.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

FRAME = 160
"""Pictures are compared with sides of at most so many pixels."""

BLOCKS = 8
"""They are compared in so many columns and rows of blocks, each by itself."""

FLAT = 3.0
"""Blocks with a smaller deviation, in grey levels, show nothing that could be compared."""

ALIKE = 0.8
"""The least correlation of blocks that agree."""

AGREEING = 0.95
"""The least share of blocks that agree. They count by how much they show: the deviation of the one
that shows more."""

LEAST_BLOCKS = 8
"""How many blocks have to show something; half as many of those that are not at the edge."""

LEAST_OVERLAP = 0.5
"""The least share of either picture that both show."""

INSIDE = 0.9
"""The least share of one of them: it lies in the other."""

BLUR = 1.0
"""How much both are blurred before, in pixels: a guess lies off by some tenths of one."""

_INSIDE = np.pad(np.ones((BLOCKS - 2, BLOCKS - 2), np.bool_), 1)

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]
"""An affine map, (2, 3)."""


class Comparison(NamedTuple):
    """What two pictures have in common where one lies on the other."""

    agreeing: float
    shares: tuple[float, float]
    brighter: float


def compare(first: Grey, second: Grey, matrix: Matrix) -> Comparison | None:
    """Compare two pictures block by block. None if they do not agree, or show too little."""
    if np.linalg.det(matrix[:, :2]) < 1:  # then the second has fewer pixels for the same
        found = _compare_laid(second, first, cv2.invertAffineTransform(matrix))
        return found and Comparison(found.agreeing, found.shares[::-1], -found.brighter)
    return _compare_laid(first, second, matrix)


def _compare_laid(below: Grey, above: Grey, matrix: Matrix) -> Comparison | None:
    """Compare two pictures where the one above has more pixels for the same."""
    height, width = below.shape
    share = min(1, FRAME / max(width, height))
    size = max(1, round(width * share)), max(1, round(height * share))
    below = cv2.resize(below, size, interpolation=cv2.INTER_AREA)
    onto = _combined(matrix, resizing(size, (width, height)))
    shares = _shares(size, (above.shape[1], above.shape[0]), onto)
    if min(shares) < LEAST_OVERLAP or max(shares) < INSIDE:
        return None
    above, onto = _shrunk(above, onto)
    inverse = cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(
        above, onto, size, flags=cv2.INTER_LINEAR | inverse, borderMode=cv2.BORDER_REPLICATE
    )
    inside = cv2.warpAffine(np.ones_like(above), onto, size, flags=cv2.INTER_NEAREST | inverse)
    inside = cv2.erode(inside, np.ones((5, 5), np.uint8), borderValue=1)
    return _agreement(below, laid, inside, shares)


def _agreement(
    below: Grey, above: Grey, inside: Grey, shares: tuple[float, float]
) -> Comparison | None:
    """Compare two pictures of one size where both show something."""
    x, y, width, height = cv2.boundingRect(inside)
    if min(width, height) < 2 * BLOCKS:
        return None
    part = slice(y, y + height), slice(x, x + width)
    mask = inside[part].astype(np.float32)
    a, b = (
        (cv2.GaussianBlur(one, (0, 0), BLUR)[part].astype(np.float32) - 128) * mask
        for one in (below, above)
    )
    grid = BLOCKS, BLOCKS
    count, mean_a, mean_b = cv2.split(
        cv2.resize(cv2.merge([mask, a, b]), grid, interpolation=cv2.INTER_AREA)
    )
    square_a, square_b, product = cv2.split(
        cv2.resize(cv2.merge([a * a, b * b, a * b]), grid, interpolation=cv2.INTER_AREA)
    )
    seen = count > 0.5
    count, mean_a, mean_b = count[seen], mean_a[seen], mean_b[seen]
    mean_a, mean_b = mean_a / count, mean_b / count
    deviation_a = np.sqrt(np.maximum(square_a[seen] / count - mean_a**2, 0))
    deviation_b = np.sqrt(np.maximum(square_b[seen] / count - mean_b**2, 0))
    covariance = product[seen] / count - mean_a * mean_b
    deviation = np.maximum(deviation_a, deviation_b)
    deviation[deviation < FLAT] = 0
    alike = covariance >= ALIKE * deviation_a * deviation_b
    agreeing = 1.0
    # Blocks at the edge may show a border that both have: those inside have to agree alone, too.
    for part, least in ((np.ones_like(alike), LEAST_BLOCKS), (_INSIDE[seen], LEAST_BLOCKS // 2)):
        if np.count_nonzero(deviation[part]) < least:
            return None
        agreeing = min(agreeing, float(deviation[part & alike].sum() / deviation[part].sum()))
    if agreeing < AGREEING:
        return None
    return Comparison(agreeing, shares, float((mean_b - mean_a).mean()))


def _combined(after: Matrix, before: Matrix) -> Matrix:
    """Return the map that does one after the other."""
    linear: Matrix = after[:, :2] @ before
    linear[:, 2] += after[:, 2]
    return linear


def resizing(old: tuple[int, int], new: tuple[int, int]) -> Matrix:
    """Return the map of pixels from a picture of one size to the same in another size."""
    scale = np.array(new) / np.array(old)
    return np.column_stack([np.diag(scale), (scale - 1) / 2])


def _shrunk(above: Grey, onto: Matrix) -> tuple[Grey, Matrix]:
    """Shrink a picture so that it has one pixel for each of those it is mapped from."""
    old = above.shape[1], above.shape[0]
    scale = np.maximum(np.linalg.norm(onto[:, :2], axis=1), 1)
    width, height = (max(1, round(side)) for side in np.array(old) / scale)
    small = cv2.resize(above, (width, height), interpolation=cv2.INTER_AREA)
    return small, _combined(resizing(old, (width, height)), onto)


def corners(size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the corners of a picture of some width and height, (4, 2)."""
    width, height = size
    points = [(0, 0), (width, 0), (width, height), (0, height)]
    return np.array(points, np.float32) - np.float32(0.5)


def _shares(below: tuple[int, int], above: tuple[int, int], onto: Matrix) -> tuple[float, float]:
    """Return which share of each of two pictures, given their sizes, the other one covers."""
    back = cv2.invertAffineTransform(onto)
    laid = cv2.transform(corners(above)[None], back)[0]
    area = abs(cv2.contourArea(laid))
    common, _ = cv2.intersectConvexConvex(corners(below), laid)
    return common / (below[0] * below[1]), common / max(area, 1e-9)
