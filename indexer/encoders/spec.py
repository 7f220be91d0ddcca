"""The interface of encoders, their specification and fingerprint."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from indexer.config import Precision

Images = NDArray[np.uint8]
"""Model inputs: uint8 (n, 224, 224, 3), RGB."""

Vectors = NDArray[np.float32]
"""Features: float32 (n, dim), each of Euclidean norm 1."""

Cells = NDArray[np.float32]
"""Activations at the places of a grid over each picture: float32 (n, rows, columns, dim)."""


class EncoderSpec(BaseModel):
    """Everything that determines the vector of an image.

    ``weights`` is the setting that named the weights; their SHA-256 identifies them.
    ``precision`` is recorded and shown, but vectors of different precisions may be compared: a
    lower one only rounds more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    layer: str
    weights: str
    weights_sha256: str
    dim: int
    preprocessing: str
    precision: Precision = "float32"

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits, equal for encoders whose vectors may be compared."""
        identity = self.model_dump_json(exclude={"weights", "precision"})
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    @property
    def is_random(self) -> bool:
        """True if the weights are random numbers for tests, whose features mean nothing."""
        return self.weights.startswith("random:")

    @property
    def weights_name(self) -> str:
        """The name of the weights: ``imagenet``, ``random:1`` or a file's name."""
        return Path(self.weights).name

    def __str__(self) -> str:
        rounded = "" if self.precision == "float32" else f", {self.precision}"
        weights = f"weights {self.weights_name}"
        return f"{self.model} {self.layer}, {weights}{rounded}, {self.fingerprint}"


class Encoder(Protocol):
    """Turns images into vectors. The model is loaded by the first ``encode``."""

    @property
    def spec(self) -> EncoderSpec:
        """The specification; known before the model is loaded."""

    @property
    def runtime(self) -> str:
        """The library that runs the model. Vectors of all runtimes are interchangeable."""

    @property
    def batch_size(self) -> int:
        """How many images to encode at once."""

    @property
    def shares_cores(self) -> bool:
        """Whether it computes on the cores that decoding uses, too; known once it is loaded."""
        ...

    def load(self) -> None:
        """Load the model before the first image."""

    def start(self, images: Images) -> Callable[[], Vectors]:
        """Begin to encode, and return a function that waits for the vectors.

        A GPU begins with the next batch while the vectors of the last one are fetched. A CPU does
        the work when they are waited for.
        """

    def encode(self, images: Images) -> Vectors:
        """Encode uint8 (n, 224, 224, 3) RGB images to float32 (n, dim) vectors of norm 1."""

    def cells(self, images: Images) -> Cells | None:
        """Return the activations whose mean over the grid is the vector, before it gets norm 1.

        None if the vector is no such mean, but that of layers which see all of the picture.
        """


def normalise(activations: NDArray[np.float32]) -> Vectors:
    """Divide each row by its L2 norm, as the original does; a row of zeros stays zero."""
    norms = np.linalg.norm(activations, axis=1, keepdims=True)
    norms[norms == 0] = 1
    return np.asarray(activations / norms, np.float32)
