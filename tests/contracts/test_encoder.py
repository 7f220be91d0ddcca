"""The contract of encoders, checked on all of them with real photographs."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest

from indexer.config import EncoderConfig
from indexer.encoders import Encoder, Images, Vectors, normalise, open_encoder
from indexer.encoders.keras import encoder as keras_encoder
from indexer.encoders.keras.backend import _padded
from indexer.errors import ConfigError, MissingDependency
from indexer.images import decode, model_input
from indexer.search.why import by_contributions

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
    """An index made in one runtime can be searched in another: equal fingerprints and vectors."""
    keras, ncnn = (open_encoder(CONFIGS[f"{model}-{runtime}"]) for runtime in RUNTIMES)
    assert keras.spec.fingerprint == ncnn.spec.fingerprint
    difference = np.abs(keras.encode(inputs) - ncnn.encode(inputs))
    assert difference.max() <= 1e-5


def test_the_mean_of_the_cells_is_the_vector(encoder: Encoder, name: str, inputs: Images) -> None:
    cells = encoder.cells(inputs)
    if not name.startswith("efficientnet"):
        assert cells is None  # fc1 and fc2 see all of the picture
        return
    assert cells is not None
    assert (cells.dtype, cells.shape) == (np.float32, (len(inputs), 7, 7, 1280))
    means = normalise(cells.mean(axis=(1, 2)))
    np.testing.assert_allclose(means, encoder.encode(inputs), atol=1e-6)


def test_contributions_of_the_cells_sum_to_the_cosine(
    encoder: Encoder, name: str, inputs: Images
) -> None:
    if not name.startswith("efficientnet"):
        pytest.skip("its vector is no mean over a grid: cells are covered instead")
    cells, vectors = encoder.cells(inputs), encoder.encode(inputs)
    assert cells is not None
    for one, other in itertools.combinations(range(len(inputs)), 2):
        found = by_contributions(cells[[one, other]].astype(np.float64))
        cosine = vectors[one] @ vectors[other]
        sums = [found.cosine, found.first.sum(), found.second.sum()]
        np.testing.assert_allclose(sums, cosine, atol=1e-5)


def test_a_batch_may_begin_before_the_last_one_is_fetched(encoder: Encoder, inputs: Images) -> None:
    expected = encoder.encode(inputs)
    waits = [encoder.start(inputs[:2]), encoder.start(inputs[2:])]
    np.testing.assert_allclose(np.concatenate([wait() for wait in waits]), expected, atol=1e-5)


def test_several_gpus_share_a_batch(inputs: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies of the network on the CPU stand for two GPUs."""
    config = CONFIGS["efficientnet_lite0-keras"]
    expected = open_encoder(config).encode(inputs)
    monkeypatch.setattr(keras_encoder, "gpus", lambda: ["cpu:0", "cpu:0"])
    monkeypatch.setattr(keras_encoder, "GPU_BATCH_SIZES", (3,))
    encoder = open_encoder(config)
    for count in (len(inputs), 1):
        np.testing.assert_allclose(encoder.encode(inputs[:count]), expected[:count], atol=1e-5)
    assert encoder.batch_size == 2 * 3


def test_the_batch_size_is_the_largest_unless_half_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(keras_encoder, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    seconds_per_image = {512: None, 256: 0.0004, 128: 0.0002, 64: 0.0002, 32: 0.0001}

    def network(images: Images, largest: int) -> Callable[[], Vectors]:
        assert len(images) == largest
        seconds = seconds_per_image[largest]
        if seconds is None:
            raise ValueError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        clock[0] += seconds * largest
        return lambda: np.zeros((largest, 1), np.float32)

    assert keras_encoder.fastest_batch_size(network) == 128

    def broken(images: Images, largest: int) -> Callable[[], Vectors]:
        raise ValueError("no memory problem")

    with pytest.raises(ValueError, match="no memory problem"):
        keras_encoder.fastest_batch_size(broken)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 8), (8, 8), (9, 32), (32, 32), (33, 33)])
def test_jax_compiles_three_sizes(inputs: Images, count: int, size: int) -> None:
    images = np.resize(inputs, (count, *inputs.shape[1:]))
    padded = _padded(images, 32)
    assert padded.shape == (size, 224, 224, 3)
    np.testing.assert_array_equal(padded[:count], images)
    assert not padded[count:].any()


def test_a_lower_precision_is_recorded_and_stays_comparable(inputs: Images) -> None:
    config = EncoderConfig(model="efficientnet_lite0", precision="bfloat16")
    rounded, full = open_encoder(config), open_encoder(MODELS["efficientnet_lite0"])
    assert (rounded.runtime, rounded.spec.precision) == ("keras", "bfloat16")
    assert "bfloat16" in str(rounded.spec)
    assert rounded.spec.fingerprint == full.spec.fingerprint
    distances = np.linalg.norm(rounded.encode(inputs) - full.encode(inputs), axis=1)
    assert 1e-5 < distances.max() < 0.1
    again = open_encoder(CONFIGS["efficientnet_lite0-keras"])  # the setting does not leak
    np.testing.assert_allclose(again.encode(inputs), full.encode(inputs), atol=1e-5)


def test_keras_is_used_with_a_message_if_ncnn_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("indexer.encoders.find_spec", lambda _: None)
    monkeypatch.setattr("indexer.encoders.may_have_gpu", lambda: False)
    assert open_encoder(MODELS["efficientnet_lite0"]).runtime == "keras"
    assert "ncnn is not installed" in capsys.readouterr().err
    with pytest.raises(MissingDependency, match="not installed"):
        open_encoder(CONFIGS["efficientnet_lite0-ncnn"])


def test_ncnn_computes_in_float32_only() -> None:
    with pytest.raises(ConfigError, match="ncnn computes in float32"):
        open_encoder(EncoderConfig(weights="random:1", precision="tf32", runtime="ncnn"))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_of_keras_give_the_same_vectors(
    backend: str, inputs: Images, tmp_path: Path
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; Lookalike does not need it")
    np.save(tmp_path / "inputs.npy", inputs)
    script = (
        "import sys, numpy as np; from indexer.config import EncoderConfig; "
        "from indexer.encoders import open_encoder; "
        "encoder = open_encoder(EncoderConfig(model='efficientnet_lite0', runtime='keras')); "
        f"np.save({str(tmp_path / 'out.npy')!r}, encoder.encode(np.load(sys.argv[1]))); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "inputs.npy")],
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True,
    )
    expected = open_encoder(CONFIGS["efficientnet_lite0-keras"]).encode(inputs)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)


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
