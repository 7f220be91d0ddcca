"""RAW files: the preview that the camera made is the picture."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.build import build
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets import Folder
from indexer.errors import DecoderMissing, InvalidImage, LookalikeError
from indexer.images import decode, exif_of, pixels, raw, read_exif
from indexer.maintenance import status
from tests.raw_files import LONG, SHORT, directory, dng

LIMIT = 10**8


@pytest.fixture(scope="module")
def preview(photos: list[Path]) -> bytes:
    return photos[0].read_bytes()


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(data)) as image:
        return image.size


TURNS = [
    (1, None),
    (3, Image.Transpose.ROTATE_180),
    (6, Image.Transpose.ROTATE_270),
    (8, Image.Transpose.ROTATE_90),
]


@pytest.mark.parametrize(("orientation", "turn"), TURNS)
@pytest.mark.parametrize("is_jpeg", [True, False])
def test_the_picture_is_the_preview_upright(
    preview: bytes, is_jpeg: bool, orientation: int, turn: Image.Transpose | None
) -> None:
    expected = decode(preview, max_pixels=LIMIT)
    samples = preview if is_jpeg else expected.tobytes()
    image = decode(dng(samples, *expected.size, orientation), max_pixels=LIMIT)
    upright = expected if turn is None else expected.transpose(turn)
    assert np.array_equal(np.asarray(image), np.asarray(upright))
    assert image.format == "RAW"


def test_what_the_camera_noted_is_that_of_the_raw_file(preview: bytes) -> None:
    data = dng(preview, *size_of(preview))
    expected = {"camera": "Maker 5", "captured": "2024-05-06T07:08:09"}
    assert exif_of(decode(data, max_pixels=LIMIT)) == read_exif(data) == expected
    assert pixels(data) == np.prod(size_of(preview))


def test_a_file_without_a_preview_says_so() -> None:
    with pytest.raises(InvalidImage, match="has no preview that can be read: No thumbnail"):
        decode(dng(None, 0, 0), max_pixels=LIMIT)


def test_the_limits_hold_for_the_preview(preview: bytes) -> None:
    data = dng(preview, *size_of(preview))
    with pytest.raises(LookalikeError, match="the limit is"):
        decode(data, max_pixels=pixels(data) - 1)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.6, 0.7, 0.9, 0.99])
def test_a_truncated_file_is_refused(preview: bytes, kept: float) -> None:
    data = dng(preview, *size_of(preview))
    with pytest.raises(LookalikeError):
        decode(data[: int(len(data) * kept)], max_pixels=LIMIT)


@pytest.mark.parametrize("image_format", ["TIFF", "JPEG", "PNG"])
def test_other_files_are_not_raw(preview: bytes, image_format: str) -> None:
    file = BytesIO()
    with Image.open(BytesIO(preview)) as image:
        image.save(file, image_format)
    assert not raw.is_raw(file.getvalue())
    assert decode(file.getvalue(), max_pixels=LIMIT).format == image_format


@pytest.mark.parametrize("offsets", [273, 324])
def test_grey_pixels_are_not_taken_for_the_signature_of_a_raw_file(offsets: int) -> None:
    """Those of Phase One's files are where other programs begin the pixels of a TIFF file."""
    pixels = b"I" * 256
    tags = {
        256: (SHORT, (16,)),
        257: (SHORT, (16,)),
        258: (SHORT, (8,)),
        259: (SHORT, (1,)),
        262: (SHORT, (1,)),
        offsets: (LONG, (8,)),
        277: (SHORT, (1,)),
        **(
            {278: (SHORT, (16,)), 279: (LONG, (256,))}
            if offsets == 273
            else {322: (SHORT, (16,)), 323: (SHORT, (16,)), 325: (LONG, (256,))}
        ),
    }
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels
    data = head + directory(tags, len(head))
    assert not raw.is_raw(data)
    assert decode(data, max_pixels=LIMIT).getpixel((0, 0)) == (73, 73, 73)
    tags[offsets] = LONG, (9,)
    assert raw.is_raw(head + directory(tags, len(head)))


@pytest.mark.parametrize(("place", "signature"), raw.SIGNATURES)
def test_formats_that_are_no_tiff_are_recognised(place: int, signature: bytes) -> None:
    data = bytes(place) + signature + bytes(100)
    assert raw.is_raw(data)
    with pytest.raises(InvalidImage, match="no preview that can be read"):
        decode(data, max_pixels=LIMIT)


def test_without_the_extra_raw_files_are_counted_and_wait_for_it(
    config: Config,
    images: Path,
    preview: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (images / "a.dng").write_bytes(dng(preview, *size_of(preview), 6))
    (images / "B.CR2").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    (images / "c.svg").write_text("<svg/>")
    monkeypatch.setattr(raw, "is_readable", lambda: False)
    monkeypatch.setattr("indexer.build.diff.can_read_raw", lambda: False)
    read = list[str]()
    real = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, key: read.append(key) or real(self, key))
    report = build(config)
    assert report.reasons == {"decoder_missing": 2, "unsupported_image": 1}
    assert not {"a.dng", "B.CR2"} & {*read}
    with pytest.raises(DecoderMissing) as caught:
        decode((images / "a.dng").read_bytes(), max_pixels=LIMIT)
    assert caught.value.hint == "Install it: pip install 'lookalike[raw]'."
    found = {one.suffix: (one.files, one.advice) for one in status(config).formats}
    assert found.keys() == {".dng", ".cr2", ".svg"}
    assert "pip install 'lookalike[raw]'" in found[".cr2"][1]
    assert main(["status", "--store", str(config.store)]) == 0
    assert "format   1 .svg: a drawing, not a photograph" in capsys.readouterr().out
    assert build(config).version == report.version  # nothing has changed
    monkeypatch.undo()
    report = build(config)
    assert (report.encoded, report.reasons) == (1, {"invalid_image": 1, "unsupported_image": 1})
    assert [one.suffix for one in status(config).formats] == [".svg"]
