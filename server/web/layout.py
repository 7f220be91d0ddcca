"""What the templates draw: aspect ratios, boxes, how similar results are, and histograms.

The Content-Security-Policy forbids style attributes, so proportions are CSS classes and SVG.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from indexer.search import Distribution, Hit, ImageRow, Scale, file_of, name_text
from server.api.search_answers import file_url, thumbnail_url

MIN_ASPECT = 0.75
ASPECT_STEP = 1.05
ASPECT_CLASSES = 25
"""Class ``a<n>`` of ``grid.css`` has the aspect ratio 0.75 * 1.05^n, from 0.75 to 2.42.

What is taller or wider is cut off in rows, where it would have no height or a row of its own.
"""

SHOWN_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
"""The formats that browsers show; of others they get a large thumbnail."""

MAX_DISTANCE = 2.0
"""The distance of opposite vectors: there is no larger one."""

STEPS = 100
"""For how many distances the slider says how many pairs are farther; between them is a line."""

PLOT_WIDTH, PLOT_HEIGHT = 400.0, 90.0


class Rectangle(NamedTuple):
    """A bar of a plot in its units, or a box in pixels of its picture; ``y`` points down."""

    x: float
    y: float
    width: float
    height: float


class Plot(NamedTuple):
    """A histogram of distances, and the x coordinate of one distance (``marker``), if any."""

    width: float
    height: float
    bars: list[Rectangle]
    marker: float | None
    max_distance: float


class Slider(NamedTuple):
    """A slider of distances, and the histogram behind it.

    Scripts narrow it to the distances that there are, from ``least`` to ``most``. Without them it
    has all, as :data:`MAX_DISTANCE` means no limit.
    """

    least: float
    most: float
    value: float
    plot: Plot
    scale: Scale

    @property
    def farther(self) -> str:
        """How many percent of all pairs are farther than each of :data:`STEPS` distances."""
        steps = (MAX_DISTANCE * step / STEPS for step in range(STEPS + 1))
        return " ".join(f"{_farther(self.scale, distance):.5g}" for distance in steps)

    def view(self, least: float, most: float) -> str:
        """Return the part of the histogram between two distances, as SVG's ``viewBox``."""
        scale = self.plot.width / self.plot.max_distance
        width = max(most - least, 0.01) * scale
        return f"{least * scale:.1f} 0 {width:.1f} {self.plot.height:g}"


def aspect_class(image: ImageRow) -> str:
    """Return the CSS class with the nearest aspect ratio, within 2.5 % of those that rows show."""
    ratio = (image.width or 1) / (image.height or 1)
    step = round(math.log(ratio / MIN_ASPECT, ASPECT_STEP))
    return f"a{min(max(step, 0), ASPECT_CLASSES - 1)}"


def picture_url(image: ImageRow) -> str:
    """Return the URL path of what browsers can show of an image, or of a box's picture."""
    if image.format in SHOWN_FORMATS:
        return file_url(image)
    return f"{thumbnail_url(image)}&side=2048&whole=true"


def rectangle(image: ImageRow) -> Rectangle:
    """Return what an image shows of its picture in pixels: all of it, or its box."""
    width, height = image.width or 1, image.height or 1
    if image.box is None:
        return Rectangle(0, 0, width, height)
    x, y, wide, high = image.box
    x, wide = round(x * width, 1), max(round(wide * width, 1), 1)
    return Rectangle(x, round(y * height, 1), wide, max(round(high * height, 1), 1))


def on_top(boxes: Sequence[ImageRow]) -> list[ImageRow]:
    """Return boxes of one picture in the order in which to draw them: small ones come last."""
    shares = {row.id: row.box.width * row.box.height for row in boxes if row.box}
    return sorted(boxes, key=lambda row: shares[row.id], reverse=True)


def boxes_on(image: ImageRow, hit: Hit | None) -> list[ImageRow]:
    """Return a box, and those that fold under it in the same picture; nothing for an image."""
    if image.box is None:
        return []
    folded = [other.image for other in hit.duplicates] if hit else []
    return on_top([image, *(row for row in folded if file_of(row) == file_of(image))])


def similarity(distance: float) -> float:
    """Return how similar two images at a distance are, in percent: their cosine similarity.

    Features of these encoders have no negative components, so that it is at least 0.
    """
    return max(0.0, 100 * (1 - distance**2 / 2))


def without_own(hits: Sequence[Hit], query_ids: Sequence[int]) -> list[Hit]:
    """Return the hits but the images of the query, which the page shows beside them.

    The nearest of an image's near-duplicates takes its place, and the others stay below it.
    """
    others = []
    for hit in hits:
        together = [one for one in (hit, *hit.duplicates) if one.image.id not in query_ids]
        if together:
            first, *rest = together
            others.append(replace(first, duplicates=tuple(rest)))
    return others


def copies_and_others(
    hits: Sequence[Hit], image_id: int, near: float
) -> tuple[list[Hit], list[Hit]]:
    """Divide the neighbours of an image into those within ``near``, its copies, and the others."""
    hits = [hit for hit in hits if hit.image.id != image_id]
    copies = [hit for hit in hits if hit.distance <= near]
    return copies, hits[len(copies) :]


def _farther(scale: Scale, distance: float) -> float:
    return 100 * (1 - (scale.share_within(distance) or 0))


def nearness(scale: Scale, distance: float) -> str:
    """Return in words how near a distance is, of all pairs of images; controls.js does, too."""
    farther = _farther(scale, distance)
    if farther < 1:
        return "farther than nearly all pairs"
    if farther > 99.99:
        return "nearer than over 99.99 % of all pairs"
    return f"nearer than {farther:{'.0f' if farther < 99 else '.2f'}} % of all pairs"


def alikeness(scale: Scale, distance: float) -> str:
    """Return in words how many pairs at a distance share a label; empty if that is not known."""
    share = scale.share_alike(distance)
    if share is None or scale.field is None:
        return ""
    return f"{100 * share:.0f} % of the pairs at this distance share their {name_text(scale.field)}"


def slider(
    distribution: Distribution, hits: Sequence[Hit], threshold: float | None, scale: Scale
) -> Slider:
    """Return the range of distances to choose from: from the nearest hit to the farthest image."""
    nearest = hits[0].distance if hits else 0.0
    farthest = distribution.edges[-1]
    least, most = math.floor(100 * nearest) / 100, math.ceil(100 * farthest) / 100
    if threshold is not None:
        least, most = min(least, threshold), max(most, threshold)
    value = MAX_DISTANCE if threshold is None else threshold
    return Slider(least, most, value, plot(distribution, None), scale)


def plot(distribution: Distribution, distance: float | None) -> Plot:
    """Return the histogram scaled to the plot, with a marker at ``distance`` if it is given."""
    max_distance = max(distribution.edges[-1], distance or 0)
    scale = PLOT_WIDTH / max_distance
    max_count = max(*distribution.counts, 1)
    bars = []
    for left, right, count in zip(
        distribution.edges, distribution.edges[1:], distribution.counts, strict=False
    ):
        height = round(PLOT_HEIGHT * count / max_count, 1)
        width = round((right - left) * scale - 1, 1)
        bars.append(Rectangle(round(left * scale, 1), PLOT_HEIGHT - height, width, height))
    marker = None if distance is None else round(distance * scale, 1)
    return Plot(PLOT_WIDTH, PLOT_HEIGHT, bars, marker, max_distance)
