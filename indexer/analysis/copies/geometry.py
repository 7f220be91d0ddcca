"""Whether two files show the same picture: one is laid onto the other, and they are compared.

How it lies is guessed: onto the whole of the other, or as local features (SIFT) that look alike
say (RANSAC), each time mirrored as well. A guess counts if the pictures then agree nearly
everywhere that both show: the same motif taken twice, a logo that both have, a common border or a
texture does not. Only brightness and contrast may differ, and colours, since grey is compared.

OpenCV is needed, the extra ``geometry``, and only here.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from indexer.analysis.copies.overlay import Comparison, Grey, Matrix, compare, corners, resizing

SIDE = 384
"""Pictures are looked at with sides of at most so many pixels."""

FEATURES = 400
"""How many local features a picture has at most, the strongest."""

CONTRAST = 0.02
"""How faint a feature may be; half of OpenCV's value, for pictures that are dim or blurred."""

RATIO = 0.8
"""Two features match if none of the others is nearly as alike: Lowe's test."""

MATCHES = 8
"""A guess from features takes so many of them, which agree on how the picture lies."""

FAR = 2.0
"""How many pixels a feature may lie off."""

STRETCH = 1.6
"""The most that a picture may be stretched in one direction by a guess from features."""

PLAIN = 8.0
"""What deviates less, in grey levels, has one colour."""


cv2.setNumThreads(1)  # pictures are compared side by side, each by one thread


class Picture(NamedTuple):
    """What is kept of a picture to compare it."""

    grey: Grey
    """Of at most :data:`SIDE` pixels on each side."""
    points: NDArray[np.float32]
    """Where its features are, (n, 2)."""
    features: NDArray[np.uint8]
    """What they look like, (n, 128)."""

    @classmethod
    def of(cls, grey: Grey) -> "Picture":
        """Find the features of a grey picture."""
        sift = cv2.SIFT_create(FEATURES, 3, CONTRAST, 10, 1.6, cv2.CV_8U)
        found, features = sift.detectAndCompute(grey, None)
        points = np.array([one.pt for one in found], np.float32).reshape(-1, 2)
        if features is None:
            features = np.empty((0, 128), np.uint8)
        return cls(grey, points[:FEATURES], features[:FEATURES])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.grey.shape[1], self.grey.shape[0]

    def mirrored(self) -> "Picture":
        """Return the mirrored picture, with the features that it would have."""
        points = self.points.copy()
        points[:, 0] = self.grey.shape[1] - 1 - points[:, 0]
        # A feature is 4 x 4 places of 8 directions each, turned to its own main direction: of its
        # mirror image, the rows of places are reversed and the directions counted backwards.
        parts = self.features.reshape(-1, 4, 4, 8)[:, ::-1][..., _BACKWARDS]
        return Picture(
            np.ascontiguousarray(self.grey[:, ::-1]),
            points,
            np.ascontiguousarray(parts.reshape(-1, 128)),
        )


_BACKWARDS = -np.arange(8) % 8


class Fit(NamedTuple):
    """How the second picture lies on the first, of which it is a copy."""

    is_mirrored: bool
    scale: float
    """How long a side of the first is in the second, in sides of the second."""
    angle: float
    """By how many degrees the second is turned, -180 to 180."""
    stretch: float
    """How much more the second was scaled in one direction than in the other, 1 or more."""
    shares: tuple[float, float]
    """Which share of each picture the other one shows."""
    brighter: float
    """By how many grey levels the second is brighter where both show the same."""
    are_framed: tuple[bool, bool]
    """Of each, whether it is of one colour where it shows what the other one does not."""
    is_equal: bool
    """Whether the grey pictures are the same to the last bit."""


def fit(first: Picture, second: Picture) -> Fit | None:
    """Return how the second picture lies on the first, None if they are not the same."""
    for other, is_mirrored in ((second, False), (second.mirrored(), True)):
        for guess in _guesses(first, other):
            if comparison := compare(first.grey, other.grey, guess):
                return _fit(first, other, guess, comparison, is_mirrored=is_mirrored)
    return None


def _guesses(first: Picture, second: Picture) -> Iterator[Matrix]:
    """Yield maps from the first picture to the second, in pixels."""
    scale = np.array(second.size) / np.array(first.size)
    if scale.max() <= STRETCH * scale.min():
        yield resizing(first.size, second.size)
    if min(len(first.points), len(second.points)) < MATCHES:
        return
    ours, theirs = _matches(first.features, second.features)
    if len(ours) < MATCHES:
        return
    matrix, inliers = cv2.estimateAffine2D(
        first.points[ours],
        second.points[theirs],
        method=cv2.RANSAC,  # its random numbers always begin with the same
        ransacReprojThreshold=FAR,
    )
    if matrix is None or inliers.sum() < MATCHES:
        return
    large, small = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if np.linalg.det(matrix[:, :2]) > 0 and large <= STRETCH * small:
        yield matrix


def _matches(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which features of one picture are like which of another one."""
    a, b = (one.astype(np.float32) for one in (first, second))
    a, b = (one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-9) for one in (a, b))
    cosines = cv2.gemm(a, b, 1, None, 0, flags=cv2.GEMM_2_T)
    ours, theirs = np.arange(len(a)), cosines.argmax(axis=1)
    best = cosines[ours, theirs]
    cosines[ours, theirs] = -1
    clear = 1 - best < RATIO**2 * (1 - cosines.max(axis=1))  # of squared distances
    return ours[clear], theirs[clear]


def _fit(
    first: Picture, second: Picture, matrix: Matrix, found: Comparison, *, is_mirrored: bool
) -> Fit:
    """Put together how two pictures lie on each other."""
    (a, b), (c, d) = matrix[:, :2]
    large, small = np.linalg.svd(matrix[:, :2], compute_uv=False)
    sizes = np.prod(first.size) / np.prod(second.size)
    return Fit(
        is_mirrored=is_mirrored,
        scale=float(np.sqrt(large * small * sizes)),
        angle=float(np.degrees(np.arctan2(c - b, a + d))),
        stretch=float(large / small),
        shares=found.shares,
        brighter=found.brighter,
        are_framed=(
            _is_framed(first, second, cv2.invertAffineTransform(matrix)),
            _is_framed(second, first, matrix),
        ),
        is_equal=np.array_equal(first.grey, second.grey),
    )


def _is_framed(picture: Picture, other: Picture, onto: Matrix) -> bool:
    """Tell whether a picture has one colour where the other, mapped onto it, does not lie."""
    outside = np.ones_like(picture.grey)
    laid = cv2.transform(corners(other.size)[None], onto)[0]
    cv2.fillConvexPoly(outside, np.round(laid).astype(np.int32), 0)
    outside = cv2.erode(outside, np.ones((5, 5), np.uint8), borderValue=1)
    levels = picture.grey[outside > 0]
    return len(levels) > 0 and float(levels.std()) <= PLAIN
