"""Which images are alike: those that share a value of a field, such as their folder."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InvalidQuery
from indexer.search.filters import fields_named
from indexer.store import MetadataIndex

Ids = NDArray[np.int64]


class Labels:
    """The labels of images: the values of a field, of which an image may have several.

    Without a field it is the folder. Raises :class:`~indexer.errors.InvalidQuery` if no image has
    the field, or if all lie in one folder, and :class:`~indexer.errors.NoMetadataIndex`.
    """

    def __init__(self, index: MetadataIndex, field: str | None) -> None:
        self.field = field or "folder"
        names = {one.name for one in fields_named(index, self.field)}
        members = index.members(names)
        if field is None and len(members) == 1:
            known = ", ".join(dict.fromkeys(one.name for one in index.fields))
            raise InvalidQuery(
                "All images lie in one folder, which does not tell which of them are alike.",
                f"Name the field that does: --by FIELD. Fields: {known}.",
            )
        self.names = [str(value) for value, _ in members]
        """The labels, as texts."""
        self._members = [ids for _, ids in members]
        numbers = np.repeat(np.arange(len(members)), [len(ids) for ids in self._members])
        ids = np.concatenate([np.empty(0, np.int64), *self._members])
        order = np.argsort(ids, kind="stable")
        self._ids, self._numbers = ids[order], numbers[order]

    @property
    def labelled(self) -> Ids:
        """The images that have a label, ascending."""
        return np.unique(self._ids)

    def of(self, image_id: int) -> Sequence[int]:
        """Return the numbers of an image's labels."""
        start, end = np.searchsorted(self._ids, [image_id, image_id + 1])
        numbers: list[int] = self._numbers[start:end].tolist()
        return numbers

    def pairs(self, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all pairs of a position in ``ids``, ascending, and the number of a label it has.

        They are ascending by position.
        """
        known = np.isin(self._ids, ids)
        return np.searchsorted(ids, self._ids[known]), self._numbers[known]

    def shared(self, image_id: int, among: Ids) -> NDArray[np.bool_]:
        """Tell which of an image's m labels each of ``among`` (n,) has, (m, n)."""
        members = [self._members[number] for number in self.of(image_id)]
        has = [np.isin(among, one, assume_unique=True) for one in members]
        return np.array(has, np.bool_).reshape(len(members), len(among))

    def members(self, number: int) -> Ids:
        """Return the images that have a label, ascending."""
        return self._members[number]

    def count(self, number: int, among: Ids) -> int:
        """Return how many of some images have a label."""
        return int(np.isin(among, self._members[number], assume_unique=True).sum())
