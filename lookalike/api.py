"""Open an index, search it, build one."""

from argparse import Namespace
from collections.abc import Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.results import Result, Results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexer.config import Config, Mode
    from indexer.search import Query

Image = str | PathLike[str] | bytes | bytearray | memoryview
"""An image file: its path, or its bytes."""

if TYPE_CHECKING:
    AnyQuery = Image | int | np.integer[Any] | Sequence[float] | NDArray[np.floating[Any]]
    """An image file, the id of an indexed image, or a vector."""

THUMBNAIL_SIDE = 160
BLOCK = 4096
"""Images whose vectors or keys are read at once."""


def open(store: str | PathLike[str] | None = None) -> "Index":  # noqa: A001 -- lookalike.open
    """Open the published version of an index.

    Without ``store`` it is the one that the command ``lookalike`` uses in this folder. Settings
    come from ``config.yaml`` and the environment as they do there.

    Raises :class:`LookalikeError`: there is no index, it is damaged, or a setting is wrong.
    """
    return Index(_config(store=store))


def index(
    *images: str | PathLike[str],
    store: str | PathLike[str] | None = None,
    encoder: str | None = None,
    layer: str | None = None,
    weights: str | PathLike[str] | None = None,
    metadata: str | PathLike[str] | None = None,
    follow_links: bool | None = None,
    allow_shrink: bool = False,
    reread: bool = False,
) -> "Index":
    """Make an index match images, as ``lookalike index`` does, and open it.

    ``images`` are folders, a list of paths (``.txt``), ``.tar`` or ``.parquet`` files. Only new and
    changed images are encoded. Images that are no longer there leave the index, but stay if their
    folder is missing or empty. If more than a third would leave, this is refused. With
    ``allow_shrink`` all that cannot be found leave. A folder with none of the indexed names needs
    another ``store``. With ``reread`` all files are read and compared by content, not only those
    that look changed.
    ``encoder`` is ``vgg16``, whose weights (553 MB) Keras downloads once, or
    ``efficientnet_lite0``, which needs no download. ``layer``, of ``vgg16``, is ``fc2`` or ``fc1``.
    ``weights`` may be a file of Keras weights.
    ``metadata`` is a table that describes the images: ``.csv``, ``.jsonl`` or ``.parquet``.
    ``follow_links`` says whether to index folders elsewhere that links in the folders lead to. It
    has to be said if there are images in some of them.
    Images and encoder that are neither given nor configured are those of the last time; the first
    time the encoder is ``vgg16``.

    Raises :class:`LookalikeError`, for instance if there are no images or the store was made with
    another encoder.
    """
    from indexer.build import build, with_stored_settings

    given = _config(images, store, encoder, weights, metadata, follow_links, layer)
    config = with_stored_settings(given)
    build(config, allow_shrink=allow_shrink, reread=reread)
    return Index(config)


