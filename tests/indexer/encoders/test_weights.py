"""The sources of VGG16's weights: local files in all of Keras' formats, and the download."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from indexer.config import EncoderConfig
from indexer.encoders import open_encoder
from indexer.encoders.weights import embedded_weights, file_sha256
from indexer.errors import WeightsUnavailable
from tests.conftest import ROOT

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A folder with one set of random weights in each format, and their vector."""
    from indexer.encoders.keras.vgg16 import set_random, vgg16

    folder = tmp_path_factory.mktemp("weights")
    network = vgg16.VGG16(weights=None)
    set_random(network, seed=1)
    network.save_weights(folder / "vgg.weights.h5")
    network.save(folder / "vgg.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save(folder / "vgg.h5")
    return folder, open_encoder(EncoderConfig(weights="random:1")).encode(PIXELS)


@pytest.mark.parametrize("name", ["vgg.h5", "vgg.weights.h5", "vgg.keras"])
def test_every_keras_format_gives_the_same_vector(
    reference: tuple[Path, np.ndarray], name: str
) -> None:
    folder, vector = reference
    encoder = open_encoder(EncoderConfig(weights=str(folder / name)))
    np.testing.assert_allclose(encoder.encode(PIXELS), vector, atol=1e-6)
    assert encoder.spec.weights_sha256 == file_sha256(folder / name)
    assert encoder.spec.weights_name == name
    (folder / name).unlink()  # half a gigabyte each


def test_a_missing_file_is_reported_at_once_with_three_ways_out(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="does not exist") as caught:
        open_encoder(EncoderConfig(weights=str(tmp_path / "vgg.h5")))
    for way in ("(1)", "(2)", "--weights", "(3)", "--encoder efficientnet_lite0"):
        assert way in caught.value.hint


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg.npz").write_bytes(b"x")
    with pytest.raises(WeightsUnavailable, match="not a Keras weights file"):
        open_encoder(EncoderConfig(weights=str(tmp_path / "vgg.npz")))


@pytest.mark.parametrize("name", ["bad.h5", "bad.keras", "bad.weights.h5"])
def test_a_damaged_file_is_refused_when_it_is_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no weights" * 100)
    encoder = open_encoder(EncoderConfig(weights=str(tmp_path / name)))
    with pytest.raises(WeightsUnavailable, match="does not hold the weights of VGG16"):
        encoder.load()


def test_without_network_the_download_fails_with_three_ways_out(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    closed = "http://127.0.0.1:9"  # the discard port, which refuses at once with any network
    done = subprocess.run(
        [sys.executable, "-m", "indexer", "build", "--images", str(tmp_path / "images"),
         "--store", str(tmp_path / "store")],
        env={
            **os.environ, "KERAS_HOME": str(tmp_path / "keras"), "NO_PROXY": "",
            "HTTPS_PROXY": closed, "https_proxy": closed,
        },
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be downloaded" in done.stderr
    assert "Keras downloads the VGG16 ImageNet weights (553 MB) from" in done.stderr
    for way in ("(1)", "(2)", "(3)", "--encoder efficientnet_lite0"):
        assert way in done.stderr
    assert done.stdout == ""


def test_a_file_in_keras_cache_that_keras_never_published_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexer.encoders.keras.download import FILE_NAME

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / FILE_NAME).write_bytes(b"garbage")
    with pytest.raises(WeightsUnavailable, match="not the file Keras publishes"):
        open_encoder(EncoderConfig())


def test_the_embedded_weights_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "weights.npz"
    content = bytearray(Path(str(embedded_weights().path)).read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr("indexer.encoders.weights._EMBEDDED", str(damaged))
    with pytest.raises(WeightsUnavailable, match="damaged"):
        embedded_weights()
