"""The searcher: one published version and its encoder, which answer queries."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from indexer.config import Config, Mode
from indexer.encoders import EncoderSpec
from indexer.errors import LookalikeError, NoApproximateIndex, StoreCorrupt
from indexer.images import Box, crop, decoded, model_input, note, thumbnail
from indexer.search.answers import Answer, Hit, IndexInfo
from indexer.search.backends import Backend, open_backend
from indexer.search.batched_index import BatchedIndex
from indexer.search.batching import Batcher
from indexer.search.collection import Collection
from indexer.search.paging import Distances, Ids, RankedHit, collapsed_page_of, page_of
from indexer.search.pending import PendingSearch
from indexer.search.queries import Example, Query, Selection, Vector, unit_vector
from indexer.search.query_encoder import Pixels, QueryEncoder
from indexer.search.why import Explanation, Explanations, explain
from indexer.store import PublishedIdentity, Store, Version
from indexer.vector_index import VectorIndex
from indexer.vector_index.promise import Promise

logger = logging.getLogger(__name__)

SELF_DISTANCE = 0.01
"""The largest distance of a stored image to itself that approximate search may return."""


class Searcher:
    """One immutable published version and the encoder it was made with. Safe between threads.

    The encoder comes from the version's manifest, so that a query is never compared with vectors of
    another encoder; limits, and where the images lie now, come from ``config``. ``max_pixels``
    limits images that are sent as queries; without it they have the limit of the dataset's files.
    ``backend`` opened the versions before this one; without it a new one is made.
    """

    def __init__(
        self,
        version: Version,
        config: Config,
        max_pixels: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        opened = (backend or open_backend(config)).open(version)
        self.collection = Collection(version, opened.vectors, config.dataset)
        """The images that are searched."""
        self._version = version
        manifest = version.manifest
        self._config = config
        self._max_pixels = config.dataset.max_pixels if max_pixels is None else max_pixels
        try:
            self.encoder_spec = EncoderSpec.model_validate(manifest.encoder)
        except ValueError as error:
            raise StoreCorrupt(f"{version.folder}: the encoder is unreadable: {error}") from error
        self._encoder = QueryEncoder(self.encoder_spec, config.encoder)
        self._explanations = Explanations()
        self._batched = BatchedIndex(opened.by_mode["exact"])
        self._indexes: dict[Mode, VectorIndex] = {**opened.by_mode, "exact": self._batched}
        self._replicas = opened.replicas
        self._promise = Promise.of(manifest, config.index.recall)
        self._parameters = self._promise.parameters if self._promise else None
        not_resident = opened.vectors.make_resident() if config.index.resident else None
        if not_resident:
            logger.warning(
                "The vectors were read into memory but cannot be locked there: %s.", not_resident
            )

    @classmethod
    def open(
        cls, config: Config, max_pixels: int | None = None, backend: Backend | None = None
    ) -> "Searcher":
        """Open the store's published version; the arguments are those of the class.

        Raises :class:`~indexer.errors.NoPublishedIndex`, :class:`~indexer.errors.StoreCorrupt` or
        what the backend raises.
        """
        return cls(Store(config.store).open_published(), config, max_pixels, backend)

    @staticmethod
    def published_identity(config: Config) -> PublishedIdentity | None:
        """Return the identity of the version that :meth:`open` would open, None if there is none.

        Raises :class:`~indexer.errors.StoreCorrupt`.
        """
        return Store(config.store).identity()

    @property
    def info(self) -> IndexInfo:
        """The description of the index."""
        manifest = self._version.manifest
        approximate = manifest.derived.get("approximate")
        return IndexInfo(
            manifest.version,
            manifest.created,
            self.encoder_spec,
            manifest.counts,
            approximate.made_by if approximate else None,
            self._promise,
        )

    @property
    def ready_replicas(self) -> list[int]:
        """How many replicas of each shard answer; empty if there are no shards."""
        return self._replicas.ready_replicas if self._replicas else []

    def problem(self) -> LookalikeError | None:
        """Return an error to raise if some images cannot be searched at the moment, else None."""
        return self._replicas.problem() if self._replicas else None

    @property
    def encoder_is_loaded(self) -> bool:
        """True once queries by image need not wait for the model."""
        return self._encoder.is_loaded

    @property
    def encode_batcher(self) -> Batcher[Pixels, Vector] | None:
        """Encodes the images of concurrent queries together; None until the encoder is loaded."""
        return self._encoder.batcher

    @property
    def search_batcher(self) -> Batcher[Any, Any]:
        """Makes concurrent exact searches together."""
        return self._batched.batcher

    def reuse_encoder(self, other: "Searcher") -> None:
        """Use another searcher's encoder, loaded or not, if both indexes were made with it."""
        if other.encoder_spec.fingerprint == self.encoder_spec.fingerprint:
            self._encoder = other._encoder  # noqa: SLF001 -- its own class's
            self._explanations = other._explanations  # noqa: SLF001

    def check(self) -> None:
        """Search for some stored images in every mode, and find out what distances mean.

        The first answer would otherwise wait for the latter. Raises
        :class:`~indexer.errors.StoreCorrupt` if an image does not find itself.
        """
        for image in self.collection.sample(3):
            feature = self.collection.features([image.id])
            for mode, index in self._indexes.items():
                found = index.search(feature, 1, parameters=self._parameters)
                if not found.distances[0, 0] <= SELF_DISTANCE:
                    raise StoreCorrupt(
                        f"{self._version.folder}: image {image.id} does not find itself by "
                        f"{mode} search."
                    )
        _ = self.collection.scale

    def load_encoder(self) -> None:
        """Load the encoder's model, so that the first query by image does not wait for it.

        Raises :class:`~indexer.errors.WeightsUnavailable` or
        :class:`~indexer.errors.EncoderMismatch` if it is no longer the one of the index.
        """
        self._encoder.load()

    def search(
        self, query: Query, selection: Selection | None = None, *, preview_side: int | None = None
    ) -> Answer:
        """Find one page of the images nearest to a query.

        With ``preview_side`` the answer has a JPEG of the query's image that fits into a square of
        this side. An indexed image without ``crop`` needs no encoder, as its vector is stored; it
        finds itself first, at distance 0. Raises :class:`~indexer.errors.InvalidQuery`,
        :class:`~indexer.errors.UnknownImage` or an error of decoding and encoding.
        """
        searches = [(query, selection or Selection())]
        (found,) = self.search_many(searches, preview_side=preview_side)
        if isinstance(found, LookalikeError):
            raise found.fresh()
        return found

    def search_many(
        self, searches: Sequence[tuple[Query, Selection]], *, preview_side: int | None = None
    ) -> Iterator[Answer | LookalikeError]:
        """Yield what :meth:`search` returns or raises for each of several searches, but faster.

        Their images are encoded in batches, and exact searches among all images are made together.
        The answers are then made one by one, as they are taken.
        """
        pending = [PendingSearch(*search) for search in searches]
        for search in pending:
            search.run(lambda search: self._begin(search, preview_side))
        self._encode(pending)
        for search in pending:
            search.run(lambda search: search.combine(self._features))
        self._search_batch(pending)
        while pending:  # an answer that was taken is not kept
            search = pending.pop(0)
            search.run(self._answer)
            yield search.outcome()

    def embed(self, image: bytes, box: Box | None = None) -> tuple[Vector, Mapping[str, float]]:
        """Return the feature of an image file's bytes, float32 (dim,), and the times in ms."""
        search = PendingSearch(Query(image=image, crop=box), Selection())
        self._begin(search, None)
        self._encode([search])
        if search.failure:
            raise search.failure.fresh()
        assert search.feature is not None
        return search.feature, search.stopwatch.finish()

    def why(self, first_id: int, second_id: int, *, by_covering: bool = False) -> Explanation:
        """Explain why two indexed images are similar; the last explanations are kept.

        ``by_covering`` is that of :func:`indexer.search.why.explain`.
        Raises :class:`~indexer.errors.UnknownImage`, :class:`~indexer.errors.ImageGone` if a file
        has vanished or changed since, or an error of the encoder.
        """
        rows = [self.collection.image(image_id) for image_id in (first_id, second_id)]
        contents = (str(rows[0].sha256), str(rows[1].sha256))
        found = self._explanations.get(*contents, by_covering=by_covering)
        if found is None:
            first, second = (self.collection.model_input(row) for row in rows)
            found = explain(self._encoder, first, second, by_covering=by_covering)
            self._explanations.keep(*contents, found, by_covering=by_covering)
        return found

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

    def _begin(self, search: PendingSearch, preview_side: int | None) -> None:
        """Check a search, then look up the feature of its own image or decode the image."""
        query = search.query
        query.check()
        search.k, search.mode = search.selection.within(self._config.search)
        if search.mode not in self._indexes:
            raise NoApproximateIndex(
                "This index has no approximate search.",
                "Use mode=exact, or set index.approximate in config.yaml and index again.",
            )
        self.collection.require_fields(search.selection.filter, search.selection.facets)
        if query.vector is not None:
            search.feature = unit_vector(query.vector, self.encoder_spec.dim)
        elif query.text is not None:
            with search.stopwatch.step("search"):
                search.words = self.collection.find_words(query.text)
                search.feature = self.collection.mean_feature(search.words.used)
        elif query.is_encoded:
            with search.stopwatch.step("decode"):
                data = self._file(query)  # before it counts as decoding: a disk can hang
                limit = self._max_pixels if query.image is not None else self.collection.max_pixels
                with decoded(data, max_pixels=limit) as whole:
                    image = whole if query.crop is None else crop(whole, query.crop)
                    search.note = note(whole)
                    search.pixels = model_input(image)
                    search.preview = thumbnail(image, side=preview_side) if preview_side else None
        elif query.image_id is not None:
            search.feature = self._features([Example(query.image_id)])[0]

    def _file(self, query: Query) -> bytes:
        """Return the bytes of a query's own image."""
        if query.image is not None:
            return query.image
        assert query.image_id is not None
        return self.collection.image_file(query.image_id).data

    def _encode(self, pending: Sequence[PendingSearch]) -> None:
        """Encode the images of all searches that have one; set their features or failures."""
        decoded = [search for search in pending if search.pixels is not None]
        if not decoded:
            return
        features: Sequence[Vector | LookalikeError]
        with ExitStack() as timing:
            for search in decoded:
                timing.enter_context(search.stopwatch.step("encode"))
            try:
                pixels = [search.pixels for search in decoded if search.pixels is not None]
                features = self._encoder.encode(pixels)
            except LookalikeError as error:  # the encoder cannot be loaded
                features = [error.fresh()] * len(decoded)
        for search, feature in zip(decoded, features, strict=True):
            search.pixels = None
            if isinstance(feature, LookalikeError):
                search.failure = feature
            else:
                search.feature = feature

    def _search_batch(self, pending: Sequence[PendingSearch]) -> None:
        """Find the first neighbours of all exact searches at once."""
        for search in pending:
            search.depth = search.batched_depth(len(self.collection))
        batch = [search for search in pending if search.depth]
        if not batch:
            return
        with ExitStack() as timing:
            for search in batch:
                timing.enter_context(search.stopwatch.step("search"))
            vectors = [search.vector for search in batch if search.vector is not None]
            found = self._batched.search_each(vectors, [search.depth for search in batch])
        for search, neighbours in zip(batch, found, strict=True):
            search.found = neighbours

    def _answer(self, search: PendingSearch) -> None:
        """Make the answer of a search."""
        assert search.vector is not None
        selection = search.selection
        with search.stopwatch.step("search"):
            among = None
            if not selection.searches_all:
                among = self.collection.matching(selection.filter, selection.allowed)
            hits, more = self._page(search, among)
            facets = self.collection.facets(selection.facets, among)
            shown = [hit for first in hits for hit in (first, *first.duplicates)]
            rows = self.collection.images(hit.image_id for hit in shown)
            scale = self.collection.scale
        search.answer = Answer(
            version=self._version.manifest.version,
            encoder=self.encoder_spec,
            query=search.query,
            selection=selection,
            mode=search.mode,
            k=search.k,
            more=more,
            no_match=self._matches_nothing(search),
            label_field=scale.field,
            hits=[Hit.of(hit, rows, scale) for hit in hits],
            timings_ms=search.stopwatch.finish(),
            stages=search.found.stages if search.found else (),
            vector=search.vector,
            own_vector=search.feature,
            preview=search.preview,
            note=search.note,
            facets=facets,
            words=search.words,
        )

    def _matches_nothing(self, search: PendingSearch) -> bool:
        """Tell whether even the best neighbour, besides the query's own image, is too far away."""
        query = search.query
        if search.found is None or query.text is not None or query.positives or query.negatives:
            return False  # a mean of several images is nearer to all than they are
        ids, distances = search.found.ids[0], search.found.distances[0]
        others = distances[(ids >= 0) & (ids != (query.image_id or -1))]
        return len(others) > 0 and self.collection.scale.is_beyond(float(others[0]))

    def _features(self, examples: Sequence[Example]) -> Vector:
        """Return the stored features of examples, float32 (n, dim)."""
        collection = self.collection
        return collection.features([collection.image(example.image_id).id for example in examples])

    def _page(self, search: PendingSearch, among: Ids | None) -> tuple[list[RankedHit], bool]:
        """Return one page of neighbours ``among`` some images or all, and whether there is more."""
        selection = search.selection
        count = len(self.collection) if among is None else len(among)

        def neighbours(depth: int) -> tuple[Distances, Ids]:
            if search.found is None or depth != search.depth:
                assert search.vector is not None
                query, index = search.vector[np.newaxis], self._indexes[search.mode]
                search.depth = depth
                search.found = index.search(
                    query, depth, allowed=among, parameters=self._parameters
                )
            return search.found.distances[0], search.found.ids[0]

        k, page, threshold = search.k, selection.page, selection.threshold
        if selection.collapse_duplicates:
            collection = self.collection
            pictures = collection.pictures if collection.has_boxes else None
            return collapsed_page_of(
                neighbours,
                collection.features,
                count,
                k,
                page,
                threshold,
                collection.scale.near,
                pictures,
            )
        return page_of(neighbours, count, k, page, threshold)
