"""Decoding: every kind of image file that people have, and damaged ones."""

import hashlib
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from indexer.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from indexer.images import (
    FORMATS,
    MAX_SIDE,
    decode,
    decoding,
    media_type,
    model_input,
    note,
    pixels,
    thumbnail,
    timed_file,
)
from tests.conftest import ROOT
from tests.indexer.images.matrix.other_files import jpegs
from tests.indexer.images.matrix.png_files import pngs
from tests.indexer.images.matrix.scene import File, heif
from tests.indexer.images.matrix.writers import chunk, png, tiff

LIMIT = 1_000_000
RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def corner(data: bytes, position: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    pixel = decode(data, max_pixels=LIMIT).getpixel(position)
    assert isinstance(pixel, tuple)
    return pixel


def test_a_photograph_becomes_what_the_original_made_of_it(photos: list[Path]) -> None:
    for photo in photos[:10]:
        original = Image.open(photo).resize((224, 224)).convert("RGB")
        ours = model_input(decode(photo.read_bytes(), max_pixels=LIMIT))
        assert ours.dtype == np.uint8
        assert np.array_equal(ours, np.asarray(original))


@pytest.mark.parametrize("image_format", [f for f in FORMATS if f != "JPEG"])
def test_every_listed_format_is_read(image_format: str) -> None:
    picture = Image.new("RGB", (8, 6), RED)
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = heif(picture) if image_format == "HEIF" else encoded(picture, image_format, **options)
    image = decode(data, max_pixels=LIMIT)
    assert (image.mode, image.size, image.format) == ("RGB", (8, 6), image_format)
    assert np.allclose(corner(data), RED, atol=6)
    assert media_type(image_format).startswith("image/")


def test_a_multi_picture_file_counts_as_jpeg() -> None:
    first, second = Image.new("RGB", (8, 6), RED), Image.new("RGB", (8, 6), WHITE)
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert decode(data, max_pixels=LIMIT).format == "JPEG"


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (4, 2), WHITE)
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    upright = decode(encoded(image, exif=exif), max_pixels=LIMIT)
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_what_pillow_makes_of_it(orientation: int) -> None:
    image = Image.effect_noise((6, 4), 90).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    upright = decode(data, max_pixels=LIMIT)
    assert (upright.size, upright.tobytes()) == (expected.size, expected.tobytes())


def test_malformed_metadata_is_ignored() -> None:
    image = Image.new("RGB", (4, 2), RED)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(exif.tobytes())
    entry = content.index(b"\x12\x01") if b"\x12\x01" in content else content.index(b"\x01\x12")
    extra = bytes(content[entry : entry + 12])
    for position in range(len(extra)):
        broken = bytearray(content)
        broken[entry + position] ^= 0x5A
        assert decode(encoded(image, exif=bytes(broken)), max_pixels=LIMIT).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_composited_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    clear.putpixel((1, 0), (0, 0, 0, 255))
    data = encoded(clear.convert(mode), "TIFF" if mode == "PA" else "PNG")
    assert corner(data) == WHITE
    assert corner(data, (1, 0)) == (0, 0, 0)


def test_a_palette_with_transparency_is_composited_before_resizing() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    data = encoded(image, transparency=0)
    assert (corner(data), corner(data, (1, 0))) == (WHITE, (0, 0, 255))


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (257 * 100, 100), (65535, 255)])
def test_sixteen_bit_grey_is_scaled_not_clipped(value: int, expected: int) -> None:
    image = Image.fromarray(np.full((2, 2), value, np.uint16))
    assert corner(encoded(image)) == (expected,) * 3


def test_sixteen_bit_grey_with_a_transparent_value_is_scaled_too() -> None:
    data = bytearray(encoded(Image.fromarray(np.full((2, 2), 257 * 100, np.uint16))))
    chunk = b"tRNS" + (0).to_bytes(2, "big")
    position = data.index(b"IDAT") - 4
    data[position:position] = (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    assert corner(bytes(data)) == (100, 100, 100)


def test_cmyk_is_converted() -> None:
    data = encoded(Image.new("RGB", (8, 8), RED).convert("CMYK"), "JPEG", quality=100)
    assert np.allclose(corner(data), RED, atol=4)


def test_grey_and_bilevel_become_rgb() -> None:
    assert corner(encoded(Image.new("L", (2, 2), 77))) == (77, 77, 77)
    assert corner(encoded(Image.new("1", (2, 2), 1))) == WHITE


def test_an_animation_counts_as_its_first_frame() -> None:
    frames = [Image.new("RGB", (3, 3), color) for color in (RED, WHITE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert corner(data) == RED


def test_resizing_gives_the_same_pixels_in_every_version() -> None:
    """Pillow 13 resizes some tall images in another order than Pillow 12, by other pixels.

    If this fails with a new version, indexes that were made before no longer fit the queries.
    """
    noise = np.random.default_rng(0).integers(0, 256, (700, 300, 3), np.uint8)
    pixels = model_input(Image.fromarray(noise))
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    assert digest == "d3df924c42e76eafdc5b90c606ed765a7ac814d9d5a804ad0460f24e14ba970a"


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000)])
def test_extreme_shapes_become_model_inputs(size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, RED))
    assert model_input(decode(data, max_pixels=LIMIT)).shape == (224, 224, 3)


