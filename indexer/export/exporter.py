"""Export: write the vectors of the published version, with ids and keys, in another format."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np

from indexer.config import Config
from indexer.encoders import EncoderSpec
from indexer.errors import ExportError
from indexer.export.stored import StoredVectors
from indexer.store import Store
from indexer.store.files import sync

Format = Literal["npy", "parquet", "faiss"]
FORMATS: tuple[Format, ...] = get_args(Format)

Write = Callable[[StoredVectors, Path], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote, and which version and encoder the vectors are from."""

    path: Path
    format: Format
    images: int
    dim: int
    version: str
    encoder: str

    @property
    def summary(self) -> str:
        """The export in one line."""
        return (
            f"exported {self.images} vectors of dimension {self.dim} to {self.path}; "
            f"version {self.version}, encoder {self.encoder}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was written as JSON-ready values."""
        return {**asdict(self), "path": str(self.path)}


def export(config: Config, to: Format, path: Path) -> Exported:
    """Write the published version's vectors to ``path``, which must not exist.

    - ``npy``: a folder of ``vectors.npy``, float32 (n, dim), ``ids.npy``, int64 (n,), and
      ``keys.jsonl``, a JSON string a line, in the same order.
    - ``parquet``: one file with the columns ``id``, ``key``, ``sha256``, ``metadata`` (JSON) and
      ``vector``, a list of fixed size.
    - ``faiss``: an ``IndexIDMap2`` over an ``IndexFlatL2``, which finds ids by squared distance.

    Memory stays the same at any size. The files appear under their name when they are complete.

    Raises :class:`~indexer.errors.ExportError` if ``path`` exists or its folder does not,
    :class:`~indexer.errors.MissingDependency` without the library a format needs,
    :class:`~indexer.errors.NoPublishedIndex` and :class:`~indexer.errors.StoreCorrupt`.
    """
    path = path.expanduser().absolute()
    _refuse_existing(path)
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent}.", "Make it, or name another path.")
    write = _writer(to)
    version = Store(config.store).open_published()
    stored = StoredVectors(version)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        write(stored, partial)
        for written in (partial, *partial.glob("*")):
            sync(written)
        _refuse_existing(path)  # another export may have written it meanwhile
        partial.rename(path)
    sync(path.parent)
    manifest = version.manifest
    encoder = str(EncoderSpec.model_validate(manifest.encoder))
    return Exported(path, to, len(stored), stored.dim, manifest.version, encoder)


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise ExportError(f"{path} exists already.", "Remove it, or name another path.")


def _writer(to: Format) -> Write:
    if to == "parquet":
        from indexer.export.parquet import write_parquet

        return write_parquet
    return {"npy": _write_npy, "faiss": _write_faiss}[to]


def _write_npy(stored: StoredVectors, folder: Path) -> None:
    folder.mkdir()
    np.save(folder / "ids.npy", stored.ids, allow_pickle=False)
    shape = (len(stored), stored.dim)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with (
        (folder / "vectors.npy").open("wb") as vectors,
        (folder / "keys.jsonl").open("w", encoding="utf-8") as keys,
    ):
        np.lib.format.write_array_header_1_0(vectors, header)
        for block in stored.blocks():
            vectors.write(block.vectors.data)
            keys.writelines(f"{json.dumps(image.key)}\n" for image in stored.images(block.ids))


def _write_faiss(stored: StoredVectors, path: Path) -> None:
    from indexer.vector_index import id_mapped_file

    vectors = (block.vectors for block in stored.blocks())
    with path.open("wb") as file:
        file.writelines(id_mapped_file(stored.ids, vectors, stored.dim))
