"""The ncnn runtime's converted files: their location, and damage to them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexer.config import Config, EncoderConfig
from indexer.encoders import open_encoder
from indexer.encoders.models import specify
from indexer.encoders.ncnn.convert import UnsupportedLayer, convert
from indexer.encoders.ncnn.encoder import converted_folder
from indexer.encoders.ncnn.network import DamagedFiles, NcnnNetwork
from indexer.encoders.weights import Weights, embedded_weights
from tests.conftest import ROOT

CONFIG = EncoderConfig(model="efficientnet_lite0", runtime="ncnn")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lookalike"


def test_weights_are_converted_once_and_a_damaged_conversion_is_made_again(
    cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = open_encoder(CONFIG).encode(PIXELS)
    assert "Converting the weights of efficientnet_lite0 for ncnn, once" in capfd.readouterr().err
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    again = open_encoder(CONFIG)
    assert np.array_equal(again.encode(PIXELS), expected)
    assert capfd.readouterr().err == ""

    content = bytearray((folder / "network.bin").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / "network.bin").write_bytes(content)
    assert np.array_equal(open_encoder(CONFIG).encode(PIXELS), expected)
    assert "Converting" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["network.param", "manifest.json", "checksums.json"])
@pytest.mark.parametrize("how", ["missing", "damaged", "empty"])
def test_damage_to_any_file_is_noticed(tmp_path: Path, name: str, how: str, cache: Path) -> None:
    for file, content in {"network.param": b"7767517\n0 0\n", "manifest.json": b"{}"}.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "checksums.json").write_text('{"network.param": 1}')
    if how == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"" if how == "empty" else b"x")
    with pytest.raises(DamagedFiles):
        NcnnNetwork(tmp_path, None, 1)  # type: ignore[arg-type]


def test_the_conversion_lies_beside_weights_that_are_a_file(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "vgg.h5"
    file.touch()
    weights = Weights(str(file), "0123456789abcdef" * 4, file)
    spec = specify(EncoderConfig(), weights)
    assert converted_folder(spec, weights) == tmp_path / "vgg16-fc2-0123456789abcdef.ncnn1"
    embedded = embedded_weights()
    assert converted_folder(specify(CONFIG, embedded), embedded).parent == cache


def test_a_layer_without_translation_is_named(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.LeakyReLU(name="leaky")(image))
    with pytest.raises(UnsupportedLayer, match="leaky"):
        convert(keras.Model(image, x), tmp_path / "network")
    assert list(tmp_path.iterdir()) == []


def test_a_query_never_imports_keras(demo_config: Config, photos: list[Path]) -> None:
    open_encoder(CONFIG).load()  # the conversion imports Keras, in a process of its own
    script = (
        "import sys\n"
        "from indexer.cli.parser import main\n"
        f"status = main(['search', {str(photos[0])!r}, '--store={demo_config.store}', '--k=1'])\n"
        "assert status == 0 and not {'keras', 'tensorflow'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0.0000" in done.stdout