def test_the_pixel_limit_holds_on_both_sides() -> None:
    data = encoded(Image.new("RGB", (100, 10)))
    assert decode(data, max_pixels=1000).size == (100, 10)
    with pytest.raises(ImageTooLarge, match="1,000 pixels; the limit is 999"):
        decode(data, max_pixels=999)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    """A PNG header of 50,000 x 50,000 pixels without data: decoding it would fail differently."""
    tiny = bytearray(encoded(Image.new("L", (1, 1))))
    tiny[16:24] = (50_000).to_bytes(4, "big") * 2
    tiny[29:33] = zlib.crc32(tiny[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageTooLarge):
        decode(bytes(tiny), max_pixels=LIMIT)


def test_the_longest_side_is_bounded_on_both_sides() -> None:
    """A PNG of 1 x 100,000,000 pixels has 74 bytes, and took 2 GB for its rows."""
    for size in ((1, MAX_SIDE), (MAX_SIDE, 1)):
        assert decode(encoded(Image.new("L", size)), max_pixels=LIMIT).size == size
    for size in ((1, MAX_SIDE + 1), (MAX_SIDE + 1, 1)):
        with pytest.raises(ImageTooLarge, match="no side may have more than 65,500") as caught:
            decode(encoded(Image.new("L", size)), max_pixels=LIMIT)
        # A build reads such a file again if max_pixels allows its width x height.
        assert (caught.value.width, caught.value.height) == (None, None)


@pytest.mark.parametrize("deflate", [False, True])
def test_the_tiles_of_a_tiff_are_bounded_like_images(deflate: bool) -> None:
    data = tiff(np.zeros((16, 16, 3), np.uint8), 8, 2, tile=1008, deflate=deflate)
    assert decode(data, max_pixels=1008 * 1008).size == (16, 16)
    assert pixels(data) == 1008 * 1008
    with pytest.raises(ImageTooLarge, match="tile has 1008 x 1008 = 1,016,064 pixels"):
        decode(data, max_pixels=1008 * 1008 - 1)
    long = tiff(np.zeros((16, 16, 3)), 8, 2, tile=16, tags={322: 16, 323: MAX_SIDE + 1})
    with pytest.raises(ImageTooLarge, match="tile has 16 x 65501 pixels"):
        decode(long, max_pixels=2_000_000)


def test_a_tiff_of_millions_of_strips_takes_no_more_memory() -> None:
    """Pillow would make an object of each, more than 200 bytes, before its size can be checked."""
    strips = 300_000
    rows = np.zeros((16, 16, 1), np.uint8)
    data = tiff(rows, 8, 1, rows_per_strip=1, tags={273: [8] * strips})
    tracemalloc.start()
    with suppress(InvalidImage):
        decode(data, max_pixels=LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * strips


def test_the_pixels_of_a_file_with_much_text_are_counted() -> None:
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2_000_000)))
    assert pixels(png(np.zeros((30, 40, 3)), 8, 2, text)) == 1200


@pytest.mark.parametrize("file", [*jpegs()], ids=lambda file: file.name)
def test_a_truncated_jpeg_is_used_only_if_its_whole_picture_is_there(file: File) -> None:
    """Wherever it is cut: within the end marker it is noted, before that it is refused."""
    if not file.is_read or file.name == "mpo.jpg":
        return
    whole = decode(file.data, max_pixels=LIMIT)
    assert note(whole) == ""
    for missing in (1, 2):
        cut = decode(file.data[:-missing], max_pixels=LIMIT)
        assert cut.tobytes() == whole.tobytes()
        assert note(cut) == "The file ends without an end marker."
    for missing in (*range(3, 60), *range(60, len(file.data), 83)):
        try:
            cut = decode(file.data[:-missing], max_pixels=LIMIT)
        except InvalidImage:
            continue
        assert cut.tobytes() == whole.tobytes(), missing


