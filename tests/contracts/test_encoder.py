"""What every encoder promises, checked on all of them with real photographs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from indexer.config import EncoderConfig
from indexer.encoders import Encoder, Images, normalise, open_encoder
from indexer.errors import ConfigError
from indexer.images import decode, model_input

RUNTIMES: list[Literal["keras", "ncnn"]] = ["keras", "ncnn"]
MODELS = {
    "efficientnet_lite0": EncoderConfig(model="efficientnet_lite0"),
    "vgg16-fc2": EncoderConfig(weights="random:1"),
    "vgg16-fc1": EncoderConfig(weights="random:1", layer="fc1"),
}
CONFIGS = {
    f"{model}-{runtime}": config.model_copy(update={"runtime": runtime})
    for model, config in MODELS.items()
    for runtime in RUNTIMES
}
DIMS = {"efficientnet_lite0": 1280, "vgg16-fc2": 4096, "vgg16-fc1": 4096}


@pytest.fixture(scope="module", params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(name: str) -> Encoder:
    encoder = open_encoder(CONFIGS[name])
    assert encoder.runtime == name.rpartition("-")[2]
    return encoder


@pytest.fixture(scope="module")
def inputs(photos: list[Path]) -> Images:
    chosen = [decode(photo.read_bytes(), max_pixels=10**8) for photo in photos[::42]]
    return np.stack([model_input(image) for image in chosen])


def test_vectors_are_float32_of_norm_one(encoder: Encoder, name: str, inputs: Images) -> None:
    vectors = encoder.encode(inputs)
    assert (vectors.dtype, vectors.shape) == (
        np.float32,
        (len(inputs), DIMS[name.rpartition("-")[0]]),
    )
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_different_photographs_get_different_vectors(encoder: Encoder, inputs: Images) -> None:
    vectors = encoder.encode(inputs)
    distances = np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2)
    assert distances[~np.eye(len(inputs), dtype=bool)].min() > 0.1


def test_a_batch_gives_what_single_images_give(encoder: Encoder, inputs: Images) -> None:
    together = encoder.encode(inputs)
    alone = np.concatenate([encoder.encode(image[np.newaxis]) for image in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_all_runtimes_give_interchangeable_vectors(model: str, inputs: Images) -> None:
    """An index made in one runtime is searched in another: same fingerprint, same vectors."""
    keras, ncnn = (open_encoder(CONFIGS[f"{model}-{runtime}"]) for runtime in RUNTIMES)
    assert keras.spec.fingerprint == ncnn.spec.fingerprint
    difference = np.abs(keras.encode(inputs) - ncnn.encode(inputs))
    assert difference.max() <= 1e-5


def test_threads_share_an_encoder(encoder: Encoder, inputs: Images) -> None:
    expected = encoder.encode(inputs)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: encoder.encode(inputs[n : n + 2]), [0, 1, 2, 3] * 2))
    for answer, n in zip(answers, [0, 1, 2, 3] * 2, strict=True):
        np.testing.assert_allclose(answer, expected[n : n + 2], atol=1e-5)


def test_a_second_encoder_of_the_same_settings_gives_the_same(
    encoder: Encoder, name: str, inputs: Images
) -> None:
    again = open_encoder(CONFIGS[name])
    assert again.spec == encoder.spec
    np.testing.assert_allclose(again.encode(inputs[:1]), encoder.encode(inputs[:1]), atol=1e-6)


def test_fingerprints_tell_encoders_apart() -> None:
    specs = [open_encoder(config).spec for config in MODELS.values()]
    specs.append(open_encoder(EncoderConfig(weights="random:2")).spec)
    assert len({spec.fingerprint for spec in specs}) == len(specs)


def test_the_batch_size_is_not_part_of_the_identity() -> None:
    one = open_encoder(EncoderConfig(model="efficientnet_lite0", batch_size=1))
    assert one.batch_size == 1
    assert one.spec == open_encoder(MODELS["efficientnet_lite0"]).spec


@pytest.mark.parametrize("model", ["efficientnet_lite0", "vgg16"])
def test_the_specification_is_known_without_loading_keras(model: str) -> None:
    weights = "random:1" if model == "vgg16" else "imagenet"
    script = (
        "import sys; from indexer.config import EncoderConfig; "
        "from indexer.encoders import open_encoder; "
        f"print(open_encoder(EncoderConfig(model={model!r}, weights={weights!r})).spec); "
        "assert not {'keras', 'tensorflow'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert model in done.stdout


def test_the_embedded_encoder_refuses_other_weights() -> None:
    with pytest.raises(ConfigError, match="comes with its weights"):
        open_encoder(EncoderConfig(model="efficientnet_lite0", weights="other.h5"))


@pytest.mark.parametrize("weights", ["random:", "random:x", "random:-1"])
def test_random_weights_need_a_seed(weights: str) -> None:
    with pytest.raises(ConfigError, match="no seed"):
        open_encoder(EncoderConfig(weights=weights))


def test_a_row_of_zeros_stays_zero() -> None:
    np.testing.assert_allclose(
        normalise(np.array([[0, 0], [3, 4]], np.float32)), [[0, 0], [0.6, 0.8]], rtol=1e-6
    )
