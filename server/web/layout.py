"""Geometry of the page: aspect ratios, bars and the plot, computed here, drawn by the templates.

The Content-Security-Policy allows no style attributes, so proportions become classes and SVG.
"""

import math
from typing import NamedTuple

from indexer.search import Distribution, ImageRow

NARROWEST = 0.4
ASPECT_STEP = 1.05
ASPECT_CLASSES = 44
"""Class ``a<n>`` of ``aspect.css`` has the aspect ratio 0.4 * 1.05^n, from 0.4 to 3.26."""

WIDEST_BAR = math.sqrt(2)
"""The distance that fills a bar: that of features with nothing in common."""

PLOT_WIDTH, PLOT_HEIGHT = 400.0, 90.0


class Rectangle(NamedTuple):
    """A bar of a plot, in its own units; ``y`` runs downwards."""

    x: float
    y: float
    width: float
    height: float


class Plot(NamedTuple):
    """A histogram of distances, and where one of them lies in it."""

    width: float
    height: float
    bars: list[Rectangle]
    marker: float | None
    reach: float


def aspect_class(image: ImageRow) -> str:
    """Return the class whose aspect ratio is within 2.5 % of the image's, or the nearest."""
    ratio = (image.width or 1) / (image.height or 1)
    step = round(math.log(ratio / NARROWEST, ASPECT_STEP))
    return f"a{min(max(step, 0), ASPECT_CLASSES - 1)}"


def distance_bar(distance: float) -> float:
    """Return how much of a bar a distance fills, in per cent."""
    return round(min(distance / WIDEST_BAR, 1) * 100, 1)


def plot(distribution: Distribution, distance: float | None) -> Plot:
    """Return the histogram's bars, the highest as high as the plot, and the distance's place."""
    reach = max(distribution.edges[-1], distance or 0)
    scale = PLOT_WIDTH / reach
    top = max(max(distribution.counts), 1)
    bars = []
    for left, right, count in zip(
        distribution.edges, distribution.edges[1:], distribution.counts, strict=False
    ):
        height = round(PLOT_HEIGHT * count / top, 1)
        width = round((right - left) * scale - 1, 1)
        bars.append(Rectangle(round(left * scale, 1), PLOT_HEIGHT - height, width, height))
    marker = None if distance is None else round(distance * scale, 1)
    return Plot(PLOT_WIDTH, PLOT_HEIGHT, bars, marker, reach)