class Index:
    """An opened index: one published version and its encoder. Safe between threads.

    Get one from :func:`open` or :func:`index`. It stays at its version, whatever is published
    later. Nothing is read until it is needed: the encoder is loaded by the first image that is
    searched for.
    """

    def __init__(self, config: "Config") -> None:
        from indexer.search import Searcher

        self._searcher = Searcher.open(config)
        self._collection = self._searcher.collection
        self.store: Path = config.store
        """The folder of the index."""
        self.version: str = self._searcher.info.version
        """The published version that was opened."""
        self.encoder: str = str(self._searcher.encoder_spec)
        """The encoder that made the vectors."""
        self.dim: int = self._searcher.encoder_spec.dim
        """The dimension of the vectors."""

    def __len__(self) -> int:
        return len(self._collection)

    def __repr__(self) -> str:
        return (
            f"<lookalike.Index {self.store}: {len(self)} images, version {self.version}, "
            f"{self.encoder}>"
        )

    def search(
        self,
        query: "AnyQuery | None" = None,
        *,
        text: str | None = None,
        k: int | None = None,
        mode: "Mode | None" = None,
        filter: str | Sequence[str] = (),  # noqa: A002 -- as in the API and on the command line
    ) -> Results:
        """Return the ``k`` images nearest to a query, nearest first.

        The query is an image file's path or bytes, the id of an indexed image, or a vector of
        length ``dim``. Instead of it, ``text`` may be words: then the results are like the images
        whose captions have all of them. ``mode`` is ``exact`` or ``approximate``; what is left out
        comes from the settings. ``filter`` is a clause such as ``category=dog`` or ``width>=640``,
        or several that must all hold; only images that pass are searched.

        Raises :class:`LookalikeError`: the file is no image, the id is unknown, the vector has the
        wrong length, no text has the words, ``k`` is out of bounds, there is no approximate index,
        or the filter is wrong.
        """
        from indexer.search import Selection

        selection = Selection(k=k, mode=mode, filter=_clauses(filter))
        answer = self._searcher.search(_query(query, text), selection)
        return Results(
            (
                Result(
                    hit.rank,
                    hit.image.id,
                    hit.image.key,
                    hit.distance,
                    hit.cosine,
                    hit.image.metadata,
                    hit.image.box and hit.image.box._asdict(),
                    hit.percentile,
                    hit.share_alike,
                )
                for hit in answer.hits
            ),
            self.thumbnail,
            no_match=answer.no_match,
            label_field=answer.label_field,
        )

    def facet(
        self,
        field: str,
        *,
        filter: str | Sequence[str] = (),  # noqa: A002
    ) -> list[tuple[str | int | float | bool, int]]:
        """Return the values of a field, and how many images that pass a filter have each.

        They are up to 100, the most frequent first. Raises :class:`LookalikeError`.
        """
        clauses = _clauses(filter)
        among = self._collection.matching(clauses) if clauses else None
        counts = self._collection.facets([field], among)[field]
        return [(one.value, one.count) for one in counts.values]

    def embed(self, image: Image) -> "NDArray[np.float32]":
        """Return the feature of an image file, its path or bytes: float32 (dim,), of norm 1."""
        vector, _ = self._searcher.embed(_bytes(image))
        return vector

    def vectors(self) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
        """Return the ids, int64 (n,), and the vectors, float32 (n, dim), of all images.

        They take ``4 * n * dim`` bytes. For collections larger than memory there is
        ``lookalike export --to npy``, whose file ``numpy.load`` can map.
        """
        import numpy as np

        ids = self._collection.ids.copy()
        vectors = np.empty((len(ids), self.dim), np.float32)
        for start in range(0, len(ids), BLOCK):
            vectors[start : start + BLOCK] = self._collection.features(ids[start : start + BLOCK])
        return ids, vectors

    def keys(self, ids: "Sequence[int] | NDArray[np.int64]") -> list[str]:
        """Return the keys of images, their paths below their folder, in the order of ``ids``.

        Raises :class:`LookalikeError` for an unknown id.
        """
        wanted = [int(image_id) for image_id in ids]
        keys: list[str] = []
        for start in range(0, len(wanted), BLOCK):
            block = wanted[start : start + BLOCK]
            images = self._collection.images(block)
            keys += [(images.get(i) or self._collection.image(i)).key for i in block]
        return keys

    def read(self, image_id: int) -> bytes:
        """Return the file of an indexed image. Raises if it has gone or changed since."""
        return self._collection.image_file(int(image_id)).data

    def thumbnail(self, image_id: int, side: int = THUMBNAIL_SIDE) -> bytes:
        """Return an indexed image as a JPEG that fits into ``side`` x ``side`` pixels."""
        return self._collection.thumbnail(int(image_id), side)


def _config(
    images: Sequence[str | PathLike[str]] = (),
    store: str | PathLike[str] | None = None,
    encoder: str | None = None,
    weights: str | PathLike[str] | None = None,
    metadata: str | PathLike[str] | None = None,
    follow_links: bool | None = None,
    layer: str | None = None,
) -> "Config":
    """Return the settings the command would have with these flags."""
    from indexer.cli.parser import flags_of
    from indexer.config import load_config

    options = Namespace(
        store=None if store is None else str(store),
        paths=[str(path) for path in images],
        encoder=encoder,
        layer=layer,
        weights=None if weights is None else str(weights),
        metadata=None if metadata is None else str(metadata),
        follow_links=follow_links,
    )
    return load_config(None, flags_of(options))


def _query(query: Any, text: str | None) -> "Query":
    from indexer.search import Query

    if isinstance(query, str | PathLike | bytes | bytearray | memoryview):
        return Query(image=_bytes(query), text=text)
    if isinstance(query, Integral):
        return Query(image_id=int(query), text=text)
    return Query(vector=query, text=text)


def _clauses(filter: str | Sequence[str]) -> Sequence[str]:  # noqa: A002
    return [filter] if isinstance(filter, str) else filter


def _bytes(image: Image) -> bytes:
    from indexer.search import read_file

    return read_file(Path(image)) if isinstance(image, str | PathLike) else bytes(image)
