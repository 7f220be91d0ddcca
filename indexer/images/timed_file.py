"""Files in memory as the decoders read them: for a limited time, and noticing their end."""

import time
from io import BytesIO

from indexer.errors import InvalidImage

MAX_DECODING_S = 10.0
"""CPU seconds that decoding one image may take. 100 megapixels of JPEG or PNG take 1 to 2."""

FEWEST_BYTES, MOST_BYTES = 4096, 65_536
BYTES_TIMES_PIXELS = MOST_BYTES * 1_000_000


def block_size(pixels: int) -> int:
    """Return how many bytes a decoder reads at once, so that the time is checked often enough.

    A few hundred bytes can contain a pass over all pixels, so that there are fewer for large
    images. For small ones there are more: Pillow takes the interpreter lock for every block.
    """
    return max(FEWEST_BYTES, min(BYTES_TIMES_PIXELS // max(1, pixels), MOST_BYTES))


class Clock:
    """The CPU time that this thread may still use for one image.

    The number of pixels alone does not bound the work: a progressive JPEG of 20 MB can contain a
    hundred thousand passes over 100 megapixels. CPU time does not depend on the machine's load.
    """

    def __init__(self) -> None:
        self._until = time.thread_time() + MAX_DECODING_S

    def check(self) -> None:
        """Raise :class:`InvalidImage` when the time is up."""
        if time.thread_time() > self._until:
            raise InvalidImage(
                f"Decoding the image takes more than {MAX_DECODING_S:g} seconds.",
                "Open it in an image editor and save it again.",
            )


class TimedFile(BytesIO):
    """A file in memory that can be read until the time of its image is up.

    Reads beyond the end return ``padding``.
    """

    def __init__(self, data: bytes, clock: Clock, padding: bytes = b"") -> None:
        super().__init__(data)
        self._clock = clock
        self.padding = padding
        self.is_exhausted = False
        """True once somebody has read beyond the end."""

    def read(self, size: int | None = -1) -> bytes:
        """Read from the file. Raises :class:`InvalidImage` when the time is up."""
        self._clock.check()
        data = super().read(size)
        if not data and size:
            self.is_exhausted = True
            return self.padding
        return data
