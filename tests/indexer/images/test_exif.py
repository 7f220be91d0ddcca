"""What a camera notes in a photograph becomes fields; nothing that is noted costs the picture."""

import struct
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from indexer.images import decode, exif_of, read_exif, thumbnail
from tests.indexer.images.matrix.scene import heif, saved

MAIN = {Base.Make: "Canon", Base.Model: "Canon EOS 5D", Base.Orientation: 6}
PHOTO = {
    Base.DateTimeOriginal: "2013:11:14 17:02:52",
    Base.OffsetTimeOriginal: "+02:00",
    Base.LensModel: "EF24-70mm f/2.8L USM",
}
SYDNEY = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (33.0, 51.0, 31.2),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (151.0, 12.0, 55.8),
    GPS.GPSAltitudeRef: b"\0",
    GPS.GPSAltitude: 12.5,
}
FIELDS = {
    "captured": "2013-11-14T17:02:52+02:00",
    "camera": "Canon EOS 5D",
    "lens": "EF24-70mm f/2.8L USM",
    "latitude": -33.858667,
    "longitude": 151.2155,
    "altitude": 12.5,
}
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
Tags = Mapping[int, Any]
PILLOW_WARNS = pytest.mark.filterwarnings("ignore::UserWarning")  # outside of tests they are off


def exif(main: Tags = MAIN, photo: Tags = PHOTO, gps: Tags = SYDNEY) -> bytes:
    made = Image.Exif()
    for tag, value in main.items():
        made[tag] = value
    made[IFD.Exif], made[IFD.GPSInfo] = dict(photo), dict(gps)
    return made.tobytes()


def file_with(data: bytes, image_format: str = "JPEG") -> bytes:
    picture = Image.new("RGB", (64, 48), "teal")
    if image_format == "HEIF":
        return heif(picture, exif=data or None)
    return saved(picture, image_format, exif=data)


def fields(data: bytes, image_format: str = "JPEG") -> dict[str, Any]:
    """The fields of a file, which are the same whether it is decoded or not."""
    file = file_with(data, image_format)
    found = read_exif(file)
    assert exif_of(decode(file, max_pixels=10_000)) == found
    return found


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_that_has_exif_gives_the_fields(image_format: str) -> None:
    assert fields(exif(), image_format) == FIELDS


def test_notes_do_not_leave_the_file_with_a_thumbnail() -> None:
    """It would say where the photograph was taken, to anybody who sees it."""
    for image_format in FORMATS:
        made = thumbnail(decode(file_with(exif(), image_format), max_pixels=10_000), side=32)
        assert read_exif(made) == {}
        assert b"Canon" not in made


def test_a_picture_without_notes_has_no_fields() -> None:
    for image_format in (*FORMATS, "GIF", "BMP"):
        assert fields(b"", image_format) == {}
    assert read_exif(b"") == read_exif(b"no image") == {}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("kind", [b"eXIf", b"tEXt"])
def test_a_png_may_have_its_notes_after_the_picture(kind: bytes) -> None:
    """They are the same without decoding, and the picture is turned all the same."""
    notes, plain = exif(), file_with(b"", "PNG")
    if kind == b"eXIf":
        chunk = png_chunk(kind, notes.removeprefix(b"Exif\0\0"))
    else:
        text = f"Raw profile type exif\0\nexif\n{len(notes):8}\n{notes.hex()}\n"
        chunk = png_chunk(kind, text.encode())
    file = plain[:-12] + chunk + plain[-12:]
    image = decode(file, max_pixels=10_000)
    assert read_exif(file) == exif_of(image) == FIELDS
    assert image.size == (48, 64)


@pytest.mark.parametrize(
    ("photo", "captured"),
    [
        ({Base.DateTimeOriginal: "2013:11:14 17:02:52"}, "2013-11-14T17:02:52"),
        (PHOTO | {Base.OffsetTimeOriginal: "-09:30"}, "2013-11-14T17:02:52-09:30"),
        (PHOTO | {Base.OffsetTimeOriginal: "Z"}, "2013-11-14T17:02:52+00:00"),
        (PHOTO | {Base.OffsetTimeOriginal: "   :  "}, "2013-11-14T17:02:52"),
        (PHOTO | {Base.OffsetTimeOriginal: "+25:00"}, "2013-11-14T17:02:52"),
        ({Base.DateTimeDigitized: "2001:01:01 00:00:00"}, "2001-01-01T00:00:00"),
        (
            PHOTO | {Base.DateTimeOriginal: "0000:00:00 00:00:00",
                     Base.DateTimeDigitized: "2001:01:01 00:00:00"},
            "2001-01-01T00:00:00",
        ),
        ({Base.DateTimeOriginal: "    :  :     :  :  "}, None),
        ({Base.DateTimeOriginal: "2013:13:14 17:02:52"}, None),
        ({Base.DateTimeOriginal: "2013:11:14"}, None),
        ({Base.DateTimeOriginal: "yesterday"}, None),
    ],
)  # fmt: skip
def test_the_date_is_iso_8601(photo: Tags, captured: str | None) -> None:
    assert fields(exif(photo=photo)).get("captured") == captured


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("EASTMAN KODAK COMPANY", "KODAK DC240 ZOOM", "KODAK DC240 ZOOM"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("LG Electronics", "LG-H870", "LG-H870"),
        ("SONY  ", "DSC-W1\0\0\0left over", "SONY DSC-W1"),
        ("Apple", None, "Apple"),
        (None, "E-M5", "E-M5"),
        ("", "", None),
        ("  ", "----", None),
        ("a\x1b[31m", "b", "b"),
        ("M" * 200, None, "M" * 200),
        ("M" * 201, "b", "b"),
    ],
)
def test_the_camera_is_maker_and_model_without_repetition(
    make: str | None, model: str | None, camera: str | None
) -> None:
    names = {Base.Make: make, Base.Model: model}
    main = {tag: name for tag, name in names.items() if name is not None}
    assert fields(exif(main=main)).get("camera") == camera


