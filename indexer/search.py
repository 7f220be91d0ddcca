"""Search: one published version and its encoder, answering queries."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from indexer.answers import Answer, Distribution, Hit, ImageFile, IndexInfo, Stopwatch
from indexer.batching import Batcher
from indexer.collection import Collection
from indexer.config import Config, Mode
from indexer.encoders import EncoderSpec
from indexer.errors import NoApproximateIndex, StoreCorrupt
from indexer.images import Box, crop, decode, model_input, pixels, thumbnail
from indexer.indexes import Indexes
from indexer.paging import Distances, Ids, Place, collapsed_page_of, page_of
from indexer.promise import Promise
from indexer.queries import Allowed, Example, Query, Selection, Vector, combined, unit_vector
from indexer.query_encoder import QueryEncoder
from indexer.store import Counts, ImageRow, Store, Version
from indexer.vector_index import Map, Stage, VectorIndex

__all__ = [
    "Allowed",
    "Answer",
    "Batcher",
    "Box",
    "Counts",
    "Distribution",
    "EncoderSpec",
    "Example",
    "Hit",
    "ImageFile",
    "ImageRow",
    "IndexInfo",
    "Map",
    "Promise",
    "Query",
    "Searcher",
    "Selection",
    "Stage",
    "pixels",
]

logger = logging.getLogger(__name__)

SELF_DISTANCE = 0.01
"""The largest distance of a stored image to itself that approximate search may come up with."""


class Searcher(Collection):
    """One immutable published version and the encoder it was made with. Safe between threads.

    What the index was made from, encoder and dataset, comes from the version's manifest, so that
    a query can never meet vectors of another encoder; limits come from ``config``. An image that
    is sent as a query may have ``max_pixels``: ``dataset.max_pixels`` like one's own files, unless
    a server says what it allows strangers.
    """

    def __init__(self, version: Version, config: Config, max_pixels: int | None = None) -> None:
        indexes = Indexes.of(version)
        super().__init__(version, indexes.vectors)
        manifest = version.manifest
        self._config = config
        self._max_pixels = config.dataset.max_pixels if max_pixels is None else max_pixels
        try:
            self.encoder_spec = EncoderSpec.model_validate(manifest.encoder)
        except ValueError as error:
            raise StoreCorrupt(f"{version.folder}: the encoder is unreadable: {error}") from error
        self._encoder = QueryEncoder(self.encoder_spec, config.encoder)
        self._indexes = indexes.by_mode
        self._promise = Promise.of(manifest, config.index.recall)
        self._parameters = self._promise.parameters if self._promise else None
        not_resident = indexes.vectors.make_resident() if config.index.resident else None
        if not_resident:
            logger.warning(
                "The vectors were read into memory but cannot be locked there: %s.", not_resident
            )

    @classmethod
    def open(cls, config: Config, max_pixels: int | None = None) -> "Searcher":
        """Open the store's published version; ``max_pixels`` limits images sent as queries.

        Raises :class:`~indexer.errors.NoPublishedIndex` or :class:`~indexer.errors.StoreCorrupt`.
        """
        return cls(Store(config.store).open_published(), config, max_pixels)

    @staticmethod
    def published(config: Config) -> str | None:
        """Return the id of the version that :meth:`open` would open, None if there is none."""
        return Store(config.store).current()

    @property
    def info(self) -> IndexInfo:
        """What the index consists of."""
        manifest = self._version.manifest
        approximate = manifest.derived.get("approximate")
        return IndexInfo(
            version=manifest.version,
            created=manifest.created,
            encoder=self.encoder_spec,
            counts=manifest.counts,
            approximate=approximate.made_by if approximate else None,
            promise=self._promise,
        )

    @property
    def encoder_is_loaded(self) -> bool:
        """True once queries by image are answered without delay."""
        return self._encoder.is_loaded

    @property
    def batcher(self) -> Batcher | None:
        """What gathers the images of concurrent queries, once the encoder is loaded."""
        return self._encoder.batcher

    def take_over(self, other: "Searcher") -> None:
        """Use the encoder another searcher has loaded, if both indexes were made with it."""
        same = other.encoder_spec.fingerprint == self.encoder_spec.fingerprint
        if same and other.encoder_is_loaded:
            self._encoder = other._encoder  # noqa: SLF001 -- its own class's

    def check(self) -> None:
        """Let some stored images find themselves. Raises StoreCorrupt if one does not."""
        for row in self._sampled(3):
            vector = self._vectors.vectors(np.array([row]))
            for mode, index in self._indexes.items():
                distances, _ = index.search(vector, 1, parameters=self._parameters)
                if not distances[0, 0] <= SELF_DISTANCE:
                    raise StoreCorrupt(
                        f"{self._version.folder}: image {self._vectors.ids[row]} does not find "
                        f"itself by {mode} search."
                    )

    def load_encoder(self) -> None:
        """Load the encoder's model now, so that the first query by image does not wait for it.

        Raises :class:`~indexer.errors.WeightsUnavailable` or
        :class:`~indexer.errors.EncoderMismatch` if it is no longer the one of the index.
        """
        self._encoder.load()

    def search(
        self, query: Query, selection: Selection | None = None, *, preview_side: int | None = None
    ) -> Answer:
        """Find the images nearest to what the query stands for, one page of them.

        With ``preview_side`` the answer carries a JPEG of the query's image that fits into that
        square. A stored image without ``crop`` needs no encoder: its vector is there. It finds
        itself first, at distance 0. Raises :class:`~indexer.errors.InvalidQuery`,
        :class:`~indexer.errors.UnknownImage` or an error of decoding and encoding.
        """
        query.check()
        selection = selection or Selection()
        k, mode = selection.within(self._config.search)
        if mode not in self._indexes:
            raise NoApproximateIndex(
                "This index has no approximate search.",
                "Use mode=exact, or set index.approximate in config.yaml and index again.",
            )
        watch = Stopwatch()
        own, preview = self._own_vector(query, watch, preview_side)
        vector = self._vector(query, own)
        with watch.step("search"):
            stages: list[Stage] = []
            places, more = self._page(vector, self._indexes[mode], k, selection, stages)
            shown = [place for found in places for place in (found, *found.duplicates)]
            rows = self._version.catalogue.get_many(place.image_id for place in shown)
        return Answer(
            version=self._version.manifest.version,
            encoder=self.encoder_spec,
            mode=mode,
            k=k,
            page=selection.page,
            more=more,
            hits=[_hit(place, rows) for place in places],
            timings_ms=watch.finish(),
            stages=stages,
            vector=vector,
            own_vector=own,
            preview=preview,
        )

    def embed(self, image: bytes, box: Box | None = None) -> tuple[Vector, Mapping[str, float]]:
        """Return the feature of an image file's bytes, float32 (dim,), and the times in ms."""
        watch = Stopwatch()
        vector, _ = self._own_vector(Query(image=image, crop=box), watch, None)
        assert vector is not None
        return vector, watch.finish()

    def search_image(
        self, data: bytes, *, k: int | None = None, mode: Mode | None = None
    ) -> Answer:
        """Find the images nearest to an image file's bytes."""
        return self.search(Query(image=data), Selection(k=k, mode=mode))

    def search_id(self, image_id: int, *, k: int | None = None, mode: Mode | None = None) -> Answer:
        """Find the images nearest to an indexed image."""
        return self.search(Query(image_id=image_id), Selection(k=k, mode=mode))

    def search_vector(
        self, vector: Sequence[float], *, k: int | None = None, mode: Mode | None = None
    ) -> Answer:
        """Find the images nearest to a vector."""
        return self.search(Query(vector=vector), Selection(k=k, mode=mode))

    def _vector(self, query: Query, own: Vector | None) -> Vector:
        """Return the feature a query stands for: its own, moved by its examples."""
        if own is not None and not (query.positives or query.negatives):
            return own
        likes, unlikes = self._features(query.positives), self._features(query.negatives)
        weights = [example.weight for example in query.positives]
        if own is not None:
            likes, weights = np.vstack([own, likes]), [1.0, *weights]
        return combined(likes, weights, unlikes, [example.weight for example in query.negatives])

    def _own_vector(
        self, query: Query, watch: Stopwatch, preview_side: int | None
    ) -> tuple[Vector | None, bytes | None]:
        """Return the feature of the query's own image or vector, None if it has examples only."""
        if query.vector is not None:
            return unit_vector(query.vector, self.encoder_spec.dim), None
        if query.image_id is not None and query.crop is None:
            return self._features([Example(query.image_id)])[0], None
        if query.image is None and query.image_id is None:
            return None, None
        limit = self._max_pixels
        with watch.step("decode"), self._decoding:
            data = query.image
            if data is None:
                assert query.image_id is not None
                data = self.image_file(query.image_id).data
                limit = self._version.manifest.dataset.max_pixels
            image = decode(data, max_pixels=limit)
            if query.crop is not None:
                image = crop(image, query.crop)
            pixels = model_input(image)
            preview = thumbnail(image, side=preview_side) if preview_side else None
        with watch.step("encode"):
            return self._encoder.encode(pixels), preview

    def _features(self, examples: Sequence[Example]) -> Vector:
        """Return the stored features of examples, float32 (n, dim)."""
        return self._stored(
            np.array([self.image(example.image_id).id for example in examples], np.int64)
        )

    def _page(
        self, vector: Vector, index: VectorIndex, k: int, selection: Selection, stages: list[Stage]
    ) -> tuple[list[Place], bool]:
        """Return a page of neighbours and whether there is another; ``stages`` of the search."""
        allowed, count = None, len(self._vectors)
        if selection.allowed is not None:
            allowed = self._version.catalogue.matching(*selection.allowed)
            count = len(allowed)

        def neighbours(depth: int) -> tuple[Distances, Ids]:
            stages.clear()
            distances, ids = index.search(
                vector[np.newaxis],
                depth,
                allowed=allowed,
                explain=stages,
                parameters=self._parameters,
            )
            return distances[0], ids[0]

        page, threshold = selection.page, selection.threshold
        if selection.collapse_duplicates:
            return collapsed_page_of(neighbours, self._stored, count, k, page, threshold)
        return page_of(neighbours, count, k, page, threshold)


def _hit(place: Place, rows: Mapping[int, ImageRow]) -> Hit:
    duplicates = tuple(_hit(other, rows) for other in place.duplicates)
    return Hit(place.rank, rows[place.image_id], place.distance, duplicates)
