"""The benchmark of a build's stages measures what it says."""

from pathlib import Path

from PIL import Image

from benchmarks.stages import COCO_SIZE, StandIn, coco_like, copied_pixels, measure
from tests.conftest import DEMO_IMAGES

KEYS = {"decode_alone", "encode_alone", "commit_alone", "build", "gpu_busy"}


def test_the_stages_are_measured_alone_and_together(tmp_path: Path) -> None:
    coco_like(DEMO_IMAGES, tmp_path / "images", 24)
    figures = measure(StandIn(), tmp_path / "images", tmp_path, rounds=1)
    assert figures["images"] == 24
    assert figures["gpu_busy"] is None, "there is no device"
    assert all(figures[name] > 0 for name in KEYS - {"gpu_busy"})
    assert figures["build"] < figures["encode_alone"]
    assert not list(tmp_path.glob("build*")), "the stores are removed"


def test_a_stand_in_is_as_slow_as_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(64):
        (tmp_path / "images" / f"{number}.jpg").touch()
    with copied_pixels():
        figures = measure(StandIn(rate=100), tmp_path / "images", tmp_path, rounds=1)
    assert 30 < figures["encode_alone"] <= 101
    assert figures["build"] <= 101
    assert 0.3 < figures["gpu_busy"] <= 1
    assert figures["decode_alone"] > 100


def test_images_like_those_of_coco(tmp_path: Path) -> None:
    coco_like(DEMO_IMAGES, tmp_path / "images", 212)
    files = sorted((tmp_path / "images").iterdir())
    with Image.open(files[0]) as image:
        assert image.size == COCO_SIZE
    sizes = [file.stat().st_size for file in files]
    assert 80_000 < sum(sizes) / len(sizes) < 160_000
    assert len({file.read_bytes() for file in files}) == 212
