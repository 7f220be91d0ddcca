"""The searcher: kinds of queries, their limits, and mismatched encoders."""

import gc
import math
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import faiss
import numpy as np
import pytest

from indexer.build import build
from indexer.config import Config
from indexer.encoders import EncoderSpec, open_encoder
from indexer.errors import (
    EncoderMismatch,
    ImageTooLarge,
    InvalidImage,
    InvalidQuery,
    LookalikeError,
    NoApproximateIndex,
    StoreCorrupt,
    UnknownImage,
    WeightsUnavailable,
)
from indexer.images import decode
from indexer.search import Example, Query, Searcher
from indexer.search.pending import PendingSearch
from indexer.store import Store, open_writer
from indexer.vector_index import flat_file
from tests.conftest import DEMO_IMAGES, small_config
from tests.stores import image


def stored_vectors(searcher: Searcher, *ids: int) -> np.ndarray:
    return searcher.collection.features(ids)


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


def test_an_indexed_photograph_finds_itself_first(searcher: Searcher, photos: list[Path]) -> None:
    answer = searcher.search_image(photos[0].read_bytes(), k=5)
    assert answer.hits[0].image.key == str(photos[0].relative_to(DEMO_IMAGES))
    assert answer.hits[0].distance < 1e-5
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4, 5]
    assert set(answer.timings_ms) == {"decode", "encode", "search", "total"}


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_image_id_and_vector_give_the_same_neighbours(searcher: Searcher, mode: str) -> None:
    by_id = searcher.search_id(7, mode=mode).hits  # type: ignore[arg-type]
    vector = stored_vectors(searcher, 7)[0] * 3.0
    by_vector = searcher.search_vector(vector.tolist(), mode=mode).hits  # type: ignore[arg-type]
    assert [hit.image.id for hit in by_id] == [hit.image.id for hit in by_vector]
    np.testing.assert_allclose(
        [h.distance for h in by_id], [h.distance for h in by_vector], atol=1e-6
    )
    assert (by_id[0].image.id, by_id[0].distance) == (7, 0)


def test_cosine_follows_from_the_distance(searcher: Searcher) -> None:
    hit = searcher.search_id(1, k=2).hits[1]
    first, second = stored_vectors(searcher, 1, hit.image.id)
    assert hit.cosine == pytest.approx(float(first @ second), abs=1e-6)


def test_k_is_limited_on_both_sides(searcher: Searcher) -> None:
    assert len(searcher.search_id(1, k=1).hits) == 1
    assert len(searcher.search_id(1, k=1000).hits) == 40
    for k in (0, 1001, -1):
        with pytest.raises(InvalidQuery, match="1 to 1000"):
            searcher.search_id(1, k=k)


@pytest.mark.parametrize(
    "vector",
    [
        [], [1.0], [1.0] * 1279, [1.0] * 1281, [0.0] * 1280, [float("nan")] * 1280, [1e999] * 1280,
        ["one"] * 1280, [[1.0], [1.0, 2.0]], [10**400] * 1280, [{}] * 1280, [1j] * 1280,
    ],
)  # fmt: skip
def test_unusable_vectors_are_refused(searcher: Searcher, vector: list[float]) -> None:
    with pytest.raises(InvalidQuery):
        searcher.search_vector(vector)


def test_unknown_ids_are_refused(searcher: Searcher) -> None:
    skipped = next(searcher._version.catalogue.rows("skipped"))
    for image_id in (0, -1, 10**9, 2**63, -(2**63) - 1, skipped.id):
        with pytest.raises(UnknownImage):
            searcher.search_id(image_id)
        with pytest.raises(UnknownImage):
            searcher.collection.image(image_id)


def test_a_file_that_is_no_image_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidImage):
        searcher.search_image(b"no image")


@pytest.mark.parametrize("method", ["search_image", "embed"])
@pytest.mark.parametrize("fails", ["decoding", "encoding"])
def test_a_search_that_failed_is_freed_at_once(
    searcher: Searcher,
    photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    fails: str,
) -> None:
    """Its image would otherwise stay until Python looks for cycles."""
    data = photos[0].read_bytes() if fails == "encoding" else b"no image"

    def fail() -> NoReturn:
        raise WeightsUnavailable("There are none.")

    monkeypatch.setattr(searcher._encoder, "_loaded", fail)
    gc.collect()
    gc.disable()
    try:
        with suppress(LookalikeError):
            getattr(searcher, method)(data)
        assert not [kept for kept in gc.get_objects() if isinstance(kept, PendingSearch)]
    finally:
        gc.enable()


