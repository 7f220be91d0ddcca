"""Converting a Keras network to the files that ncnn reads, once per set of weights.

The convolutional part becomes ncnn's ``.param`` (text, a layer per line) and ``.bin`` (float32
kernels and biases); the dense layers at its end become ``.npy`` matrices, because NumPy multiplies
a whole batch with them at once. Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexer.encoders.ncnn.network import CHECKSUMS, MANIFEST, PARAM, WEIGHTS, checksum

if TYPE_CHECKING:
    import keras

_INFINITE = float(np.finfo(np.float32).max)
_BOUNDS = {"linear": None, "relu": _INFINITE, "relu6": 6.0}  # what an activation clips to


class UnsupportedLayer(ValueError):
    """A layer of the Keras network has no translation; the message names it."""


@dataclass
class _Node:
    """One layer of the graph, connected to its inputs and its consumers."""

    name: str  # for ncnn
    kind: str
    config: dict[str, Any]
    layer: Any = None
    shape: tuple[int, ...] = ()  # of its output
    inputs: list["_Node"] = field(default_factory=list)
    consumers: list["_Node"] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)  # ncnn's names of the output, one per consumer

    def unsupported(self, why: str) -> UnsupportedLayer:
        """Return the error that names this layer."""
        return UnsupportedLayer(f"{self.kind} layer {self.config.get('name')!r} {why}")


def convert(network: "keras.Model", folder: Path) -> None:
    """Write ``network`` into ``folder`` in the form that ``NcnnNetwork`` opens.

    ``network`` is a functional Keras model from one image (h, w, 3) of fixed size to one vector:
    convolutional layers, then global pooling or Flatten, then dense layers. The folder is written
    under a temporary name and renamed, replacing an older one.

    Raises :class:`UnsupportedLayer` for a layer without translation.
    """
    trunk = _read_graph(network)
    head: list[_Node] = []
    while trunk[-1].kind in ("Flatten", "Dense"):
        head.insert(0, trunk.pop())
    if len(trunk[-1].shape) == 3 and (not head or head[0].kind != "Flatten"):
        raise (head or trunk[-1:])[0].unsupported("lacks pooling or Flatten around it")

    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        target = Path(scratch, "network")
        target.mkdir()
        with (target / WEIGHTS).open("wb") as weights:
            lines = [s for n in trunk if n.kind != "Folded" for s in _translate(n, weights)]
        blobs = sum(int(line.split()[3]) for line in lines)
        text = "\n".join(["7767517", f"{len(lines)} {blobs}", *lines, ""])
        (target / PARAM).write_text(text, encoding="ascii", newline="\n")
        dense: dict[str, float | None] = {}
        for i, node in enumerate(node for node in head if node.kind == "Dense"):
            dense[f"dense_{i}.npy"] = _bound(node)
            kernel, bias = node.layer.weights
            file = target / f"dense_{i}.npy"  # (in + 1, out), the bias last
            shape = (kernel.shape[0] + 1, kernel.shape[1])
            affine = np.lib.format.open_memmap(file, "w+", np.float32, shape)
            affine[:-1], affine[-1] = kernel.numpy(), bias.numpy()
            affine.flush()
        manifest = {
            "input": trunk[0].name,
            "output": trunk[-1].name,
            "dense": dense,
            "multiplications": sum(map(_multiplications, trunk)),
        }
        (target / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="ascii")
        sums = {path.name: checksum(path) for path in target.iterdir()}
        (target / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="ascii")
        shutil.rmtree(folder, ignore_errors=True)
        target.rename(folder)


def _read_graph(network: "keras.Model") -> list[_Node]:
    """List the layers between the network's input and output, every layer after its inputs."""
    nodes: dict[str, _Node] = {}
    for i, entry in enumerate(network.get_config()["layers"]):
        kind, name, calls = entry["class_name"], entry["name"], entry["inbound_nodes"]
        nodes[name] = node = _Node(f"{i}_{kind}", kind, {**entry["config"], "name": name})
        first = node.config.get("data_format") == "channels_first"
        if entry["module"] != "keras.layers" or first or len(calls) > 1:
            raise node.unsupported("is not a layer of Keras, used once, with channels last")
        node.layer = network.get_layer(name)
        argument = calls[0]["args"][0] if calls and calls[0]["args"] else []
        for tensor in argument if isinstance(argument, (list, tuple)) else [argument]:
            source = nodes[tensor["config"]["keras_history"][0]]
            source.shape = tuple(tensor["config"]["shape"][1:])
            source.consumers.append(node)
            node.inputs.append(source)
    node.shape = tuple(network.outputs[0].shape[1:])
    return list(nodes.values())


