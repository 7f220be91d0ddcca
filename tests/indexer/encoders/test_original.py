"""The original's own procedure, step by step, against `build` and the HTTP API.

One image at a time through Keras, `np.linalg.norm` to every vector, `argsort`. Seeded random VGG16
weights stand in for ImageNet's, which no test may download; the arithmetic is the same.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.build import build
from tests.conftest import small_config
from tests.server.helpers import ready_app


def original_search(files: list[Path], query: Path) -> list[tuple[float, str]]:
    from keras.applications.vgg16 import VGG16, preprocess_input
    from keras.models import Model

    from indexer.encoders.keras.vgg16 import set_random

    base = VGG16(weights=None)
    set_random(base, seed=3)
    model = Model(inputs=base.input, outputs=base.get_layer("fc2").output)

    def extract(file: Path) -> np.ndarray:
        image = Image.open(file).resize((224, 224)).convert("RGB")
        x = preprocess_input(np.expand_dims(np.array(image, dtype=np.float32), axis=0))
        feature = model.predict(x, verbose=0)[0]
        return feature / np.linalg.norm(feature)

    features = np.array([extract(file) for file in files])
    distances = np.linalg.norm(features - extract(query), axis=1)
    return [(float(distances[i]), files[i].name) for i in np.argsort(distances)[:30]]


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_search_gives_the_originals_order_and_distances(
    tmp_path: Path, photos: list[Path], mode: str
) -> None:
    files = []
    (tmp_path / "images").mkdir()
    for photo in photos[::18]:
        files.append(tmp_path / "images" / photo.name)
        shutil.copy(photo, files[-1])
    config = small_config(
        tmp_path / "images",
        tmp_path / "store",
        encoder={"weights": "random:3", "batch_size": 5},
        index={"approximate": "IVF2,Flat", "recall": 1.0},
    )
    build(config)
    client = ready_app(config).test_client()
    for query in files[:2]:
        response = client.post(
            "/api/v1/search", data={"image": (query.open("rb"), query.name), "mode": mode}
        )
        assert response.json is not None
        assert response.json["encoder"]["random_weights"] is True
        ours = [(r["distance"], r["key"]) for r in response.json["results"]]
        theirs = original_search(files, query)
        np.testing.assert_allclose([d for d, _ in ours], [d for d, _ in theirs], atol=1e-4)
        assert [key for _, key in ours] == [key for _, key in theirs]
