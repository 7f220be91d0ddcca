"""Results to take away: a table as CSV, the originals as a zip that is made while it is sent."""

import csv
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import RawIOBase, StringIO
from typing import Any

from flask import Blueprint, Response, request

from indexer.errors import InvalidQuery, LookalikeError
from indexer.search import Hit, Searcher
from server.admission.capacity import capacity, run_search
from server.current_index import index_holder
from server.web.page_state import Question, whole
from server.web.pages import error_page, posted

blueprint = Blueprint("exports", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

MAX_ZIP_BYTES = 2_000_000_000
COLUMNS = ("rank", "image_id", "key", "distance", "cosine", "width", "height", "bytes", "sha256")
TIME_OF_FILES = (1980, 1, 1, 0, 0, 0)  # of the zip's entries: the same results, the same bytes


@blueprint.route("/export.csv", methods=["GET", "POST"])
def table() -> Response:
    """Return the results as CSV, ``count`` of them, near-duplicates as rows of their own."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for hit in _hits(index_holder().searcher()):
        image = hit.image
        numbers = (f"{hit.distance:.6f}", f"{hit.cosine:.6f}", image.width, image.height)
        writer.writerow((hit.rank, image.id, image.key, *numbers, image.size, image.sha256))
    return _download(text.getvalue(), "text/csv", "lookalike.csv")


@blueprint.route("/export.zip", methods=["GET", "POST"])
def originals() -> Response:
    """Return the original files of the results as a zip, ``count`` of them."""
    searcher = index_holder().searcher()
    hits = _hits(searcher)
    total = sum(hit.image.size or 0 for hit in hits)
    if total > MAX_ZIP_BYTES:
        raise InvalidQuery(
            f"The {len(hits)} originals have {total / 1e9:.1f} GB; "
            f"a zip may have {MAX_ZIP_BYTES / 1e9:.0f} GB.",
            "Export fewer results.",
        )
    with ExitStack() as held:
        held.enter_context(capacity().streams.hold())
        response = _download(_zipped(searcher, hits), "application/zip", "lookalike.zip")
        response.call_on_close(held.pop_all().close)
    return response


def safe_name(rank: int, key: str) -> str:
    """Return a name for a file inside the zip: its rank and the last part of its key, no path."""
    base = re.sub(r"[^\w.\- ]", "_", key.rpartition("/")[2]).strip(". ")[-100:]
    return f"{rank:04d}_{base or 'image'}"


def _hits(searcher: Searcher) -> Sequence[Hit]:
    question = posted() if request.method == "POST" else Question.of(request.args, {})
    if question.is_empty:
        raise InvalidQuery("There is nothing to export.", "Search with an image first.")
    text = request.values.get("count")
    count = whole("count", text) if text else question.k
    everything = replace(question.selection(), k=count, page=1, collapse_duplicates=False)
    return run_search(searcher, question.query(), everything).hits


def _download(content: str | Iterator[bytes], media_type: str, name: str) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, mimetype=media_type, headers=disposition)


def _zipped(searcher: Searcher, hits: Sequence[Hit]) -> Iterator[bytes]:
    """Yield a zip file by file: one original at a time is in memory. Images are not compressed."""
    sink = _Sink()
    missing = []
    with zipfile.ZipFile(sink, "w") as archive:
        for hit in hits:
            try:
                data = searcher.collection.image_file(hit.image.id).data
            except LookalikeError as error:
                missing.append(f"{hit.image.key}: {error.message}\n")
                continue
            archive.writestr(_entry(safe_name(hit.rank, hit.image.key)), data)
            yield sink.taken()
        if missing:
            archive.writestr(_entry("missing.txt"), "".join(missing))
    yield sink.taken()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, TIME_OF_FILES)
    entry.external_attr = 0o644 << 16
    return entry


class _Sink(RawIOBase):
    """A file that only grows, whose content is taken away as it comes."""

    def __init__(self) -> None:
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._content += data
        return len(data)

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        content = bytes(self._content)
        self._content.clear()
        return content
