"""What is near: the distance of similar images, and the pairs that are within it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.graph import Graph
from indexer.datasets import file_of_box
from indexer.errors import ConfigError
from indexer.search.scale import MAX_DISTANCE, Scale
from indexer.store import Version
from indexer.vector_index import MappedVectors


class Limit(NamedTuple):
    """How near two images are that are similar."""

    within: float
    """The largest distance."""
    is_suggested: bool
    """Whether it was chosen here."""
    median: float
    """The median distance of pairs of images that chance picks."""
    chance: float
    """The share of these pairs that are within."""

    @classmethod
    def of(cls, vectors: MappedVectors, within: float | None) -> "Limit":
        """Return the limit ``within``, by default a third of the median distance of two images.

        Raises ConfigError for a distance that cannot be.
        """
        if within is not None and not 0 <= within <= MAX_DISTANCE:
            raise ConfigError(f"--within is {within}; it can be 0 to {MAX_DISTANCE:g}.")
        scale = Scale.of(vectors)
        limit = scale.near if within is None else within
        chance = scale.share_within(limit) or 0.0
        return cls(limit, within is None, scale.median, chance)

    @property
    def note(self) -> str:
        """What the distance means, in sentences."""
        taken = ", of which a third was taken" if self.is_suggested else ""
        return (
            f"Similar images are within {self.within:.3f}. Two images that chance picks are "
            f"{self.median:.3f} apart in the median{taken}; {100 * self.chance:.3g} % of such "
            "pairs are within."
        )


def near_pairs(version: Version, graph: Graph, within: float) -> NDArray[np.int64]:
    """Return the pairs of neighbours within a distance, as positions in the graph (m, 2).

    Boxes in one picture, which may overlap, are no pair.
    """
    first, place = np.nonzero(_near(graph, within))
    pairs = np.stack([first, graph.neighbours[first, place]], axis=1)
    if version.manifest.dataset.items == "boxes":
        pairs = in_different_pictures(version, graph, pairs)
    return pairs


def crowded(graph: Graph, within: float) -> int:
    """Count the images all of whose neighbours are within: there may be more than the graph has."""
    if len(graph) <= graph.k + 1:
        return 0
    return int(_near(graph, within).all(axis=1).sum())


def crowded_notes(count: int) -> list[str]:
    """Return what to say of so many crowded images."""
    note = (
        f"All neighbours of {count:,} images in the graph are within this distance. If something "
        "is missing, make one with more: lookalike graph --k 200"
    )
    return [note] if count else []


def _near(graph: Graph, within: float) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = (graph.distances <= within) & (graph.neighbours >= 0)
    return near


def in_different_pictures(
    version: Version, graph: Graph, pairs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the pairs of boxes without those in one picture, which may overlap."""
    keys = version.catalogue.keys(graph.ids[np.unique(pairs)].tolist())
    picture = {image_id: file_of_box(key) for image_id, key in keys.items()}
    differ = [picture[a] != picture[b] for a, b in graph.ids[pairs].tolist()]
    return pairs[np.array(differ, np.bool_)]
