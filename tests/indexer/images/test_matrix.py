"""A matrix of image files: what each shows, by what was written and by another decoder."""

import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from indexer.build import build
from indexer.encoders import open_encoder
from indexer.errors import InvalidImage
from indexer.images import decode, note
from indexer.search import Query, Searcher, Selection
from indexer.store import Store
from tests.conftest import small_config
from tests.indexer.images.matrix.files import files
from tests.indexer.images.matrix.scene import File

FILES = files()
LIMIT = 1_000_000

IMAGEMAGICK_DIFFERS = {
    "png-gamma.png": "it applies the gamma",
    "tiff-grey2-white0-*": "it does not invert 2, 4 and 12 bits",
    "tiff-grey4-white0-*": "it does not invert 2, 4 and 12 bits",
    "tiff-grey12-white0-*": "it does not invert 2, 4 and 12 bits",
    "tiff-*a-unspecified-*": "it takes a sample for an alpha that the file does not call one",
    "tiff-rgba-unset-*": "it takes a sample for an alpha that the file does not call one",
    "bmp-bgrx-*": "it takes bytes for an alpha that the file does not call one",
    "bmp-bgra-0-*": "it shows nothing where browsers show an opaque picture",
    "gif-small-frame*": "it returns the frame without its canvas",
    "avif-alpha.avif": "it forgets the alpha",
    "heic-alpha.heic": "it forgets the alpha",
    "turn?.png": "it does not know the EXIF chunk",
    "turn?.webp": "it does not apply the EXIF orientation",
    "no-end.png": "it does not read it",
}
"""Files that ImageMagick shows otherwise; most of it is not in version 7."""

DEEP = ("*grey16*", "*grey12*", "*rgb16*", "*noise16*")
"""Scaled to 8 bits, where ImageMagick rounds a little differently."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_shows_what_was_written_or_is_refused(file: File) -> None:
    if not file.is_read:
        with pytest.raises(InvalidImage):
            decode(file.data, max_pixels=LIMIT)
        return
    image = decode(file.data, max_pixels=LIMIT)
    assert bool(note(image)) == file.has_note
    if file.pixels is not None:
        assert image.size == file.pixels.shape[1::-1]
        assert difference(image.tobytes(), file.pixels.tobytes()) <= file.tolerance


def difference(ours: bytes, theirs: bytes) -> int:
    """Return the largest difference of two samples."""
    a, b = (np.frombuffer(pixels, np.uint8).astype(int) for pixels in (ours, theirs))
    return int(np.abs(a - b).max())


@pytest.fixture(scope="module")
def imagemagick() -> str:
    """The command of ImageMagick that converts."""
    for name in ("magick", "convert"):
        if command := shutil.which(name):
            said = subprocess.run([command, "-version"], capture_output=True, check=False).stdout
            if b"ImageMagick" in said:
                return command
    pytest.skip("ImageMagick is not installed (apt install imagemagick)")


def test_imagemagick_shows_the_same(imagemagick: str, tmp_path: Path) -> None:
    differing, compared = {}, 0
    for file in FILES:
        known = any(fnmatch(file.name, pattern) for pattern in IMAGEMAGICK_DIFFERS)
        if not file.is_read or known:
            continue
        image = decode(file.data, max_pixels=LIMIT)
        (tmp_path / file.name).write_bytes(file.data)
        options = "-auto-orient -background white -alpha remove -alpha off -colorspace sRGB"
        done = subprocess.run(
            [imagemagick, f"{tmp_path / file.name}[0]", *options.split(), "-depth", "8", "rgb:-"],
            capture_output=True,
            check=False,
        )
        compared += 1
        rounding = any(fnmatch(file.name, pattern) for pattern in DEEP)
        if len(done.stdout) != 3 * image.width * image.height:
            differing[file.name] = f"{image.size}: {len(done.stdout)} bytes, {done.stderr.decode()}"
        elif (off := difference(image.tobytes(), done.stdout)) > max(file.tolerance, rounding):
            differing[file.name] = f"a sample is off by {off}"
    assert not differing
    assert compared > 250


def test_the_whole_matrix_is_built(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing on stderr, every file accounted for, and queries see what was indexed."""
    folder = tmp_path / "images"
    folder.mkdir()
    for file in FILES:
        (folder / file.name).write_bytes(file.data)
    config = small_config(folder, tmp_path / "store")
    encoder = open_encoder(config.encoder)
    encoder.load()
    capfd.readouterr()
    report = build(config, encoder)
    assert capfd.readouterr() == ("", "")
    assert report.found == len(FILES) == report.indexed + report.skipped
    catalogue = Store(config.store).open_published().catalogue
    indexed = {row.key: row for row in catalogue.rows("indexed")}
    assert set(indexed) == {file.name for file in FILES if file.is_read}
    noted = {file.name for file in FILES if file.has_note}
    assert {key for key, row in indexed.items() if row.message} == noted
    assert f"are whole: {len(noted)}, " in " ".join(report.notes)

    searcher = Searcher.open(config)
    readable = [file for file in FILES if file.is_read][::4] + [f for f in FILES if f.has_note]
    queries = [(Query(image=file.data), Selection(k=1)) for file in readable]
    for file, found in zip(readable, searcher.search_many(queries), strict=True):
        stored = searcher.collection.features([indexed[file.name].id])[0]
        assert np.allclose(found.own_vector, stored, atol=1e-6), file.name
        assert bool(found.note) == file.has_note
