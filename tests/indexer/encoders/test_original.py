"""The original's own procedure, step by step, against `build` and the HTTP API.

One image at a time through Keras, `np.linalg.norm` to every vector, `argsort`. Seeded random VGG16
weights stand in for ImageNet's, which no test may download; the arithmetic is the same.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from indexer.build import build
from tests.conftest import small_config
from tests.server.helpers import ready_app

Ranking = list[tuple[float, str]]


class Original:
    """Its extractor, and what it finds among some files."""

    def __init__(self, files: list[Path]) -> None:
        from keras.applications.vgg16 import VGG16
        from keras.models import Model

        from indexer.encoders.keras.vgg16 import set_random

        base = VGG16(weights=None)
        set_random(base, seed=3)
        self._model = Model(inputs=base.input, outputs=base.get_layer("fc2").output)
        self._files = files
        self._features = np.array([self.extract(file) for file in files])

    def extract(self, file: Path) -> np.ndarray:
        from keras.applications.vgg16 import preprocess_input

        image = Image.open(file).resize((224, 224)).convert("RGB")
        x = preprocess_input(np.expand_dims(np.array(image, dtype=np.float32), axis=0))
        feature = self._model.predict(x, verbose=0)[0]
        return feature / np.linalg.norm(feature)

    def search(self, query: Path) -> Ranking:
        distances = np.linalg.norm(self._features - self.extract(query), axis=1)
        return [(float(distances[i]), self._files[i].name) for i in np.argsort(distances)[:30]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    return [Path(shutil.copy(photo, folder)) for photo in photos[::18]]


@pytest.fixture(scope="module")
def original(files: list[Path]) -> Original:
    return Original(files)


@pytest.fixture(scope="module")
def client(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    config = small_config(
        files[0].parent,
        tmp_path_factory.mktemp("store"),
        encoder={"weights": "random:3", "batch_size": 5},
        index={"approximate": "IVF2,Flat", "recall": 1.0},
    )
    build(config)
    return ready_app(config).test_client()


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_search_gives_the_originals_order_and_distances(
    original: Original, files: list[Path], client: FlaskClient, mode: str
) -> None:
    for query in files[:2]:
        response = client.post(
            "/api/v1/search", data={"image": (query.open("rb"), query.name), "mode": mode}
        )
        assert response.json is not None
        assert response.json["encoder"]["random_weights"] is True
        ours = [(r["distance"], r["key"]) for r in response.json["results"]]
        theirs = original.search(query)
        np.testing.assert_allclose([d for d, _ in ours], [d for d, _ in theirs], atol=1e-4)
        assert [key for _, key in ours] == [key for _, key in theirs]
