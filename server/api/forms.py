"""Forms: from their bytes to fields and files, within limits."""

from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

FORM_OVERHEAD_BYTES = 128 * 1024
"""Room for a form's other fields and its framing beside the image. The search page's form carries
the feature of an upload, 22 kB for 4096 dimensions, and a small preview of it."""

MAX_PARTS = 160
"""More fields and files than a form of the page or of the API has."""

IMAGE = "image"
"""The field that is always a file: RFC 7578, 4.2, does not demand that a file has a name."""

CHUNK_BYTES = 1 << 16


class FormParser(FormDataParser):
    """Werkzeug's parser with limits for all forms, and images that need no file name.

    Files stay in memory. Raises RequestEntityTooLarge for more fields or text than the limits, and
    BadRequest for a form that cannot be read.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """Return the stream, the fields and the files."""
        self.silent = False  # a form that cannot be read is not an empty one
        try:
            if mimetype == "multipart/form-data":
                return stream, *self._multipart(stream, (options or {}).get("boundary", ""))
            if mimetype == "application/x-www-form-urlencoded":
                stream = _small_form(stream, content_length)
            return super().parse(stream, mimetype, content_length, options)
        except ValueError as error:
            raise BadRequest(f"The form cannot be read: {error}.") from None

    def _multipart(self, stream: IO[bytes], boundary: str) -> tuple[Any, Any]:
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        text_bytes = 0
        for part, content in _parts(stream, boundary):
            if isinstance(part, File) or part.name == IMAGE:
                name = part.filename if isinstance(part, File) else None
                file = FileStorage(content, name, part.name, headers=part.headers)
                files.append((part.name, file))
                continue
            text_bytes += content.getbuffer().nbytes
            if text_bytes > FORM_OVERHEAD_BYTES:
                raise RequestEntityTooLarge
            fields.append((part.name, content.getvalue().decode("utf-8", "replace")))
        return self.cls(fields), self.cls(files)


class InMemoryRequest(Request):
    """A request whose forms have limits and whose uploads stay in memory, not on disk."""

    form_data_parser_class = FormParser


def _parts(stream: IO[bytes], boundary: str) -> Iterator[tuple[Field | File, BytesIO]]:
    """Yield the parts of a form, each with its content."""
    if not boundary:
        raise ValueError("its media type has no boundary")
    decoder = MultipartDecoder(boundary.encode("ascii"), FORM_OVERHEAD_BYTES, max_parts=MAX_PARTS)
    part, content = None, BytesIO()
    for event in _events(decoder, stream):
        if isinstance(event, Field | File):
            if event.name is None:
                raise ValueError("a part has no name")
            part, content = event, BytesIO()
        elif isinstance(event, Data) and part is not None:
            content.write(event.data)
            if not event.more_data:
                content.seek(0)
                yield part, content


def _events(decoder: MultipartDecoder, stream: IO[bytes]) -> Iterator[Event]:
    for data in chain(iter(lambda: stream.read(CHUNK_BYTES), b""), [None]):
        decoder.receive_data(data)
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
            if isinstance(event, Epilogue):
                break


def _small_form(stream: IO[bytes], content_length: int | None) -> IO[bytes]:
    """Return a form without files, read whole: it is short and has few fields."""
    if (content_length or 0) > FORM_OVERHEAD_BYTES:
        raise RequestEntityTooLarge
    text = stream.read(FORM_OVERHEAD_BYTES + 1)
    if len(text) > FORM_OVERHEAD_BYTES or text.count(b"&") >= MAX_PARTS:
        raise RequestEntityTooLarge
    return BytesIO(text)
