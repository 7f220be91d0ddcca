"""Concurrent images encoded together: in order, none lost, none mixed up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexer.batching import Batcher
from indexer.config import EncoderConfig
from indexer.encoders import Encoder, open_encoder
from indexer.images import decode, model_input
from tests.conftest import DEMO_IMAGES
from tests.waiting import eventually


class Held:
    """A real encoder that can be held up, and remembers what it was given."""

    def __init__(self) -> None:
        self._encoder = open_encoder(EncoderConfig(model="efficientnet_lite0"))
        self.spec, self.runtime, self.batch_size = self._encoder.spec, "ncnn", 4
        self.go, self.begun = threading.Event(), threading.Event()
        self.batches: list[np.ndarray] = []
        self.most: int | None = None
        self.go.set()

    def load(self) -> None:
        self._encoder.load()

    def encode(self, images: np.ndarray) -> np.ndarray:
        self.begun.set()
        self.go.wait(30)
        self.batches.append(images)
        if (images == 255).all():
            raise ValueError("white")
        return self._encoder.encode(images)[: self.most]


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    photos = sorted(DEMO_IMAGES.rglob("*.jpg"))[:9]
    images = [decode(photo.read_bytes(), max_pixels=10**8) for photo in photos]
    return np.stack([model_input(image) for image in images])


def test_those_who_wait_go_together_in_order_and_get_their_own(pixels: np.ndarray) -> None:
    encoder = Held()
    batcher = Batcher(encoder, limit=4)
    encoder.go.clear()
    with ThreadPoolExecutor(9) as pool:
        futures = []
        for count, image in enumerate(pixels):
            futures.append(pool.submit(batcher.encode, image))
            encoder.begun.wait(30)
            eventually(lambda count=count: batcher.waiting >= count)  # type: ignore[misc]
        encoder.go.set()
        vectors = np.stack([future.result() for future in futures])
    assert [len(batch) for batch in encoder.batches] == [1, 4, 4]
    assert (np.concatenate(encoder.batches) == pixels).all()
    assert np.abs(vectors - encoder.encode(pixels)).max() < 1e-5
    assert batcher.sizes == {1: 1, 4: 2}


def test_a_lone_image_waits_for_nobody(pixels: np.ndarray) -> None:
    batcher = Batcher(Held(), limit=32)
    for image in pixels[:3]:
        batcher.encode(image)
    assert batcher.sizes == {1: 3}


def test_a_failure_reaches_those_it_concerns_and_nobody_else(pixels: np.ndarray) -> None:
    batcher = Batcher(Held(), limit=1)
    with pytest.raises(ValueError, match="white"):
        batcher.encode(np.full((224, 224, 3), 255, np.uint8))
    assert batcher.encode(pixels[0]).shape == (1280,)


@pytest.mark.parametrize("most", [0, 1])
def test_too_few_vectors_are_an_error_for_all_who_wait(pixels: np.ndarray, most: int) -> None:
    encoder = Held()
    batcher = Batcher(encoder, limit=4)
    encoder.go.clear()
    encoder.most = most
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.encode, pixels[0])
        encoder.begun.wait(30)
        others = [pool.submit(batcher.encode, image) for image in pixels[1:3]]
        eventually(lambda: batcher.waiting >= 2)
        encoder.go.set()
        for future in others if most else [first, *others]:
            with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
                future.result(timeout=30)
    encoder.most = None
    assert batcher.encode(pixels[3]).shape == (1280,)


@pytest.mark.parametrize(("second", "limit"), [(1.4, 8), (1.6, 1)])
def test_batches_are_made_where_two_images_cost_less_than_one_and_a_half(
    second: float, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder: Encoder = Held()
    encoder.batch_size = 8  # type: ignore[misc]
    monkeypatch.setattr(Batcher, "_seconds", lambda _, images: {1: 1.0, 2: second}[len(images)])
    assert Batcher(encoder).limit == limit