def test_the_camera_may_be_in_utf_8() -> None:
    """The standard says ASCII, and Pillow reads Latin-1."""
    for data in ("小米".encode(), "é".encode("latin-1").ljust(6)):
        name = fields(exif({Base.Make: "xiaomi"}).replace(b"xiaomi", data))["camera"]
        assert name in ("小米", "é")


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ({GPS.GPSLatitudeRef: "N", GPS.GPSLongitudeRef: "W"}, (33.858667, -151.2155)),
        ({GPS.GPSLatitude: (90, 0, 0), GPS.GPSLongitude: (180, 0, 0)}, (-90.0, 180.0)),
        ({GPS.GPSLatitude: (90, 0, 1)}, None),
        ({GPS.GPSLongitude: (180, 0, 1)}, None),
        ({GPS.GPSLatitude: (0, 0, 0), GPS.GPSLongitude: (0, 0, 0)}, None),
        ({GPS.GPSLatitude: (0, 0, 0)}, (0.0, 151.2155)),
        ({GPS.GPSLatitude: (33, 61, 0)}, None),
        ({GPS.GPSLatitude: (33, 51)}, None),
        ({GPS.GPSLatitude: 33.5}, None),
        ({GPS.GPSLatitudeRef: "X"}, None),
        ({GPS.GPSLatitudeRef: ""}, None),
    ],
)
def test_positions_are_signed_degrees_of_a_place_that_exists(
    change: Tags, position: tuple[float, float] | None
) -> None:
    found = fields(exif(gps=SYDNEY | change))
    names = found.keys() & {"latitude", "longitude"}
    assert (found["latitude"], found["longitude"]) == position if position else not names
    assert found["camera"] == "Canon EOS 5D"


@pytest.mark.parametrize(
    ("altitude", "reference", "metres"),
    [
        (8848, b"\0", 8848.0),
        (430.5, b"\1", -430.5),
        (100_000, b"\0", 100_000.0),
        (100_001, b"\0", None),
        (Fraction(1, 3), b"\0", 0.33),
    ],
)
def test_altitudes_are_metres_above_the_sea(
    altitude: Any, reference: bytes, metres: float | None
) -> None:
    gps = {GPS.GPSAltitude: altitude, GPS.GPSAltitudeRef: reference}
    assert fields(exif(gps=gps)).get("altitude") == metres


def test_no_number_is_not_a_place() -> None:
    """Cameras without a fix write 0/0, which is no number."""
    data = exif()
    degrees = struct.pack(">2I", 33, 1) if data[6:8] == b"MM" else struct.pack("<2I", 33, 1)
    assert degrees in data
    found = fields(data.replace(degrees, bytes(8)))
    assert "latitude" not in found
    assert found["altitude"] == 12.5


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "cut in the header": lambda data: data[:9],
    "another byte order": lambda data: data.replace(b"MM\0*", b"II*\0").replace(b"II*\0", b"MM\0*"),
    "no header": lambda data: b"Exif\0\0" + b"\xff" * 200,
    "ones": lambda data: data[:14] + b"\xff" * (len(data) - 14),
    "offsets to the start": lambda data: data[:14] + bytes(len(data) - 14),
}


@PILLOW_WARNS
@pytest.mark.parametrize("image_format", ["JPEG", "MPO", "PNG", "WEBP"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_malformed_notes_never_cost_the_picture(damage: str, image_format: str) -> None:
    """Of formats that Pillow writes with them; a TIFF consists of such directories itself."""
    fields(DAMAGE[damage](exif()), image_format)


@PILLOW_WARNS
def test_any_changed_byte_of_the_notes_leaves_the_picture() -> None:
    data = exif()
    whole = fields(data)
    for place in range(6, len(data)):
        changed = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        assert fields(changed).keys() <= whole.keys()


@PILLOW_WARNS
def test_directories_that_name_each_other_end() -> None:
    """The camera's directory is its own sub-directory, and has 5,000 entries of the whole data."""
    size = 65_000
    entries = [struct.pack("<HHII", 0x8769, 4, 1, 8), struct.pack("<HHII", 0x8825, 4, 1, 8)]
    entries += [struct.pack("<HHII", 0x9000 + n, 7, size - 8, 8) for n in range(5000)]
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    assert fields(b"Exif\0\0" + data.ljust(size, b"\0")) == {}
