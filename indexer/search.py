"""Search: one published version and its encoder, answering queries."""

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from indexer.config import Config, EncoderConfig, Mode, is_weights_path
from indexer.datasets import open_dataset
from indexer.encoders import Encoder, EncoderSpec, open_encoder
from indexer.errors import (
    EncoderMismatch,
    ImageGone,
    InvalidQuery,
    LookalikeError,
    NoApproximateIndex,
    StoreCorrupt,
    UnknownImage,
)
from indexer.images import decode, media_type, model_input, thumbnail
from indexer.indexes import Indexes, choose_recall
from indexer.machine import available_cores
from indexer.store import Counts, ImageRow, Recall, Store, Version
from indexer.vector_index import Stage

__all__ = [
    "Answer",
    "Counts",
    "EncoderSpec",
    "Hit",
    "ImageFile",
    "ImageRow",
    "IndexInfo",
    "Recall",
    "Searcher",
    "Stage",
]

Vector = NDArray[np.float32]

logger = logging.getLogger(__name__)

SELF_DISTANCE = 0.01
"""The largest distance of a stored image to itself that approximate search may come up with."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One neighbour: the image, and its Euclidean distance to the query."""

    rank: int
    image: ImageRow
    distance: float

    @property
    def cosine(self) -> float:
        """Cosine similarity; for vectors of norm 1 it follows from the distance."""
        return 1 - self.distance**2 / 2


