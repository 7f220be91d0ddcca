"""Export to Parquet, by pyarrow."""

import json
from pathlib import Path

from indexer.errors import MissingDependency
from indexer.export.stored import StoredVectors

try:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter
except ImportError as error:
    raise MissingDependency(
        f"Parquet files are written by pyarrow, which cannot be imported: {error}.",
        "Install it with: pip install pyarrow (Lookalike's extra parquet).",
    ) from error


def write_parquet(stored: StoredVectors, path: Path) -> None:
    """Write one Parquet file, a row for each image, a row group for each block of vectors."""
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("key", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("metadata", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), stored.dim), nullable=False),
        ]
    )
    with ParquetWriter(path, schema) as writer:
        for ids, vectors in stored.blocks():
            images = stored.images(ids)
            columns = [
                pa.array(ids),
                pa.array([image.key for image in images]),
                pa.array([image.sha256 for image in images]),
                pa.array([json.dumps(dict(image.metadata)) for image in images]),
                pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), stored.dim),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
