"""An export, read again by the library it is for, holds the stored vectors bit for bit."""

import json
import sys
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet
import pytest

import indexer.export.exporter
import indexer.export.stored
from indexer.config import Config, load_config
from indexer.errors import ExportError, MissingDependency, NoPublishedIndex
from indexer.export import FORMATS, Format, export
from indexer.search import Searcher
from indexer.store import Store
from tests.conftest import Reindex, delete


@pytest.fixture
def changed(config: Config, images: Path, reindex: Reindex) -> Config:
    """A store of two segments at least one of whose images is deleted."""
    reindex()
    first, second, *_ = sorted(images.rglob("*.jpg"))
    second.write_bytes(first.read_bytes() + b"\0")
    delete(first)
    (images / "späte\nZeile.jpg").write_bytes(next(images.rglob("*.jpg")).read_bytes() + b"\1")
    reindex()
    return config


@pytest.fixture(params=["whole", "changed"])
def source(request: pytest.FixtureRequest) -> Config:
    """The settings of a store of one whole segment, and of one with deleted images."""
    name = {"whole": "demo_config", "changed": "changed"}[request.param]
    config: Config = request.getfixturevalue(name)
    return config


@pytest.fixture(autouse=True)
def _several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.export.stored, "BLOCK_BYTES", 3 * 4 * 1280)


class Expected:
    """What the store holds, read another way than exports do: image by image."""

    def __init__(self, config: Config) -> None:
        version = Store(config.store).open_published()
        self.images = list(version.catalogue.rows("indexed"))
        searcher = Searcher.open(config)
        self.vectors = {
            image.id: searcher.search_id(image.id, k=1).vector.tobytes() for image in self.images
        }


def test_npy(source: Config, tmp_path: Path) -> None:
    done = export(source, "npy", tmp_path / "out")
    expected = Expected(source)
    vectors = np.load(tmp_path / "out" / "vectors.npy", mmap_mode="r")
    ids = np.load(tmp_path / "out" / "ids.npy")
    lines = (tmp_path / "out" / "keys.jsonl").read_text(encoding="utf-8").splitlines()
    keys = [json.loads(line) for line in lines]
    assert (vectors.shape, vectors.dtype, ids.dtype) == ((len(ids), 1280), np.float32, np.int64)
    assert {i: row.tobytes() for i, row in zip(ids.tolist(), vectors, strict=True)} == (
        expected.vectors
    )
    assert dict(zip(ids.tolist(), keys, strict=True)) == {i.id: i.key for i in expected.images}
    assert (done.images, done.dim, done.path) == (len(ids), 1280, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out"]


def test_parquet(source: Config, tmp_path: Path) -> None:
    export(source, "parquet", tmp_path / "out.parquet")
    expected = Expected(source)
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    rows = table.to_pylist()
    images = {image.id: image for image in expected.images}
    assert len(rows) == len(images)
    for row in rows:
        image = images[row["id"]]
        assert (row["key"], row["sha256"]) == (image.key, image.sha256)
        assert json.loads(row["metadata"]) == image.metadata
        assert np.array(row["vector"], np.float32).tobytes() == expected.vectors[image.id]
    assert table.schema.field("vector").type.list_size == 1280


def test_faiss(source: Config, tmp_path: Path) -> None:
    export(source, "faiss", tmp_path / "out.faiss")
    expected = Expected(source)
    index = faiss.read_index(str(tmp_path / "out.faiss"))
    assert (type(index), index.ntotal) == (faiss.IndexIDMap2, len(expected.images))
    for image_id, vector in expected.vectors.items():
        assert index.reconstruct(image_id).tobytes() == vector
        answer = Searcher.open(source).search_id(image_id, k=3)
        squared, found = index.search(np.frombuffer(vector, np.float32)[np.newaxis], 3)
        assert found[0].tolist() == [hit.image.id for hit in answer.hits]
        distances = np.sqrt(np.maximum(squared[0], 0))
        assert distances == pytest.approx([hit.distance for hit in answer.hits], abs=1e-3)


@pytest.mark.parametrize("to", FORMATS)
def test_nothing_is_overwritten(demo_config: Config, to: Format, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ExportError, match="exists already"):
        export(demo_config, to, tmp_path / "out")
    with pytest.raises(ExportError, match="There is no folder"):
        export(demo_config, to, tmp_path / "nowhere" / "out")
    assert (tmp_path / "out").stat().st_size == 0


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_that_fails_leaves_nothing(
    demo_config: Config, to: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = indexer.export.stored.read_vectors, []

    def failing(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(indexer.export.stored, "read_vectors", failing)
    with pytest.raises(OSError, match="No space left"):
        export(demo_config, to, tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    export(demo_config, to, tmp_path / "out")


@pytest.mark.parametrize("to", FORMATS)
def test_two_exports_to_one_path_do_not_disturb_each_other(
    demo_config: Config, to: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins and ends while the first one reads."""
    path = tmp_path / "out"
    other = tmp_path / ".out.partial"
    other.write_text("precious")
    read, calls = indexer.export.stored.read_vectors, []

    def reading(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            export(demo_config, to, path)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(indexer.export.stored, "read_vectors", reading)
    with pytest.raises(ExportError, match="exists already"):
        export(demo_config, to, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".out.partial", "out"]
    assert other.read_text() == "precious"


def test_without_pyarrow_the_extra_is_named(
    demo_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "indexer.export.parquet", raising=False)
    with pytest.raises(MissingDependency) as caught:
        export(demo_config, "parquet", tmp_path / "out")
    assert "pip install pyarrow" in caught.value.hint


def test_without_an_index_there_is_nothing_to_export(tmp_path: Path) -> None:
    config = load_config(None, {"store": str(tmp_path / "store")})
    with pytest.raises(NoPublishedIndex):
        export(config, "npy", tmp_path / "out")