def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused() -> None:
    data = encoded(Image.effect_noise((64, 64), 90), "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    with pytest.raises(InvalidImage, match="ends before its picture does"):
        decode(data[:last_scan], max_pixels=LIMIT)


@pytest.mark.parametrize("file", [*pngs()], ids=lambda file: file.name)
def test_a_truncated_png_is_used_only_if_its_whole_picture_is_there(file: File) -> None:
    if not file.is_read:
        return
    whole = decode(file.data, max_pixels=LIMIT)
    for missing in range(1, 60):
        try:
            cut = decode(file.data[:-missing], max_pixels=LIMIT)
        except InvalidImage:
            assert missing > 16  # the end, and a checksum
            continue
        assert cut.tobytes() == whole.tobytes()
        assert missing < 5 or "without an end marker" in note(cut)


def test_one_clock_runs_for_all_attempts_at_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncated JPEG is decoded three times, which must not take three times the limit."""
    clocks = []

    class Counting(timed_file.Clock):
        def __init__(self) -> None:
            super().__init__()
            self.checks = 0
            clocks.append(self)

        def check(self) -> None:
            self.checks += 1
            super().check()

    monkeypatch.setattr(decoding, "Clock", Counting)
    data = encoded(Image.effect_noise((200, 200), 90), "JPEG", quality=95)
    decode(data, max_pixels=LIMIT)
    assert note(decode(data[:-2], max_pixels=LIMIT))
    whole, truncated = clocks
    assert truncated.checks >= 3 * whole.checks > 3 * len(data) // timed_file.MOST_BYTES


@pytest.mark.parametrize(
    ("pixels", "block"),
    [(1, 65_536), (1_000_000, 65_536), (2_000_000, 32_768), (16_000_000, 4096), (10**8, 4096)],
)
def test_the_time_is_checked_more_often_for_large_images(pixels: int, block: int) -> None:
    assert timed_file.block_size(pixels) == block


@pytest.mark.parametrize("side", [300, 3000])
def test_a_decoder_reads_no_more_than_a_block(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Recording(timed_file.TimedFile):
        def read(self, size: int | None = -1) -> bytes:
            sizes.append(size or 0)
            return super().read(size)

    monkeypatch.setattr(decoding, "TimedFile", Recording)
    data = encoded(Image.effect_noise((side, side), 90), "JPEG", quality=95)
    decode(data, max_pixels=10**8)
    assert max(sizes) == timed_file.block_size(side * side)


def test_the_time_limit_holds_for_the_chunks_of_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(np.zeros((3, 4, 3)), 8, 2, chunk(b"tEXt", b"") * 100_000)
    assert decode(data, max_pixels=LIMIT).size == (4, 3)
    monkeypatch.setattr(timed_file, "MAX_DECODING_S", 0.0)
    with pytest.raises(InvalidImage, match="takes more than"):
        decode(data, max_pixels=LIMIT)


def test_truncated_and_damaged_files_are_invalid(photos: list[Path]) -> None:
    data = photos[0].read_bytes()
    for broken in (data[: len(data) // 2], data[:300], encoded(Image.new("RGB", (64, 64)))[:-30]):
        with pytest.raises(InvalidImage):
            decode(broken, max_pixels=LIMIT)


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"<svg/>", b"\x00" * 1000])
def test_a_file_that_is_no_image_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        decode(data, max_pixels=LIMIT)


def test_a_format_that_is_not_listed_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage):
        decode(encoded(Image.new("RGB", (4, 4)), "PPM"), max_pixels=LIMIT)


def test_floating_point_samples_are_refused() -> None:
    with pytest.raises(InvalidImage, match="Floating-point"):
        decode(encoded(Image.new("F", (4, 4)), "TIFF"), max_pixels=LIMIT)


def test_a_thumbnail_fits_and_is_never_enlarged() -> None:
    small = Image.open(BytesIO(thumbnail(Image.new("RGB", (400, 100)), side=200)))
    assert (small.format, small.size) == ("JPEG", (200, 50))
    assert Image.open(BytesIO(thumbnail(Image.new("RGB", (40, 10)), side=200))).size == (40, 10)


def progressive(passes: int) -> bytes:
    """A JPEG of 4 megapixels whose last scan, 14 bytes for a pass over all pixels, is repeated."""
    data = encoded(Image.new("L", (2000, 2000), "grey"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * passes + data[-2:]


def test_a_small_file_that_takes_long_to_decode_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is as large as a photograph, but decoding all of it would take minutes."""
    assert decode(progressive(2), max_pixels=4_000_000).size == (2000, 2000)
    monkeypatch.setattr(timed_file, "MAX_DECODING_S", 0.2)
    with pytest.raises(InvalidImage, match=r"takes more than 0\.2 seconds"):
        decode(progressive(100_000), max_pixels=4_000_000)


def test_profiles_do_not_change_the_pixels() -> None:
    picture = Image.effect_noise((30, 20), 90).convert("RGB")
    plain = decode(encoded(picture), max_pixels=LIMIT).tobytes()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for image_format in ("PNG", "TIFF", "BMP"):
        data = encoded(picture, image_format, icc_profile=profile)
        assert decode(data, max_pixels=LIMIT).tobytes() == plain


def test_malformed_metadata_does_not_fill_the_log(tmp_path: Path) -> None:
    """A TIFF with unreadable tags, for each of which Pillow would warn."""
    tags = b"".join(struct.pack("<HHII", tag, 7, 1_000_000, 8) for tag in range(500))
    data = b"II*\0" + struct.pack("<IH", 8, 500) + tags + bytes(4)
    (tmp_path / "tags.tif").write_bytes(data)
    script = f"""if True:
        from pathlib import Path
        from indexer.errors import InvalidImage, UnsupportedImage
        from indexer.images import decode
        try:
            decode(Path({str(tmp_path / "tags.tif")!r}).read_bytes(), max_pixels=1000)
        except (InvalidImage, UnsupportedImage):
            print("refused")
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"refused\n", b"")
