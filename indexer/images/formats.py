"""Formats by the endings of files' names: which are read, and what to do about the others."""

from indexer.images import raw

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""Pillow's names of the formats that are read; all others are refused. RAW files contain one."""

SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif",
        ".heic", ".heif", ".hif",
    )
) | raw.SUFFIXES  # fmt: skip
"""Endings of files that are read."""

_CONVERT = "not read; convert them to JPEG or PNG"
_EXPORT = "a project of an image editor; export it as JPEG or PNG"
_DRAWING = "a drawing, not a photograph"

NOT_READ = {
    ".jxl": f"JPEG XL, {_CONVERT}",
    ".jp2": f"JPEG 2000, {_CONVERT}",
    ".j2k": f"JPEG 2000, {_CONVERT}",
    ".jpf": f"JPEG 2000, {_CONVERT}",
    ".ppm": _CONVERT,
    ".pgm": _CONVERT,
    ".tga": _CONVERT,
    ".exr": f"high dynamic range, {_CONVERT}",
    ".hdr": f"high dynamic range, {_CONVERT}",
    ".psd": _EXPORT,
    ".psb": _EXPORT,
    ".xcf": _EXPORT,
    ".kra": _EXPORT,
    ".svg": _DRAWING,
    ".svgz": _DRAWING,
    ".eps": _DRAWING,
    ".ai": _DRAWING,
}
"""What to say of endings of pictures that are not read. Such files are skipped, not ignored: each
has a row with its reason. One that holds an image all the same is read."""


def advice(suffix: str) -> str:
    """Return what would read the files of an ending that were skipped because of their format."""
    if suffix in raw.SUFFIXES and not raw.is_readable():
        return f"RAW photographs. {raw.EXTRA_HINT} The next build reads them."
    if suffix in NOT_READ:
        return NOT_READ[suffix]
    return (
        "their content is in no format that is read. If an older Lookalike skipped them: "
        "lookalike index --reread"
    )
