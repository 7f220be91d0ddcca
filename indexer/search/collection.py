"""The images of one published version: their rows, files, vectors and distances."""

import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexer.config import DatasetConfig
from indexer.datasets import file_of_box, key_of_box
from indexer.errors import LookalikeError, UnknownImage
from indexer.images import crop, decoded, media_type, model_input, thumbnail
from indexer.search.answers import Distribution, ImageFile, ListedImages
from indexer.search.facets import telling_fields, values_of
from indexer.search.filters import (
    allowed_ids,
    equal_clause,
    fields_named,
    parse_filter,
    passing,
    require_fields,
)
from indexer.search.image_sources import ImageSources
from indexer.search.queries import Allowed, Selection, Vector, combined
from indexer.search.scale import Scale
from indexer.search.words import (
    CAMERA_NOTES,
    WordMatches,
    find_words,
    parse_words,
    searched_fields,
)
from indexer.store import Facet, Field, ImageRow, Value, Version
from indexer.vector_index import MappedVectors, Projection, StoredProjection
from indexer.vector_index.base import Ids, Rows

DISTRIBUTION_SAMPLE = 1000
"""How many images the distribution of distances is estimated from."""

BOXES_SHOWN = 200
"""How many boxes of one picture are shown."""

OVERVIEW_FIELDS = 4
"""How many fields are counted where nobody has asked for one."""

MARKED_VALUES = 8
"""How many values of a field are told apart on the map."""

HIDDEN = 255
"""The mark of an image that does not pass the filter."""

FILES_SAMPLE = 3
"""How many files are looked for to tell whether the images can be read."""


