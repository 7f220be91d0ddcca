"""Sources of weights, and the SHA-256 that identifies them."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from indexer.errors import ConfigError, WeightsUnavailable

WEIGHT_SUFFIXES = (".h5", ".keras")  # .weights.h5 ends in .h5

_EMBEDDED = "embedded/efficientnet_lite0/weights_fp16.npz"
_EMBEDDED_SHA256 = "5a578bfe0d0a9555d4b7fe6701f1a3c977b30f9c073d78edaf35f89fc80d86a2"


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights: the setting that named it, its digest, and a file or a seed."""

    setting: str
    sha256: str
    path: Path | None = None
    seed: int | None = None
    embedded: bool = False


def embedded_weights() -> Weights:
    """Return the EfficientNet-Lite0 weights that are part of Lookalike, after checking them."""
    path = Path(str(resources.files("indexer.encoders").joinpath(_EMBEDDED)))
    digest = file_sha256(path) if path.is_file() else "nothing"
    if digest != _EMBEDDED_SHA256:
        raise WeightsUnavailable(
            f"The embedded weights {path} are damaged: SHA-256 {digest}, not {_EMBEDDED_SHA256}.",
            "Install Lookalike again.",
        )
    return Weights("imagenet", digest, path, embedded=True)


def local_weights(path: Path) -> Weights:
    """Return the weights in a ``.h5``, ``.weights.h5`` or ``.keras`` file."""
    if not path.is_file():
        raise WeightsUnavailable(f"The weights file {path} does not exist.", _weights_hint())
    if path.suffix not in WEIGHT_SUFFIXES:
        raise WeightsUnavailable(
            f"{path.name} is not a Keras weights file.", "Use a .h5, .weights.h5 or .keras file."
        )
    return Weights(str(path), file_sha256(path), path)


def random_weights(setting: str) -> Weights:
    """Return the weights ``random:<seed>``, which are for tests only."""
    _, _, seed = setting.partition(":")
    if not seed.isdecimal():
        raise ConfigError(f"encoder.weights: {setting!r} has no seed.", "Write random:1.")
    digest = hashlib.sha256(f"he-normal:{int(seed)}".encode()).hexdigest()
    return Weights(f"random:{int(seed)}", digest, seed=int(seed))


def unavailable(reason: str) -> WeightsUnavailable:
    """Return the error for ImageNet weights that cannot be downloaded, with alternatives."""
    return WeightsUnavailable(
        f"The VGG16 ImageNet weights are not in Keras' cache and cannot be downloaded: {reason}.",
        _weights_hint(),
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weights_hint() -> str:
    return (
        "Three ways out: (1) run once with internet access, Keras downloads them (553 MB) and "
        "keeps them; (2) give a local file: --weights FILE.h5, or encoder.weights in config.yaml; "
        "(3) use the embedded encoder, which needs no download: --encoder efficientnet_lite0."
    )
