"""What the workers of these tests do: extraction with an encoder that takes little time."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from indexer.build.blocks import BlockExtraction
from indexer.encoders import Encoder, Vectors
from indexer.encoders.spec import Images
from tests.corners import Corners

POISON = 0xBA
"""Workers end when they encode a picture whose first pixel has this blue."""


class Logged(Corners):
    """Notes the pictures that it encodes, takes some seconds, and dies of poison."""

    def __init__(self, log: Path, seconds: float) -> None:
        self._log = log
        self._seconds = seconds

    def start(self, images: Images) -> Callable[[], Vectors]:
        return partial(self.encode, images)

    def encode(self, images: Images) -> Vectors:
        if (images[:, 0, 0, 2] == POISON).any():
            os.kill(os.getpid(), signal.SIGKILL)
        with self._log.open("a") as file:
            file.write("".join(f"{sha256(image).hexdigest()}\n" for image in images))
        time.sleep(self._seconds)
        return super().encode(images)


@dataclass(slots=True)
class LoggedExtraction(BlockExtraction):
    """Extraction with that encoder."""

    log: Path = Path()
    seconds: float = 0.0

    def open_encoder(self, cores: int) -> Encoder:
        return Logged(self.log, self.seconds)


def count_encoded(log: Path) -> int:
    """Return how many pictures were encoded, each as often as it was."""
    return len(log.read_text().split()) if log.exists() else 0


def count_encoded_again(log: Path) -> int:
    """Return how many pictures were encoded again, each as often as it was."""
    counts = Counter(log.read_text().split())
    return counts.total() - len(counts)
