"""One Parquet file with images, read by pyarrow.

A file consists of row groups, and the values of a column in a row group of pages, which are
compressed and have to be read one after the other: https://parquet.apache.org/docs/file-format/
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple, Self
from weakref import finalize

from indexer.datasets.parquet.features import IMAGE_TYPES, read_features, type_of, with_names
from indexer.datasets.parquet.places import Place
from indexer.errors import MissingDependency

try:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile
except ImportError as error:
    raise MissingDependency(
        f"Parquet files are read by pyarrow, which cannot be imported: {error}.",
        "Install it with: pip install pyarrow (Lookalike's extra parquet).",
    ) from error

BATCH_BYTES = 4_000_000
MAX_BATCH_ROWS = 256
"""How much of the images is decompressed at once: about so many bytes, at least one image."""

KEPT_BATCHES = 4
"""Threads that read neighbouring rows do so in nearly their order."""

READERS = 2
"""A row group is begun while the last rows of the one before are still to be read. A reader holds
the page that it is in, which may be as large as the row group."""

DESCRIBED_AT_ONCE = 4096


class Columns(NamedTuple):
    """Where the images are: a column of bytes, or of structs of bytes and a path."""

    image: str
    bytes: str
    path: str | None

    @property
    def is_struct(self) -> bool:
        """Whether the column holds structs."""
        return self.bytes != self.image


class Damaged(ValueError):
    """A part of the file cannot be read, however often it is tried."""


class Changed(ValueError):
    """The file is another one than when it was opened."""


class Shard:
    """An open Parquet file. Not safe between threads.

    Its images are in the column called ``wanted``, or in the only one that may hold some.
    ``candidates`` are the names of those that are found, ``columns`` where its images are if it is
    one. ``readers`` are the last ones of row groups, of this file and those it is shared with.

    Raises what a place does if the file cannot be read, and :class:`ValueError`, which says why, if
    it is damaged or no Parquet file; so do all methods.
    """

    def __init__(
        self, place: Place, wanted: str | None = None, readers: "list[Reader] | None" = None
    ) -> None:
        self._place = place
        self._readers = [] if readers is None else readers
        file, self.stamp = place.open()
        self._close = finalize(self, file.close)  # also if nobody has closed it
        try:
            with _explained():
                self._parquet = ParquetFile(
                    file,
                    buffer_size=place.part_bytes,  # or else a row group is read at once
                    pre_buffer=False,
                    page_checksum_verification=True,
                )
                self._schema = self._parquet.schema_arrow
                groups = map(self._parquet.metadata.row_group, range(self._parquet.num_row_groups))
                self._ends = list(accumulate(group.num_rows for group in groups))
            ((name, count),) = Counter(self.names).most_common(1) or [("", 0)]
            if count > 1:
                raise ValueError(f"two of its columns are called {name}")
        except BaseException:
            self._close()
            raise
        self._features = read_features(self._schema.metadata)
        self.candidates = [name for name in self._candidates() if wanted in (None, name)]
        self.columns = self._columns(*self.candidates) if len(self.candidates) == 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._readers[:] = [reader for reader in self._readers if reader.file is not self._parquet]
        self._close()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return list(self._schema.names)

    def _candidates(self) -> list[str]:
        """Return the columns that may hold images; those that are said to, if some are."""
        types = {name: type_of(self._features.get(name)) for name in self.names}
        found = [
            field.name
            for field in self._schema
            if _bytes_of(field) and types[field.name] in IMAGE_TYPES
        ]
        return [name for name in found if types[name] == "Image"] or found

    def _columns(self, image: str) -> Columns:
        """Return where the images of a column are."""
        field = self._schema.field(image)
        fields = {child.name: child for child in field.type} if _is_struct(field.type) else {}
        path = fields.get("path")
        has_path = path is not None and _is_string(path.type)
        return Columns(image, str(_bytes_of(field)), f"{image}.path" if has_path else None)

    def has_no_bytes(self) -> bool:
        """Tell whether its statistics say that there are rows, and none has an image's bytes."""
        groups = map(self._parquet.metadata.row_group, range(self._parquet.num_row_groups))
        name = self.columns.bytes if self.columns else ""
        return len(self) > 0 and all(_is_null(group, name) for group in groups)

    def described(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Yield the path and the other values of each row. No bytes of images are read.

        Numbers of classes become their names. Columns that hold bytes are left out.
        """
        others = [field for field in self._schema if not _holds_bytes(field.type)]
        columns, wanted = self.columns, [field.name for field in others]
        if columns and columns.path:
            wanted.append(columns.path)
        if not wanted:
            yield from ((None, {}) for _ in range(len(self)))
            return
        with _explained():
            for batch in self._parquet.iter_batches(
                DESCRIBED_AT_ONCE, columns=wanted, use_threads=False
            ):
                for row in zip(*map(_as_list, batch.columns), strict=True):
                    values = dict(zip(batch.schema.names, row, strict=True))
                    image = values.pop(columns.image, None) if columns else None
                    for name, value in values.items():
                        values[name] = with_names(value, self._features.get(name))
                    yield image.get("path") if isinstance(image, dict) else None, values

    def image(self, row: int) -> tuple[str | None, bytes] | None:
        """Return the path and the bytes of the image in a row, or None if there is none.

        A row without bytes has none. The row group is read up to this row, unless a row before it
        was read a short while ago: then on from there.
        """
        columns = self.columns
        if columns is None or not 0 <= row < len(self):
            return None
        reader = self._reader(columns, row)
        try:
            with _explained():
                while not reader.has_read(row):
                    reader.read_on()
                    self._require_unchanged()
                return reader.value(row)
        except Damaged:
            self._require_unchanged()
            raise
        except BaseException:  # of the disk or a network: it may be gone the next time
            self._readers.remove(reader)
            raise

    def _require_unchanged(self) -> None:
        if self._place.stamp() != self.stamp:
            raise Changed("it changed while it was read")

    def _reader(self, columns: Columns, row: int) -> "Reader":
        """Return the reader that is nearest before a row in its row group, or a new one."""
        group = bisect_right(self._ends, row)
        own = [reader for reader in self._readers if reader.file is self._parquet]
        fit = [reader for reader in own if reader.can_read(row)]
        if fit:
            reader = max(fit, key=lambda reader: reader.start)
            self._readers.remove(reader)
        else:
            rows = range(self._ends[group - 1] if group else 0, self._ends[group])
            reader = Reader(self._parquet, columns, group, rows)
            del self._readers[: len(self._readers) + 1 - READERS]
        self._readers.append(reader)
        return reader


class Reader:
    """Reads the images of a row group forward, in small batches, of which the last are kept."""

    def __init__(self, file: ParquetFile, columns: Columns, group: int, rows: range) -> None:
        self.file = file
        self.start = rows.start
        """The first row that is kept, or the next one."""
        self._rows = rows
        self._columns = columns
        self._kept: deque[pa.Array] = deque()
        self._damage = ""
        wanted = [name for name in (columns.bytes, columns.path) if name]
        size = _size_of(file.metadata.row_group(group), columns.bytes)
        count = max(1, min(MAX_BATCH_ROWS, BATCH_BYTES * len(rows) // max(1, size)))
        self._batches: Iterator[pa.RecordBatch] = file.iter_batches(
            count, row_groups=[group], columns=wanted, use_threads=False
        )

    def can_read(self, row: int) -> bool:
        """Tell whether a row is kept, or still to be read."""
        return row in self._rows and row >= self.start

    def has_read(self, row: int) -> bool:
        """Tell whether a row is kept."""
        return self.start <= row < self.start + sum(map(len, self._kept))

    def read_on(self) -> None:
        """Read the next rows. What is behind damage is not tried again, up to the damage.

        Raises :class:`Damaged`, or what the file does.
        """
        if self._damage:
            raise Damaged(self._damage)
        try:
            batch = next(self._batches)
        except StopIteration:
            self._damage = "a row group has fewer rows than it says"
            raise Damaged(self._damage) from None
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, MemoryError) or getattr(error, "errno", None):
                raise
            self._damage = " ".join(str(error).split())
            raise Damaged(self._damage) from None
        if len(self._kept) == KEPT_BATCHES:
            self.start += len(self._kept.popleft())
        self._kept.append(batch.column(0))
        if self.has_read(self._rows[-1]):
            self._batches = iter(())  # the page is let go

    def value(self, row: int) -> tuple[str | None, bytes]:
        """Return the path and the bytes in a row that is kept."""
        position = row - self.start
        for values in self._kept:
            if position < len(values):
                break
            position -= len(values)
        if not self._columns.is_struct:
            return None, values[position].as_py() or b""
        path = self._columns.path and _as_python(values.field("path")[position])
        return path, values.field("bytes")[position].as_py() or b""


@contextmanager
def _explained() -> Iterator[None]:
    """Turn pyarrow's errors into a ValueError of one line."""
    try:
        yield
    except MemoryError:
        raise
    except pa.ArrowException as error:
        raise ValueError(" ".join(str(error).split())) from None


class Unreadable:
    """Stands for a value that Python cannot hold, such as a text that is not UTF-8."""


def _as_list(values: pa.Array) -> list[Any]:
    """Return the values of a column."""
    try:
        return list(values.to_pylist())
    except (ValueError, OverflowError):
        return list(map(_as_python, values))


def _as_python(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return Unreadable()


def _size_of(group: Any, column: str) -> int:
    """Return how many bytes the values of a column have in a row group, uncompressed."""
    return sum(part.total_uncompressed_size for part in _parts(group, column))


def _is_null(group: Any, column: str) -> bool:
    """Tell whether the statistics of a row group say that a column has no values in it."""
    statistics = [part.statistics for part in _parts(group, column)]
    return all(
        found is not None and found.has_null_count and found.null_count == group.num_rows
        for found in statistics
    )


def _parts(group: Any, column: str) -> list[Any]:
    """Return the metadata of a column in a row group."""
    parts = map(group.column, range(group.num_columns))
    return [part for part in parts if part.path_in_schema == column]


def _bytes_of(field: pa.Field) -> str | None:
    """Return the name of the bytes in a column that may hold images: its own, or ``x.bytes``."""
    if _is_bytes(field.type):
        return str(field.name)
    if _is_struct(field.type):
        for child in field.type:
            if child.name == "bytes" and _is_bytes(child.type):
                return f"{field.name}.bytes"
    return None


def _is_struct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind))


def _is_string(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _holds_bytes(kind: pa.DataType) -> bool:
    """Tell whether there are bytes in a type, at any depth."""
    children = (kind.field(number).type for number in range(kind.num_fields))
    is_fixed = pa.types.is_fixed_size_binary(kind)
    return _is_bytes(kind) or is_fixed or any(map(_holds_bytes, children))
