"""Whether a JPEG without end marker has its whole picture.

libjpeg fills what is missing with grey, or leaves it coarse, and Pillow does not say so. Markers
are those of ITU-T T.81, https://www.w3.org/Graphics/JPEG/itu-t81.pdf.
"""

from collections.abc import Iterator

END_OF_IMAGE = b"\xff\xd9"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frames: what components there are."""
SCAN = 0xDA
WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))
"""Stuffed bytes, restarts, and the markers of start and end."""
COEFFICIENTS = 64

_NOISE = bytes(byte for i in range(1, 1024) if (byte := i * 167 % 256) not in (0, 255))


def fillings(data: bytes) -> Iterator[bytes]:
    """Yield ways to end a file that differ in every bit, so that a decoder that needs some shows.

    Restart markers stand between the bits, since a decoder may wait for one.
    """
    stuffing = b"\0" if data.endswith(b"\xff") else b""  # so that the last byte is no marker
    for noise in (_NOISE, bytes(byte ^ 0xFF for byte in _NOISE)):
        restarts = b"".join(b"\xff" + bytes([0xD0 + i % 8]) + noise for i in range(16))
        yield stuffing + noise + restarts + END_OF_IMAGE


def has_all_scans(data: bytes) -> bool:
    """Tell whether the scans of a file reach the last bit of all coefficients."""
    bits_left: dict[tuple[int, int], int] = {}
    for marker, segment in _segments(data):
        if marker in FRAMES and len(segment) > 5:
            components = segment[6 : 6 + 3 * segment[5] : 3]
            bits_left = {(c, k): 1 for c in components for k in range(COEFFICIENTS)}
        if marker == SCAN and segment and len(segment) >= 2 * segment[0] + 4:
            first, last, bits = segment[2 * segment[0] + 1 :][:3]
            for component in segment[1 : 2 * segment[0] : 2]:
                for k in range(first, min(last, COEFFICIENTS - 1) + 1):
                    bits_left[component, k] = bits & 0x0F
    return not any(bits_left.values())


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment; coded pixels between them are skipped."""
    position = 0
    while (position := data.find(b"\xff", position)) >= 0 and position + 1 < len(data):
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in WITHOUT_LENGTH:
            position += 2
        else:
            length = int.from_bytes(data[position + 2 : position + 4], "big")
            yield marker, data[position + 4 : position + 2 + length]
            position += 2 + length
