"""Fixtures shared by all tests: real photographs, real encoders, small real indexes."""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import indexer.build.ingest
import indexer.build.pipeline
import indexer.build.rates
import indexer.search.query_encoder
from indexer.build import BuildReport, build
from indexer.build.rates import SAMPLE_SECONDS
from indexer.config import Config, load_config
from indexer.encoders import open_encoder

ROOT = Path(__file__).parent.parent
DEMO_IMAGES = ROOT / "demo" / "images"

Reindex = Callable[[], BuildReport]
"""Builds the index of the folder of six photographs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="where browser tests keep pictures")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own LOOKALIKE_ variables must not change what the tests see."""
    for name in list(os.environ):
        if name.startswith("LOOKALIKE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_its_own() -> Iterator[None]:
    """What goes to the user's folders, such as converted weights, is removed afterwards."""
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        patch.setenv("XDG_DATA_HOME", str(Path(cache) / "data"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_model_per_encoder() -> Iterator[None]:
    """Load each encoder's model once for all tests; it is the real one."""
    cached = functools.cache(open_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer.build.pipeline, "open_encoder", cached)
        patch.setattr(indexer.search.query_encoder, "open_encoder", cached)
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_measurements() -> Iterator[None]:
    """Plans measure for a tenth of the time that users grant them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer.build.rates, "SAMPLE_SECONDS", SAMPLE_SECONDS / 10)
        yield


def commit_batches_apart(patch: pytest.MonkeyPatch) -> None:
    """Make builds commit every batch by itself, however fast it is encoded."""
    patch.setattr(indexer.build.ingest, "COMMIT_VECTORS", 0)


@pytest.fixture
def batches_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds commit every batch by itself."""
    commit_batches_apart(monkeypatch)


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    """The 210 demo photographs in order of their paths."""
    return sorted(DEMO_IMAGES.rglob("*.jpg"))


def small_config(images: Path, store: Path, **sections: object) -> Config:
    """Settings for a folder of images and the embedded encoder."""
    flags = {
        "dataset": {"root": str(images)},
        "store": str(store),
        "encoder": {"model": "efficientnet_lite0"},
    }
    return load_config(None, {**flags, **sections})


def delete(photo: Path) -> None:
    """Delete a file, and its folder if that was the last: an empty one might be a mount point."""
    photo.unlink()
    if not any(photo.parent.iterdir()):
        photo.parent.rmdir()


@pytest.fixture
def images(tmp_path: Path, photos: list[Path]) -> Path:
    """A folder of six photographs that a test may change."""
    folder = tmp_path / "images"
    for photo in photos[::35]:
        target = folder / photo.relative_to(DEMO_IMAGES)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, target)
    return folder


@pytest.fixture
def config(images: Path, tmp_path: Path) -> Config:
    """Settings for the folder of six photographs."""
    return small_config(images, tmp_path / "store")


@pytest.fixture
def reindex(config: Config) -> Reindex:
    """Build the index of the six photographs, as often as a test wants."""
    return lambda: build(config)


@pytest.fixture(scope="session")
def demo_config(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Config:
    """The settings of a built index of forty photographs with both modes; read it only."""
    folder = tmp_path_factory.mktemp("demo")
    for photo in photos[::5][:40]:
        target = folder / "images" / photo.relative_to(DEMO_IMAGES)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, target)
    (folder / "images" / "broken.jpg").write_bytes(photos[0].read_bytes()[:2000])
    config = small_config(
        folder / "images",
        folder / "store",
        index={"approximate": "IVF4,SQ8", "recall": 1.0},
    )
    build(config)
    return config


@pytest.fixture(scope="session")
def boxes_config(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Config:
    """The settings of a built index of three boxes in each of four photographs; read it only.

    The first is the left half, the second nearly the same, the third the lower right quarter.
    """
    folder = tmp_path_factory.mktemp("boxes")
    images, things = [], []
    for number, photo in enumerate(photos[::60], 1):
        shutil.copy(photo, folder / f"{number}.jpg")
        size = {"width": 100, "height": 100}  # boxes are fractions of it
        images.append({"id": number, "file_name": f"{number}.jpg", **size})
        for n, bbox in enumerate([(0, 0, 50, 100), (0, 0, 52, 100), (50, 50, 50, 50)]):
            named = {"id": 10 * number + n, "image_id": number, "category_id": n}
            things.append(named | {"bbox": bbox})
    names = [{"id": n, "name": name} for n, name in enumerate(("left", "wider", "corner"))]
    content = {"images": images, "annotations": things, "categories": names}
    (folder / "a.json").write_text(json.dumps(content))
    dataset = {"kind": "coco", "root": folder, "annotations": folder / "a.json", "items": "boxes"}
    config = small_config(folder, folder / "store", dataset=dataset)
    build(config)
    return config


CAPTIONS = {
    0: ["A surf board on the beach", "Two dogs run past a surfboard"],
    1: ["A dog sleeps", "The old dog", "One dog on a sofa"],
    2: ["An old surf board"],
    3: ["A red bus", "A bus stops near the beach"],
    4: ["A caf\u00e9 in M\u00e1laga"],
}
"""What the first photographs of :func:`captioned_config` are said to show, by their number."""


@pytest.fixture(scope="session")
def captioned_config(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Config:
    """The settings of a built index of twelve photographs, some with captions; read it only.

    Their ids are their numbers plus one.
    """
    folder = tmp_path_factory.mktemp("captioned")
    (folder / "images").mkdir()
    for number, photo in enumerate(photos[::17][:12]):
        shutil.copy(photo, folder / "images" / f"{number:02}.jpg")
    captions = [(number, text) for number, texts in CAPTIONS.items() for text in texts]
    annotations = {
        "images": [{"id": n, "file_name": f"{n:02}.jpg"} for n in range(12)],
        "annotations": [
            {"id": i, "image_id": n, "caption": text} for i, (n, text) in enumerate(captions)
        ],
    }
    (folder / "captions.json").write_text(json.dumps(annotations))
    dataset = {
        "kind": "coco",
        "root": str(folder / "images"),
        "annotations": [str(folder / "captions.json")],
    }
    config = small_config(folder / "images", folder / "store", dataset=dataset)
    build(config)
    return config