@dataclass(frozen=True, slots=True)
class Answer:
    """The neighbours of one query, nearest first, and how long each step took (ms)."""

    version: str
    encoder: EncoderSpec
    mode: Mode
    k: int
    hits: Sequence[Hit]
    timings_ms: Mapping[str, float]
    preview: bytes | None = None
    stages: Sequence[Stage] = ()
    """How many images each stage of the search left."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The bytes of an indexed image's file, the very ones that were indexed."""

    data: bytes
    media_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an opened index consists of."""

    version: str
    created: datetime
    encoder: EncoderSpec
    counts: Counts
    approximate: str | None
    """The FAISS factory string of the approximate index, if there is one."""
    recall: tuple[Recall, ...]
    """Its recall@30 for several nprobe."""
    chosen: Recall | None
    """The one in use."""

    @property
    def modes(self) -> list[Mode]:
        """The search modes this version offers."""
        return ["exact", "approximate"] if self.approximate else ["exact"]


@dataclass(slots=True)
class _Stopwatch:
    """Milliseconds by step; a step that did not happen took none."""

    ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("decode", "encode"), 0.0))
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.ms[name] = round((time.perf_counter() - began) * 1000, 3)

    def finish(self) -> dict[str, float]:
        total = round((time.perf_counter() - self.started) * 1000, 3)
        return {**self.ms, "total": total}


class Searcher:
    """One immutable published version and the encoder it was made with. Safe between threads.

    What the index was made from, encoder and dataset, comes from the version's manifest, so that
    a query can never meet vectors of another encoder; limits come from ``config``.
    """

    def __init__(self, version: Version, config: Config) -> None:
        manifest = version.manifest
        self._version = version
        self._config = config
        self._dataset = open_dataset(manifest.dataset)
        self._encoder: Encoder | None = None
        self._encoder_failure: LookalikeError | None = None
        self._encoding = threading.Lock()
        self._decoding = threading.BoundedSemaphore(available_cores())  # pixels take much memory
        try:
            self.encoder_spec = EncoderSpec.model_validate(manifest.encoder)
        except ValueError as error:
            raise StoreCorrupt(f"{version.folder}: the encoder is unreadable: {error}") from error
        indexes = Indexes.of(version)
        self._vectors, self._indexes = indexes.vectors, indexes.by_mode
        self._recall = choose_recall(manifest.recall, config.index.recall)
        if indexes.approximate and self._recall:
            indexes.approximate.nprobe = self._recall.nprobe
        self._not_resident = indexes.vectors.make_resident() if config.index.resident else None
        if self._not_resident:
            logger.warning(
                "The vectors were read into memory but cannot be locked there: %s.",
                self._not_resident,
            )

    @classmethod
    def open(cls, config: Config) -> "Searcher":
        """Open the store's published version.

        Raises :class:`~indexer.errors.NoPublishedIndex` or :class:`~indexer.errors.StoreCorrupt`.
        """
        return cls(Store(config.store).open_published(), config)

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
            recall=manifest.recall,
            chosen=self._recall,
        )

    @property
    def encoder_is_loaded(self) -> bool:
        """True once queries by image are answered without delay."""
        return self._encoder is not None

    def take_over(self, other: "Searcher") -> None:
        """Use the encoder another searcher has loaded, if both indexes were made with it."""
        if other.encoder_spec.fingerprint == self.encoder_spec.fingerprint:
            self._encoder = other._encoder  # noqa: SLF001 -- its own class's

    def check(self) -> None:
        """Let some stored images find themselves. Raises StoreCorrupt if one does not."""
        rows = np.unique(np.linspace(0, max(len(self._vectors) - 1, 0), 3, dtype=np.int64))
        for row in rows[: len(self._vectors)]:
            vector = self._vectors.vectors(np.array([row]))
            for mode, index in self._indexes.items():
                distances, _ = index.search(vector, 1)
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
        with self._encoding:
            self._loaded_encoder()

    def search_image(
        self,
        data: bytes,
        *,
        k: int | None = None,
        mode: Mode | None = None,
        preview_side: int | None = None,
    ) -> Answer:
        """Find the images nearest to an image file's bytes.

        With ``preview_side`` the answer carries a JPEG of the query that fits into that square.
        """
        watch = _Stopwatch()
        with watch.step("decode"), self._decoding:
            image = decode(data, max_pixels=self._config.server.max_pixels)
            pixels = model_input(image)
            preview = thumbnail(image, side=preview_side) if preview_side else None
        with watch.step("encode"), self._encoding:
            vector = self._loaded_encoder().encode(pixels[np.newaxis])[0]
        return replace(self._answer(vector, k, mode, watch), preview=preview)

    def search_id(self, image_id: int, *, k: int | None = None, mode: Mode | None = None) -> Answer:
        """Find the images nearest to an indexed image; it finds itself first, at distance 0."""
        watch = _Stopwatch()
        rows = self._vectors.rows(np.array([self.image(image_id).id], np.int64))
        vector = self._vectors.vectors(rows)[0]
        return self._answer(vector, k, mode, watch)

    def search_vector(
        self, vector: Sequence[float], *, k: int | None = None, mode: Mode | None = None
    ) -> Answer:
        """Find the images nearest to a vector; it is divided by its norm, as every feature is.

        Raises :class:`~indexer.errors.InvalidQuery` for a wrong length, infinities or zeros only.
        """
        watch = _Stopwatch()
        query = np.asarray(vector, np.float64)
        dim = self.encoder_spec.dim
        if query.shape != (dim,):
            raise InvalidQuery(
                f"The vector has {query.size} components; this index has {dim}.",
                f"Send a vector of encoder {self.encoder_spec}.",
            )
        norm = np.linalg.norm(query)
        if not np.isfinite(norm) or norm == 0:
            raise InvalidQuery("The vector has no direction: it is zero or not finite.")
        return self._answer((query / norm).astype(np.float32), k, mode, watch)

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

    def sample(self, count: int) -> list[ImageRow]:
        """Return up to ``count`` images spread over the collection: places to start from."""
        ids = self._vectors.ids
        places = np.linspace(0, len(ids) - 1, min(count, len(ids)), dtype=np.int64)
        return list(self._version.catalogue.get_many(ids[places]).values())

    def image_file(self, image_id: int) -> ImageFile:
        """Return the bytes of an indexed image.

        Raises :class:`~indexer.errors.ImageGone` if the file has vanished or changed since.
        """
        row = self.image(image_id)
        data = self._dataset.read(row.key)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise ImageGone(
                f"The image file {row.key} has changed since it was indexed.",
                "Run make index again.",
            )
        return ImageFile(data, media_type(str(row.format)), str(row.sha256))

    def thumbnail(self, image_id: int, side: int) -> bytes:
        """Return an indexed image as a JPEG that fits into ``side`` x ``side`` pixels."""
        data = self.image_file(image_id).data
        with self._decoding:
            image = decode(data, max_pixels=self._version.manifest.dataset.max_pixels)
            return thumbnail(image, side=side)

    def _loaded_encoder(self) -> Encoder:
        """Return the encoder of the index. A failure is final: it takes a restart to mend it."""
        if self._encoder_failure:
            raise self._encoder_failure
        if self._encoder is None:
            try:
                encoder = self._open_encoder()
                encoder.load()
            except LookalikeError as error:
                self._encoder_failure = error
                raise
            self._encoder = encoder
        return self._encoder

    def _open_encoder(self) -> Encoder:
        """Open the encoder the index was made with; a configured weights file is tried first."""
        spec, configured = self.encoder_spec, self._config.encoder
        settings = configured.model_dump() | {"model": spec.model, "weights": spec.weights}
        if spec.model == "vgg16":
            settings["layer"] = spec.layer
            if is_weights_path(configured.weights):
                settings["weights"] = configured.weights
        encoder = open_encoder(EncoderConfig.model_validate(settings))
        if encoder.spec.fingerprint != spec.fingerprint:
            raise EncoderMismatch(
                f"The index was made by encoder {spec}; the weights at hand make {encoder.spec}.",
                "Name the original weights in encoder.weights, or index again into another STORE=.",
            )
        return encoder

    def _answer(
        self, vector: Vector, k: int | None, mode: Mode | None, watch: _Stopwatch
    ) -> Answer:
        limits = self._config.search
        k = limits.k if k is None else k
        mode = limits.mode if mode is None else mode
        if not 1 <= k <= limits.max_k:
            raise InvalidQuery(f"k is {k}; it can be 1 to {limits.max_k}.")
        if mode not in self._indexes:
            raise NoApproximateIndex(
                "This index has no approximate search.",
                "Use mode=exact, or set index.approximate in config.yaml and index again.",
            )
        with watch.step("search"):
            stages: list[Stage] = []
            distances, ids = self._indexes[mode].search(vector[np.newaxis], k, explain=stages)
            rows = self._version.catalogue.get_many(ids[0][ids[0] >= 0])
        hits = [
            Hit(rank, rows[image_id], distance)
            for rank, (image_id, distance) in enumerate(
                zip(ids[0].tolist(), distances[0].tolist(), strict=True), start=1
            )
            if image_id >= 0
        ]
        timings, version = watch.finish(), self._version.manifest.version
        return Answer(version, self.encoder_spec, mode, k, hits, timings, stages=stages)