def test_a_feature_that_is_not_finite_is_refused(
    searcher: Searcher, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One such component would make every distance NaN."""
    searcher.load_encoder()
    feature = np.eye(1, 1280, dtype=np.float32)[0]
    monkeypatch.setattr(searcher.encode_batcher, "run", lambda _: [feature])
    query = Query(image=photos[0].read_bytes(), positives=[Example(1)])
    assert searcher.search(query).hits
    for value in (np.nan, np.inf):
        feature[5] = value
        with pytest.raises(InvalidQuery, match="not a finite number"):
            searcher.search(query)
        with pytest.raises(InvalidQuery, match="not a finite number"):
            searcher.embed(photos[0].read_bytes())


def test_queries_have_the_datasets_pixel_limit_unless_another_is_given(
    demo_config: Config, photos: list[Path]
) -> None:
    def opened(own: int, max_pixels: int | None = None) -> Searcher:
        dataset = {"root": str(demo_config.dataset.root), "max_pixels": own}
        server = {"max_pixels": 1}
        return Searcher.open(
            small_config(DEMO_IMAGES, demo_config.store, dataset=dataset, server=server), max_pixels
        )

    photo = photos[0].read_bytes()
    pixels = math.prod(decode(photo, max_pixels=10**8).size)
    for searcher in (opened(pixels), opened(1, pixels)):
        assert searcher.search_image(photo, k=1).hits
        assert searcher.embed(photo)[0].shape == (1280,)
    for searcher in (opened(pixels - 1), opened(pixels, pixels - 1)):
        with pytest.raises(ImageTooLarge):
            searcher.search_image(photo)
        with pytest.raises(ImageTooLarge):
            searcher.embed(photo)


def test_approximate_search_needs_an_approximate_index(config: Config) -> None:
    build(config)
    with pytest.raises(NoApproximateIndex):
        Searcher.open(config).search_id(1, mode="approximate")


def test_approximate_search_uses_the_setting_that_promises_the_wanted_recall(
    demo_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.vector_index.approximate.CANDIDATES_PER_RESULT", 1)
    monkeypatch.setattr("indexer.vector_index.recall.RERANKED", (24, 32))
    index = {"approximate": "IVF4,SQ8"}
    store = tmp_path / "store"
    build(small_config(demo_config.dataset.root, store, index=index))
    for wanted in (0.1, 1.0):
        config = small_config(demo_config.dataset.root, store, index={**index, "recall": wanted})
        searcher = Searcher.open(config)
        promise = searcher.info.promise
        assert promise
        assert promise.is_kept == (wanted < 1)
        faiss.cvar.indexIVF_stats.reset()
        searcher.search_id(7, k=1, mode="approximate")
        assert faiss.cvar.indexIVF_stats.nlist == promise.parameters.nprobe


def test_the_index_decides_which_encoder_answers(demo_config: Config, photos: list[Path]) -> None:
    """The configuration names VGG16, the index was made with the embedded encoder."""
    other = small_config(
        demo_config.dataset.root, demo_config.store, encoder={"weights": "random:5"}
    )
    answer = Searcher.open(other).search_image(photos[0].read_bytes(), k=1)
    assert answer.encoder.model == "efficientnet_lite0"
    assert answer.hits[0].distance < 1e-5


def test_moved_weights_are_found_where_the_configuration_says(tmp_path: Path, images: Path) -> None:
    """The digest identifies weights, not their path."""
    for name in ("old.h5", "new.h5", "other.h5"):
        (tmp_path / name).write_bytes(b"weights" if name != "other.h5" else b"other weights")
    settings = {
        name: small_config(images, tmp_path / "s", encoder={"weights": str(tmp_path / name)})
        for name in ("old.h5", "new.h5", "other.h5")
    }
    publish_one_vector(settings["old.h5"], open_encoder(settings["old.h5"].encoder).spec)
    (tmp_path / "old.h5").unlink()
    encoder = Searcher.open(settings["new.h5"])._encoder.open()
    assert encoder.spec.weights_name == "new.h5"
    with pytest.raises(EncoderMismatch):
        Searcher.open(settings["other.h5"])._encoder.open()


def publish_one_vector(config: Config, spec: EncoderSpec) -> None:
    with open_writer(Store(config.store)) as writer:
        vectors = np.eye(1, spec.dim, dtype=np.float32)
        writer.commit(
            [image("a.jpg")], flat_file(vectors), [], dim=spec.dim, fingerprint=spec.fingerprint
        )
        writer.publish(
            writer.begin(),
            {},
            fingerprint=spec.fingerprint,
            encoder=spec.model_dump(),
            dim=spec.dim,
            dataset=config.dataset,
            index=config.index,
        )


def test_other_weights_at_the_same_path_are_refused(tmp_path: Path, images: Path) -> None:
    weights = tmp_path / "vgg.h5"
    weights.write_bytes(b"one set of weights")
    config = small_config(images, tmp_path / "s", encoder={"weights": str(weights)})
    spec = open_encoder(config.encoder).spec
    publish_one_vector(config, spec)
    weights.write_bytes(b"another set of weights")
    searcher = Searcher.open(config)
    assert searcher.search_id(1).hits[0].distance == 0
    with pytest.raises(EncoderMismatch) as caught:
        searcher.load_encoder()
    assert spec.fingerprint in caught.value.message


def test_a_damaged_store_is_refused(config: Config) -> None:
    build(config)
    (vectors,) = Store(config.store).segments.rglob("vectors.faiss")
    vectors.write_bytes(vectors.read_bytes()[:-4])
    with pytest.raises(StoreCorrupt):
        Searcher.open(config)
