"""The images of one published version: their rows, files, vectors and distances."""

import random
from collections.abc import Iterable, Sequence

import numpy as np

from indexer.config import DatasetConfig
from indexer.datasets import file_of_box, key_of_box
from indexer.errors import LookalikeError, UnknownImage
from indexer.images import crop, decoded, media_type, thumbnail
from indexer.search.answers import Distribution, ImageFile
from indexer.search.image_sources import ImageSources
from indexer.search.queries import Allowed, Vector
from indexer.store import ImageRow, Version
from indexer.vector_index import MappedVectors, Projection, StoredProjection
from indexer.vector_index.base import Ids, Rows

DISTRIBUTION_SAMPLE = 1000
"""How many images the distribution of distances is estimated from."""

BOXES_SHOWN = 200
"""How many boxes of one picture are shown."""

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

    def matching(self, allowed: Allowed) -> Ids:
        """Return the ids of the allowed images, int64 (n,)."""
        return self._version.catalogue.matching(*allowed)

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

    def image_file(self, image_id: int) -> ImageFile:
        """Return the bytes of an indexed image; of a box, those of its picture.

        Raises :class:`~indexer.errors.ImageGone` if the file has vanished or changed since.
        """
        row = self.image(image_id)
        data = self._files.read(row)
        return ImageFile(data, media_type(str(row.format)), str(row.sha256))

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
