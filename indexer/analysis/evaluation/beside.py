"""Stores of the same images side by side: their encoders, layers or precisions differ."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexer.analysis.evaluation.rankings import Ids, Measured, Rankings, measure_all
from indexer.analysis.evaluation.results import Beside
from indexer.analysis.evaluation.scoring import differences, own_difference, own_precision, scores
from indexer.analysis.labels import Labels
from indexer.errors import InvalidQuery, NoPublishedIndex
from indexer.store import Store, Version
from indexer.vector_index.base import Rows
from indexer.vector_index.opened import map_vectors

HINT = "Stores to compare hold the same images: index them there, with another encoder or layer."


class SameImages:
    """The images that the first store and all stores beside it have, by their content.

    Of files with equal content as many count as each store has. Raises
    :class:`~indexer.errors.InvalidQuery` if there are none, and
    :class:`~indexer.errors.NoPublishedIndex`.
    """

    def __init__(self, first: Version, beside: Sequence[Path]) -> None:
        self._folders = beside
        self._others = [open_beside(folder) for folder in beside]
        places = [_by_content(version) for version in (first, *self._others)]
        known = [content for content in places[0] if all(content in one for one in places[1:])]
        if not known:
            raise InvalidQuery(
                f"No image of the index is in {', '.join(map(str, beside))} as well, by its "
                "content.",
                HINT,
            )
        self.ids, *self._ids = (
            np.array([one[content] for content in known], np.int64) for one in places
        )
        """Their ids in the first store, ascending."""
        self.only = [len(one) - len(known) for one in places]
        """How many others each store has."""

    def compare(self, measured: Measured, labels: Labels, searched: Ids, k: int) -> list[Beside]:
        """Measure in the other stores what was ``measured`` in the first, for the same images."""
        return [
            self._compare(number, measured, labels, searched, k)
            for number in range(len(self._others))
        ]

    def _compare(
        self, number: int, first: Measured, labels: Labels, searched: Ids, k: int
    ) -> Beside:
        vectors, own = map_vectors(self._others[number]), self._ids[number]

        def rows_of(ids: Ids) -> Rows:
            return vectors.rows(own[np.searchsorted(self.ids, ids)])

        rankings = Rankings(vectors, labels, searched, rows_of)
        measured = measure_all(rankings, labels, first.asked.tolist(), k)
        precision, _ = own_precision(measured)
        return Beside(
            store=self._folders[number].name,
            version=self._others[number].id,
            encoder=self._others[number].manifest.encoder,
            only=self.only[number + 1],
            scores=scores(measured, k),
            differences=differences(measured, first),
            own=precision,
            own_difference=own_difference(measured, first),
        )


def open_beside(folder: Path) -> Version:
    """Open the published version of a store beside the first. Raises NoPublishedIndex."""
    try:
        return Store(folder).open_published()
    except NoPublishedIndex as error:
        raise NoPublishedIndex(error.message, HINT) from None


def _by_content(version: Version) -> dict[tuple[str, int], int]:
    """Return the ids of images by their content and how many before them have the same."""
    count, found = Counter[str](), {}
    for image_id, sha256 in version.catalogue.contents():
        found[sha256, count[sha256]] = image_id
        count[sha256] += 1
    return found
