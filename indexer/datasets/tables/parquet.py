"""Tables in Parquet, by pyarrow."""

from collections.abc import Iterator
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.tables.rows import Row, key_column
from indexer.datasets.tables.values import plain_values
from indexer.errors import MissingDependency

try:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile
except ImportError as error:
    raise MissingDependency(
        f"Parquet files are read by pyarrow, which cannot be imported: {error}.",
        "Install it with: pip install pyarrow (Lookalike's extra parquet).",
    ) from error

ROWS_AT_ONCE = 4096


def read_parquet(path: Path, listing: Listing) -> Iterator[Row]:
    """Yield the rows of a Parquet file; a value that JSON cannot hold is passed over.

    Raises :class:`ValueError` if it has no column with the paths of images, or is damaged.
    """
    try:
        with ParquetFile(path) as file:
            column, number = key_column(file.schema_arrow.names), 0
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for values in batch.to_pylist():
                    number += 1
                    place = f"{path.name}: row {number}"
                    key = values.pop(column)
                    plain = plain_values(values, place, listing)
                    yield Row(place, key if isinstance(key, str) else "", plain)
    except pa.ArrowException as error:
        raise ValueError(" ".join(str(error).split())) from None