class Collection:
    """The images of one immutable published version, and their vectors. Safe between threads.

    Their files are read where ``dataset`` says they are, or else where the build found them.
    """

    def __init__(self, version: Version, vectors: MappedVectors, dataset: DatasetConfig) -> None:
        self._version = version
        self._vectors = vectors
        self._files = ImageSources(version.manifest.dataset, dataset)
        files = version.derived("map")
        self._projection = StoredProjection(files.parts if files else None, vectors)
        self._scale: Scale | None = None
        self._scaling = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def ids(self) -> Ids:
        """The ids of all images, int64 (n,), in the order of their vectors."""
        return self._vectors.ids

    def image(self, image_id: int) -> ImageRow:
        """Return an indexed image's row. Raises :class:`~indexer.errors.UnknownImage`."""
        known = -(2**63) <= image_id < 2**63  # what SQLite can hold
        row = self._version.catalogue.get(image_id) if known else None
        if row is None or row.status != "indexed":
            raise UnknownImage(
                f"No image of the index has the id {image_id}.",
                "Ids come from search results; they change when a file's content changes.",
            )
        return row

    def images(self, image_ids: Iterable[int]) -> dict[int, ImageRow]:
        """Return the rows of images by id; unknown ids are missing."""
        return self._version.catalogue.get_many(image_ids)

    def has(self, image_ids: Ids) -> NDArray[np.bool_]:
        """Tell which ids, int64 (n,), are those of indexed images."""
        there: NDArray[np.bool_] = self._vectors.has(image_ids)
        return there

    def keys(self, image_ids: Iterable[int]) -> dict[int, str]:
        """Return the keys of images by id; unknown ids are missing."""
        return self._version.catalogue.keys(image_ids)

    @property
    def has_boxes(self) -> bool:
        """Whether the images are boxes, of which several can lie in one picture."""
        return self._version.manifest.dataset.items == "boxes"

    def pictures(self, image_ids: Ids) -> Ids:
        """Return a number for each box, int64 (n,), which is that of its picture."""
        keys = self._version.catalogue.keys(image_ids)
        return np.array([hash(file_of_box(keys[i])) for i in image_ids.tolist()], np.int64)

    def boxes_beside(self, row: ImageRow) -> list[ImageRow]:
        """Return a box and others in its picture, up to :data:`BOXES_SHOWN`; none for an image."""
        if row.box is None:
            return []
        start = key_of_box(file_of_box(row.key), "")
        found = self._version.catalogue.with_prefix(start, limit=BOXES_SHOWN)
        return found if row in found else [row, *found[1:]]

    @property
    def fields(self) -> Sequence[Field]:
        """What the images can be filtered by; nothing if an older Lookalike has indexed them."""
        return self._version.catalogue.metadata.fields

    def require_fields(self, filter: Sequence[str], facets: Sequence[str]) -> None:  # noqa: A002
        """Raise what :meth:`matching` and :meth:`facets` raise, without their work."""
        index = self._version.catalogue.metadata
        require_fields(index, parse_filter(filter))
        for name in facets:
            fields_named(index, name)

    def matching(self, filter: Sequence[str], allowed: Allowed | None = None) -> Ids:  # noqa: A002
        """Return the ids of the images that pass a filter and are allowed, int64 (n,), ascending.

        Raises :class:`~indexer.errors.InvalidQuery` or :class:`~indexer.errors.NoMetadataIndex`.
        """
        index, ids = self._version.catalogue.metadata, self._vectors.sorted_ids
        if allowed is not None:
            ids = allowed_ids(index, allowed, ids)
        return passing(index, parse_filter(filter), ids)

    def listed(self, selection: Selection, text: str | None = None) -> ListedImages:
        """Return one page of the images that pass a selection's filter, in order of their ids.

        With ``text`` only those of which a text has all its words. Raises what :meth:`matching`
        raises, and what :func:`~indexer.search.words.searched_fields` raises.
        """
        k, page = selection.k or len(self), selection.page
        ids = self.matching(selection.filter, selection.allowed)
        if text is not None:
            words = self._version.catalogue.metadata.words
            ids = ids[np.isin(ids, words.ids(parse_words(text), searched_fields(words)))]
        shown = self.images(ids[(page - 1) * k : page * k])
        counts_all = selection.searches_all and text is None
        facets = self.facets(selection.facets, None if counts_all else ids)
        rows = [shown[image_id] for image_id in sorted(shown)]
        return ListedImages(len(ids), page, rows, page * k < len(ids), facets)

    def facets(self, names: Sequence[str], among: Ids | None = None) -> dict[str, Facet]:
        """Count the values of each field in the images ``among``, or in all of them.

        Raises :class:`~indexer.errors.InvalidQuery` or :class:`~indexer.errors.NoMetadataIndex`.
        """
        index = self._version.catalogue.metadata
        return {
            name: index.facet({field.name for field in fields_named(index, name)}, among)
            for name in names
        }

    @property
    def has_texts(self) -> bool:
        """Whether images have captions, or other texts than what cameras note."""
        return not CAMERA_NOTES.issuperset(self._version.catalogue.metadata.words.fields)

    def find_words(self, text: str) -> WordMatches:
        """Return the images of which a text, such as a caption, has all words of ``text``.

        Raises what :func:`indexer.search.words.find_words` raises.
        """
        return find_words(self._version.catalogue.metadata.words, text)

    @cached_property
    def telling_fields(self) -> Sequence[str]:
        """The fields worth counting, the most telling first; found once for a version."""
        return telling_fields(self._version.catalogue.metadata, len(self))

    @cached_property
    def overview(self) -> Mapping[str, Facet]:
        """The facets of the most telling fields in all images; counted once for a version."""
        return self.facets(self.telling_fields[:OVERVIEW_FIELDS])

    @property
    def scale(self) -> Scale:
        """What distances mean here; found once for a version, in less than a second.

        The labels are the values of the most telling field.
        """
        with self._scaling:  # a server's first requests come at the same time
            if self._scale is None:
                field = next(iter(self.telling_fields), None)
                self._scale = Scale.of(self._vectors, field, self._labels(field) if field else None)
            return self._scale

    def _labels(self, field: str) -> Callable[[Ids], list[set[Value]]]:
        def labels(ids: Ids) -> list[set[Value]]:
            rows = self.images(ids.tolist())
            return [values_of(rows[image_id], field) for image_id in ids.tolist()]

        return labels

    def features(self, image_ids: Sequence[int] | Ids) -> Vector:
        """Return the stored features of images, float32 (n, dim).

        Raises :class:`~indexer.errors.UnknownImage`.
        """
        try:
            ids = np.asarray(image_ids, np.int64)
        except OverflowError:
            raise UnknownImage(
                "No image of the index has an id beyond 64 bits.", "Ids come from search results."
            ) from None
        return self._vectors.vectors(self._vectors.rows(ids))

    def mean_feature(self, image_ids: Sequence[int]) -> Vector:
        """Return the direction of the mean of the features of images, float32 (dim,).

        Raises :class:`~indexer.errors.UnknownImage`, or :class:`~indexer.errors.InvalidQuery` if
        they cancel each other out.
        """
        features = self.features(image_ids)
        return combined(features, [1.0] * len(features), features[:0], [])

    def image_file(self, image_id: int) -> ImageFile:
        """Return the bytes of an indexed image; of a box, those of its picture.

        Raises :class:`~indexer.errors.ImageGone` if the file has vanished or changed since.
        """
        row = self.image(image_id)
        data = self._files.read(row)
        return ImageFile(data, media_type(str(row.format)), str(row.sha256))

    @property
    def files_are_remote(self) -> bool:
        """Whether image files are in object storage, where each look at one costs something."""
        return self._files.are_remote

    def files_problem(self) -> LookalikeError | None:
        """Return why none of a few files can be read, or None: their disk may be away."""
        problem: LookalikeError | None = None
        for image in self.sample(FILES_SAMPLE):
            try:
                self.image_file(image.id)
            except LookalikeError as error:
                problem = problem or error.fresh()
            else:
                return None
        return problem

    def model_input(self, row: ImageRow) -> NDArray[np.uint8]:
        """Return the pixels of an indexed image or box that were encoded, uint8 (224, 224, 3).

        Raises :class:`~indexer.errors.ImageGone` if the file has vanished or changed since.
        """
        with decoded(self._files.read(row), max_pixels=self.max_pixels) as image:
            return model_input(image if row.box is None else crop(image, row.box))

    def thumbnail(self, image_id: int, side: int, *, whole: bool = False) -> bytes:
        """Return an indexed image as a JPEG that fits into ``side`` x ``side`` pixels.

        Of a box it is what lies in the box, or with ``whole`` its picture.
        """
        row = self.image(image_id)
        with decoded(self._files.read(row), max_pixels=self.max_pixels) as image:
            part = image if whole or row.box is None else crop(image, row.box)
            return thumbnail(part, side=side)

    @property
    def max_pixels(self) -> int:
        """The most pixels that an indexed image has."""
        return self._version.manifest.dataset.max_pixels

    def page_by_key(self, status: str, *, offset: int, limit: int) -> list[ImageRow]:
        """Return up to ``limit`` files, ``indexed`` or ``skipped``, by key, after ``offset``."""
        return self._version.catalogue.page_by_key(status, offset=offset, limit=limit)

    def skip_reasons(self) -> dict[str, int]:
        """Count the skipped files by reason, the most frequent first."""
        return self._version.catalogue.skip_reasons()

    def sample(self, count: int) -> list[ImageRow]:
        """Return up to ``count`` images, spread evenly over the collection."""
        return list(self.images(self._vectors.ids[self._sampled_rows(count)]).values())

    def random_id(self) -> int:
        """Return the id of a random image. Raises UnknownImage if the index is empty."""
        if not len(self):
            raise UnknownImage("The index is empty.", "Every file was skipped; status says why.")
        return int(random.choice(self._vectors.ids))  # noqa: S311 -- no secret

    def projection(self) -> Projection:
        """Return every image's point on the first two principal axes: the map."""
        return self._projection.whole

    def marks(self, field: str, filter: Sequence[str] = ()) -> NDArray[np.uint8]:  # noqa: A002
        """Return which value of a field each image of the map has, uint8 (n,), in its order.

        1 is the most frequent value, up to :data:`MARKED_VALUES`; of several the rarest. 0 is none
        of these, and :data:`HIDDEN` an image that does not pass the filter. An empty field marks no
        values. Raises :class:`~indexer.errors.InvalidQuery` or
        :class:`~indexer.errors.NoMetadataIndex`.
        """
        marks = np.zeros(len(self), np.uint8)
        values = self.facets([field])[field].values[:MARKED_VALUES] if field else ()
        for mark, one in enumerate(values, 1):
            if clause := equal_clause(field, one.value):
                marks[self._vectors.rows_among(self.matching([clause]))] = mark
        if filter:
            passed = np.zeros(len(self), np.bool_)
            passed[self._vectors.rows_among(self.matching(filter))] = True
            marks[~passed] = HIDDEN
        return marks

    def distance(self, vector: Vector, image_id: int) -> float:
        """Return the Euclidean distance of a feature, float32 (dim,), to an indexed image."""
        row = self._vectors.rows(np.array([self.image(image_id).id], np.int64))
        return float(np.sqrt(max(self._vectors.squared_distances(vector, row)[0], 0)))

    def distribution(self, vector: Vector, bins: int = 40) -> Distribution:
        """Return the distribution of distances of a feature, float32 (dim,), to a sample.

        The sample is spread evenly over the collection and is the same for every query.
        """
        rows = self._sampled_rows(DISTRIBUTION_SAMPLE)
        distances = np.sqrt(np.maximum(self._vectors.squared_distances(vector, rows), 0))
        largest = float(distances.max(initial=0.0)) or 1.0
        counts, edges = np.histogram(distances, bins, (0.0, largest))
        return Distribution(edges.tolist(), counts.tolist())

    def _sampled_rows(self, count: int) -> Rows:
        """Return rows of up to ``count`` stored vectors, spread evenly over the collection."""
        return np.linspace(0, len(self) - 1, min(count, len(self)), dtype=np.int64)