def _translate(node: _Node, weights: IO[bytes]) -> Iterator[str]:
    """Yield the lines of ncnn's .param for one layer and append its weights to the .bin file."""
    config, last = node.config, node
    params: dict[int, object] = {}
    match node.kind:
        case "InputLayer":
            kind, params = "Input", {0: node.shape[1], 1: node.shape[0], 2: node.shape[2]}
        case "Conv2D" | "DepthwiseConv2D":
            kernel, bias, bound, last = _fold(node)
            groups = node.inputs[0].shape[2] // kernel.shape[1]
            kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
            pad = -233 if config["padding"] == "same" else 0  # -233: as TensorFlow does it
            params = {0: len(kernel), 4: pad, 5: 1, 6: kernel.size, 7: groups}
            params[11], params[1] = kernel.shape[2:]
            params[12], params[2] = config["dilation_rate"]
            params[13], params[3] = config["strides"]
            if bound is not None:
                params |= {9: 3, -23310: f"2,0.0,{bound}"}
            weights.write(bytes(4))  # "what follows is float32"
            weights.write(kernel.astype("<f4").tobytes() + bias.astype("<f4").tobytes())
        case "ReLU" | "Activation":
            bound = _bound(node)
            kind, params = "Clip", {0: -_INFINITE if bound is None else 0.0, 1: bound or _INFINITE}
        case "Add" if len({source.shape for source in node.inputs}) == 1:
            kind, params = "Eltwise", {0: 1}
        case "ZeroPadding2D":
            (top, bottom), (left, right) = config["padding"]
            kind, params = "Padding", {0: top, 1: bottom, 2: left, 3: right}
        case "MaxPooling2D":
            kind, params = "Pooling", {0: 0, 5: 2 if config["padding"] == "same" else 1}
            params[11], params[1] = config["pool_size"]
            params[12], params[2] = config["strides"]
        case "GlobalAveragePooling2D" if not config["keepdims"]:
            kind, params = "Pooling", {0: 1, 4: 1}
        case _:
            raise node.unsupported("is not supported, or not with these settings and followers")
    inputs = [source.blobs.pop() for source in node.inputs]
    values = [f"{key}={value}" for key, value in params.items()]
    yield " ".join([kind, node.name, str(len(inputs)), "1", *inputs, last.name, *values])
    last.blobs = [last.name]
    if (uses := len(last.consumers)) > 1:  # an ncnn blob has one reader
        last.blobs = [f"{last.name}.{i}" for i in range(uses)]
        yield " ".join(["Split", f"{last.name}.split", "1", str(uses), last.name, *last.blobs])


def _fold(node: _Node) -> tuple[NDArray[Any], NDArray[Any], float | None, _Node]:
    """Fold the batch norm and activation that follow a convolution into it, in float64.

    Returns kernel (out, in, rows, columns), bias (out,), activation bound and last layer folded.
    """
    kernel, *rest = (weight.astype(np.float64) for weight in node.layer.get_weights())
    kernel = kernel.transpose(3, 2, 0, 1)
    if node.kind == "DepthwiseConv2D":  # so far (multiplier, channel, rows, columns)
        kernel = kernel.swapaxes(0, 1).reshape(-1, 1, *kernel.shape[2:])
    bias, bound, last = rest[0] if rest else np.zeros(len(kernel)), _bound(node), node
    while bound is None and len(last.consumers) == 1:
        follower = last.consumers[0]
        if follower.kind == "BatchNormalization" and follower.config["axis"] in (-1, 3):
            *rest, mean, variance = (w.astype(np.float64) for w in follower.layer.get_weights())
            beta = rest.pop() if follower.config["center"] else 0.0
            gamma = rest.pop() if follower.config["scale"] else 1.0
            factor = gamma / np.sqrt(variance + follower.config["epsilon"])
            kernel, bias = kernel * factor[:, None, None, None], (bias - mean) * factor + beta
        elif follower.kind in ("ReLU", "Activation"):
            bound = _bound(follower)
        else:
            break
        follower.kind, last = "Folded", follower
    return kernel, bias, bound, last


def _multiplications(node: _Node) -> int:
    """Count the multiplications of a convolution per image; other layers have few."""
    if node.kind not in ("Conv2D", "DepthwiseConv2D"):
        return 0
    kernel = node.layer.get_weights()[0]
    return int(kernel.size * np.prod(node.shape[:2]))


def _bound(node: _Node) -> float | None:
    """Return the upper bound of a layer's activation, or None if it is linear."""
    name, config = node.config.get("activation"), node.config
    if node.kind == "ReLU" and not config["negative_slope"] and not config["threshold"]:
        return _INFINITE if config["max_value"] is None else float(config["max_value"])
    if isinstance(name, str) and name in _BOUNDS:
        return _BOUNDS[name]
    raise node.unsupported("has an activation other than linear, relu and relu6")
