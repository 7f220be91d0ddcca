"""Exports of results: a table as CSV, and the original files as a streamed zip."""

import csv
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import RawIOBase, StringIO
from pathlib import PurePosixPath
from typing import Any

from flask import Blueprint, Response, request

from indexer.errors import InvalidQuery, LookalikeError
from indexer.search import Hit, Searcher, file_of
from indexer.tables import csv_row
from server.admission.capacity import capacity, run_search
from server.current_index import current_index
from server.web.page_state import PageState, parse_int
from server.web.pages import error_page, read_form

blueprint = Blueprint("exports", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

MAX_ZIP_BYTES = 2_000_000_000
MAX_NAME_BYTES = 140
"""Longest name in a zip. File systems take 255 bytes, not characters, and eCryptfs takes 143."""
MAX_SUFFIX_BYTES = 16
"""Longest end of a name that counts as its suffix, such as .jpeg."""
COLUMNS = ("rank", "image_id", "key", "distance", "cosine", "width", "height", "bytes", "sha256")
BYTE_ORDER_MARK = "\ufeff"
"""Before the table, so that Excel reads it as UTF-8."""
ENTRY_TIME = (1980, 1, 1, 0, 0, 0)  # fixed, so that equal results give equal zips


@blueprint.route("/export.csv", methods=["GET", "POST"])
def export_csv() -> Response:
    """Return ``count`` results as CSV, with a row for each near-duplicate."""
    rows: list[Iterable[object]] = [COLUMNS]
    for hit in _search(current_index().searcher()):
        image = hit.image
        measures = (round(hit.distance, 6), round(hit.cosine, 6))
        file = (image.width, image.height, image.size, image.sha256)
        rows.append((hit.rank, image.id, image.key, *measures, *file))
    return as_csv(rows, "lookalike")


@blueprint.route("/export.zip", methods=["GET", "POST"])
def export_zip() -> Response:
    """Return the original files of ``count`` results as a zip."""
    searcher = current_index().searcher()
    hits = _search(searcher)
    total = sum(hit.image.size or 0 for hit in hits)
    if total > MAX_ZIP_BYTES:
        raise InvalidQuery(
            f"The {len(hits)} originals have {total / 1e9:.1f} GB; "
            f"the limit is {MAX_ZIP_BYTES / 1e9:.0f} GB.",
            "Export fewer results.",
        )
    with ExitStack() as slots:
        slots.enter_context(capacity().streams.hold())
        response = download(_stream_zip(searcher, hits), "application/zip", "lookalike.zip")
        response.call_on_close(slots.pop_all().close)
    return response


def as_csv(rows: Iterable[Iterable[object]], name: str) -> Response:
    """Return rows as a table to save."""
    text = StringIO()
    csv.writer(text).writerows(map(csv_row, rows))
    return download(f"{BYTE_ORDER_MARK}{text.getvalue()}", "text/csv", f"{name}.csv")


def as_json(content: object, name: str) -> Response:
    """Return JSON to save."""
    return download(json.dumps(content), "application/json", f"{name}.json")


def safe_name(rank: int, key: str) -> str:
    """Return a file name for the zip: the rank and the last part of the key, without a path.

    The rank makes it unique. A long name loses the end of its stem and keeps its suffix.
    """
    base = re.sub(r"[^\w.\- ]", "_", key.rpartition("/")[2]).strip(". ") or "image"
    name = f"{rank:04d}_{base}".encode()
    if len(name) <= MAX_NAME_BYTES:
        return name.decode()
    suffix = PurePosixPath(base).suffix.encode()
    if len(suffix) > MAX_SUFFIX_BYTES:
        suffix = b""
    stem = name[: MAX_NAME_BYTES - len(suffix)].decode(errors="ignore").rstrip(". ")
    return stem + suffix.decode()


def _search(searcher: Searcher) -> Sequence[Hit]:
    state = read_form() if request.method == "POST" else PageState.parse(request.args, {})
    if state.is_empty:
        raise InvalidQuery("There are no results to export.", "Search with an image first.")
    text = request.values.get("count")
    count = parse_int("count", text) if text else state.k
    selection = replace(state.selection(), k=count, page=1, collapse_duplicates=False)
    return run_search(searcher, state.query(), selection).hits


def download(content: str | Iterator[bytes], media_type: str, name: str) -> Response:
    """Return an answer that browsers save as a file."""
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, mimetype=media_type, headers=disposition)


def _stream_zip(searcher: Searcher, hits: Sequence[Hit]) -> Iterator[bytes]:
    """Yield the zip file by file, uncompressed, with one original in memory at a time.

    A picture with several of the boxes is there once, with the rank of the first.
    """
    buffer = _Buffer()
    missing, seen = [], set[str]()
    with zipfile.ZipFile(buffer, "w") as archive:
        for hit in hits:
            file = file_of(hit.image)
            if file in seen:
                continue
            seen.add(file)
            try:
                data = searcher.collection.image_file(hit.image.id).data
            except LookalikeError as error:
                line = f"{hit.image.key!r}: {error.message}\n"  # one line, whatever the name
                missing.append(line)
                continue
            archive.writestr(_zip_entry(safe_name(hit.rank, file)), data)
            yield buffer.drain()
        if missing:
            archive.writestr(_zip_entry("missing.txt"), "".join(missing))
    yield buffer.drain()


def _zip_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, ENTRY_TIME)
    entry.external_attr = 0o644 << 16
    return entry


class _Buffer(RawIOBase):
    """A write-only file in memory that is emptied as it is sent."""

    def __init__(self) -> None:
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._content += data
        return len(data)

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        content = bytes(self._content)
        self._content.clear()
        return content
