"""The skipped files that a build reads again: those that may now be readable."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from indexer.build import build
from indexer.build.plan import plan, preview
from indexer.config import Config
from indexer.datasets import Folder
from indexer.errors import ImageUnreadable
from tests.conftest import small_config


@pytest.fixture
def read(images: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the files of this test's images that were read.

    A server of an earlier test may not be gone yet, and looks for a few of its own images.
    """
    keys: list[str] = []
    real = Folder.read

    def noting(self: Folder, key: str) -> bytes:
        if self.source == str(images):
            keys.append(key)
        return real(self, key)

    monkeypatch.setattr(Folder, "read", noting)
    return keys


def test_a_file_that_cannot_be_decoded_is_not_read_again_until_it_changes(
    config: Config, images: Path, read: list[str]
) -> None:
    (images / "noise.jpg").write_bytes(b"no image")
    photo = next(images.rglob("*/*.jpg"))
    (images / "short.jpg").write_bytes(photo.read_bytes()[:2000])
    first = build(config)
    assert first.reasons == {"invalid_image": 1, "unsupported_image": 1}
    read.clear()
    assert not any(preview(config).values())
    again = build(config)
    assert (again.version, again.reasons, read) == (first.version, first.reasons, [])
    os.utime(images / "noise.jpg", ns=(1, 1))
    shutil.copy(photo, images / "short.jpg")
    assert preview(config)["retried"] == ["noise.jpg", "short.jpg"]
    assert build(config).reasons == {"unsupported_image": 1}
    assert sorted(read) == ["noise.jpg", "short.jpg"]  # threads read in any order


def test_an_image_with_too_many_pixels_is_read_again_if_the_limit_allows_it_now(
    images: Path, tmp_path: Path, read: list[str]
) -> None:
    for side in (600, 700):
        Image.new("L", (side, side)).save(images / f"{side}.png")

    def limited(side: int) -> Config:
        dataset = {"root": str(images), "max_pixels": side**2}
        return small_config(images, tmp_path / "s", dataset=dataset)

    assert build(limited(599)).reasons == {"image_too_large": 2}
    read.clear()
    assert build(limited(599)).reasons == {"image_too_large": 2}
    assert build(limited(100)).reasons == {"image_too_large": 2}
    assert read == []
    assert plan(limited(600)).images == 1
    read.clear()
    assert build(limited(600)).reasons == {"image_too_large": 1}
    assert read == ["600.png"]


def test_a_file_that_could_not_be_read_is_tried_every_time(
    config: Config, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "a.jpg").write_bytes(next(images.rglob("*/*.jpg")).read_bytes() + b"\0")
    real = Folder.read

    def failing(self: Folder, key: str) -> bytes:
        if key == "a.jpg":
            raise ImageUnreadable("The disk reports an error.")
        return real(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", failing)
        for _ in range(2):
            assert build(config).reasons == {"unreadable": 1}
            assert preview(config)["retried"] == ["a.jpg"]
    assert build(config).reasons == {}
