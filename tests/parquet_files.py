"""Parquet files with pictures."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from indexer.config import Config
from tests.conftest import small_config
from tests.corners import picture

Columns = Mapping[str, Any]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def pictures(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return values of an image column, each another picture."""
    return [{"bytes": picture(n), "path": f"{n}.png"} for n in range(start, start + count)]


def write(path: Path, columns: Columns, features: object = None, **options: Any) -> Path:
    """Write a Parquet file, with Hugging Face's features in its schema if there are some."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        noted = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(noted)
    parquet.write_table(table, path, **options)
    return path


def random_images(count: int, size: int) -> list[dict[str, Any]]:
    """Return values of an image column whose bytes are noise."""
    return [{"bytes": os.urandom(size), "path": f"{n}.jpg"} for n in range(count)]


def config_of(root: Path, tmp_path: Path) -> Config:
    """Return settings for a Parquet file or a folder of some."""
    dataset = {"kind": "parquet", "root": str(root)}
    return small_config(root, tmp_path / "store", dataset=dataset)
