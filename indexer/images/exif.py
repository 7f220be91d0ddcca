"""What a camera notes in a photograph: when, with what and where it was taken.

Anybody can write such notes. A value that is malformed or impossible is left out, and never costs
the image. The tags are those of EXIF 3.0, https://www.cipa.jp/e/std/std-sec.html.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

ExifFields = dict[str, str | float]

POSITION = ("latitude", "longitude", "altitude")
"""The fields that say where a photograph was taken."""

MAX_TEXT = 200
"""Characters of the longest name of a camera or a lens."""

MAX_ALTITUDE = 100_000
"""Metres above or below the sea, where space begins."""

_TAKEN = (
    (Base.DateTimeOriginal, Base.OffsetTimeOriginal),
    (Base.DateTimeDigitized, Base.OffsetTimeDigitized),
)
_BELOW = (1, 3, b"\1", b"\3")
"""References of an altitude that is below its zero."""


def exif_fields(image: Image.Image) -> ExifFields:
    """Return what an opened image's EXIF says, by field; what it does not say is left out.

    ``captured`` is a date and time in ISO 8601, with an offset if there is one; ``camera`` and
    ``lens`` are names; ``latitude`` and ``longitude`` are degrees, positive in the north and the
    east, and ``altitude`` metres above the sea.
    """
    exif = Image.Exif()
    with suppress(Exception):  # Pillow raises many types for malformed EXIF
        exif = Image.Image.getexif(image)  # a PNG's own would decode the picture
    return fields_of(exif)


def fields_of(exif: Image.Exif) -> ExifFields:
    """Return the same of EXIF data."""
    found: ExifFields = {}
    for read in (_captured, _camera, _lens, _position, _altitude):
        with suppress(Exception):
            found |= read(exif)
    return found


def _captured(exif: Image.Exif) -> ExifFields:
    tags = exif.get_ifd(IFD.Exif)
    for taken, offset in _TAKEN:
        with suppress(ValueError):  # zeros or blanks: the camera's clock was not set
            text = _text(tags.get(taken))
            moment = datetime.fromisoformat(f"{text[:10].replace(':', '-')}T{text[11:]}")
            with suppress(ValueError):
                zone = datetime.strptime(_text(tags.get(offset)), "%z").tzinfo
                moment = moment.replace(tzinfo=zone)
            return {"captured": moment.isoformat(timespec="seconds")}
    return {}


def _camera(exif: Image.Exif) -> ExifFields:
    """Return the maker and the model; the model alone if it begins with the maker's name."""
    maker, model = _text(exif.get(Base.Make)), _text(exif.get(Base.Model))
    words, (first, *_) = (re.findall(r"\w+", name.casefold()) or [""] for name in (maker, model))
    name = model if first in words else f"{maker} {model}".strip()
    return {"camera": name} if name else {}


def _lens(exif: Image.Exif) -> ExifFields:
    name = _text(exif.get_ifd(IFD.Exif).get(Base.LensModel))
    return {"lens": name} if name else {}


def _position(exif: Image.Exif) -> ExifFields:
    gps = exif.get_ifd(IFD.GPSInfo)
    latitude = _degrees(gps[GPS.GPSLatitude], 90)
    longitude = _degrees(gps[GPS.GPSLongitude], 180)
    if latitude == longitude == 0:  # what is written without a fix; there is only sea
        return {}
    return {
        "latitude": latitude * {"N": 1, "S": -1}[_text(gps[GPS.GPSLatitudeRef]).upper()],
        "longitude": longitude * {"E": 1, "W": -1}[_text(gps[GPS.GPSLongitudeRef]).upper()],
    }


def _altitude(exif: Image.Exif) -> ExifFields:
    gps: Mapping[int, Any] = exif.get_ifd(IFD.GPSInfo)
    metres = round(float(gps[GPS.GPSAltitude]), 2)
    if not 0 <= metres <= MAX_ALTITUDE:
        return {}
    return {"altitude": -metres if gps.get(GPS.GPSAltitudeRef) in _BELOW else metres}


def _degrees(parts: Any, limit: int) -> float:
    """Return degrees, minutes and seconds as degrees. Raises :class:`ValueError` beyond a limit."""
    degrees, minutes, seconds = map(float, parts)
    total = round(degrees + minutes / 60 + seconds / 3600, 6)
    if not (0 <= minutes <= 60 and 0 <= seconds <= 60 and degrees >= 0 and total <= limit):
        raise ValueError("no such place")
    return total


def _text(value: object) -> str:
    """Return a text without what pads it; empty if it says nothing, or is too long for a name."""
    if not isinstance(value, str):
        return ""
    text = value.partition("\0")[0].strip()
    with suppress(UnicodeError):  # Pillow takes all text for Latin-1
        text = text.encode("latin-1").decode()
    says_something = text.isprintable() and any(map(str.isalnum, text))
    return text if says_something and len(text) <= MAX_TEXT else ""
