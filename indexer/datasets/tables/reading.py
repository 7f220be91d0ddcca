"""Reading a table: its format is that of its name's ending."""

from collections.abc import Callable, Iterator
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.tables.rows import Row
from indexer.datasets.tables.text_tables import read_csv, read_json_lines
from indexer.errors import DatasetError

Read = Callable[[Path, Listing], Iterator[Row]]


def _read_parquet(path: Path, listing: Listing) -> Iterator[Row]:
    from indexer.datasets.tables.parquet import read_parquet

    return read_parquet(path, listing)


FORMATS: dict[str, Read] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": _read_parquet,
}
HINT = "A table has a column key, path, file_name or file, with the path of an image in each row."


def require_table(path: Path) -> None:
    """Raise :class:`DatasetError` if there is no such table, or in no format that can be read."""
    if path.suffix.lower() not in FORMATS:
        raise DatasetError(
            f"The table {path} is in no format that can be read.",
            f"Save it as one of {', '.join(FORMATS)}, and name that in dataset.metadata.",
        )
    if not path.is_file():
        raise DatasetError(
            f"The table {path} does not exist, or is no file.",
            "Check --metadata, or dataset.metadata in config.yaml.",
        )


def read_table(path: Path, listing: Listing) -> Iterator[Row]:
    """Yield the rows of a table; what is passed over is counted in the listing.

    Raises :class:`DatasetError` if it cannot be used.
    """
    require_table(path)
    try:
        yield from FORMATS[path.suffix.lower()](path, listing)
    except UnicodeDecodeError as error:
        problem = f"it is not in the encoding that it begins with: {error.reason}"
    except (OSError, ValueError) as error:
        problem = str(error)
    else:
        return
    raise DatasetError(f"The table {path} cannot be used: {problem}.", HINT)
