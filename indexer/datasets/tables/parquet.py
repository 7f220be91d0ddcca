"""Tables in Parquet, by pyarrow."""

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from indexer.datasets.base import Listing
from indexer.datasets.tables.rows import Row, key_column
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
                    for name, value in values.items():
                        try:
                            values[name] = _plain(value)
                        except TypeError as error:
                            values[name] = None
                            listing.pass_over(f"table values that are {error}", f"{place}: {name}")
                    yield Row(place, key if isinstance(key, str) else "", values)
    except pa.ArrowException as error:
        raise ValueError(" ".join(str(error).split())) from None


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. Raises :class:`TypeError` with the name of another type."""
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if value is None or isinstance(value, float | str):
        return value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    raise TypeError(type(value).__name__)
