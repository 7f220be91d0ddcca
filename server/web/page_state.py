"""What the page asks: its state in an address or a form, and the query that stands for.

Addresses hold every state: ``/?image_id=12&image_id=15&not=17&crop=0.1,0.2,0.5,0.5&mode=exact
&threshold=0.9&duplicates=show&k=30&page=2``. An upload has no address, for nothing uploaded is
kept: its page carries the feature, a small picture and the name in the fields of a form instead, so
that the next page of results, a threshold or another example need neither the file nor the encoder.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

import numpy as np
from werkzeug.datastructures import MultiDict

from indexer.errors import InvalidQuery
from indexer.search import Answer, Box, Example, Query, Selection

MAX_NAME = 200
MAX_PREVIEW_CHARACTERS = 60_000


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded image: the file's bytes at first, afterwards the feature that was made of it."""

    name: str
    image: bytes | None = None
    feature: str = ""
    preview: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One state of the search page."""

    positives: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    crop: Box | None = None
    mode: Literal["exact", "approximate"] | None = None
    threshold: float | None = None
    show_duplicates: bool = False
    k: int | None = None
    page: int = 1
    upload: Upload | None = None

    @classmethod
    def of(cls, fields: MultiDict[str, str], files: Mapping[str, bytes]) -> "Question":
        """Read an address's or a form's fields; empty ones count as left out.

        Raises :class:`~indexer.errors.InvalidQuery` for a value that cannot be read.
        """
        dropped = {whole("drop", text) for text in fields.getlist("drop") if text}
        positives, negatives = (_ids(fields, name) for name in ("image_id", "not"))
        mode = fields.get("mode") or None
        if mode not in (None, "exact", "approximate"):
            raise InvalidQuery("mode is neither exact nor approximate.")
        return cls(
            positives=tuple(i for i in positives if i not in dropped),
            negatives=tuple(i for i in negatives if i not in dropped and i not in positives),
            crop=_box(fields.get("crop", "")),
            mode=mode,  # type: ignore[arg-type]  # checked above
            threshold=_number("threshold", fields["threshold"])
            if fields.get("threshold")
            else None,
            show_duplicates=fields.get("duplicates") == "show",
            k=whole("k", fields["k"]) if fields.get("k") else None,
            page=whole("page", fields["page"]) if fields.get("page") else 1,
            upload=_upload(fields, files),
        )

    @property
    def is_empty(self) -> bool:
        """True if nothing is asked: the start page."""
        return not self.positives and self.upload is None

    @property
    def preview(self) -> str | None:
        """A small picture of an upload that is no longer here, as base64."""
        return self.upload.preview if self.upload and self.upload.preview else None

    def query(self) -> Query:
        """Return what is asked: the upload or the first image, and the others as examples."""
        negatives = [Example(i) for i in self.negatives]
        if self.upload is None:
            first, *others = self.positives
            return Query(
                image_id=first,
                crop=self.crop,
                positives=[Example(i) for i in others],
                negatives=negatives,
            )
        positives = [Example(i) for i in self.positives]
        if self.upload.image is not None:
            image = self.upload.image
            return Query(image=image, crop=self.crop, positives=positives, negatives=negatives)
        vector = _vector(self.upload.feature)
        return Query(vector=vector, positives=positives, negatives=negatives)

    def selection(self) -> Selection:
        """Return which of the neighbours are wanted."""
        return Selection(
            k=self.k,
            page=self.page,
            mode=self.mode,
            threshold=self.threshold,
            collapse_duplicates=not self.show_duplicates,
        )

    def answered(self, answer: Answer) -> "Question":
        """Return the question with what the answer made of an upload's file."""
        if self.upload is None or self.upload.image is None or answer.own_vector is None:
            return self
        feature = base64_text(answer.own_vector.astype("<f4").tobytes())
        preview = base64_text(answer.preview or b"")
        if len(preview) > MAX_PREVIEW_CHARACTERS:
            preview = ""  # the next page does without
        upload = Upload(self.upload.name, feature=feature, preview=preview)
        return replace(self, upload=upload, crop=None)

    def fields(self) -> list[tuple[str, str]]:
        """Return the state as form fields, all but the page and what has its own control."""
        pairs = [("image_id", str(i)) for i in self.positives]
        pairs += [("not", str(i)) for i in self.negatives]
        if self.crop:
            pairs.append(("crop", ",".join(f"{part:.4g}" for part in self.crop)))
        if self.k is not None:
            pairs.append(("k", str(self.k)))
        return pairs

    def address(self, path: str = "/", **changes: object) -> str:
        """Return the address of this state, with other values where they are given.

        An upload has none: then it is the path alone.
        """
        if self.upload:
            return path
        state = replace(self, **changes)  # type: ignore[arg-type]
        pairs = state.fields()
        if state.mode:
            pairs.append(("mode", state.mode))
        if state.threshold is not None and state.threshold < 2:
            pairs.append(("threshold", f"{state.threshold:g}"))
        if state.show_duplicates:
            pairs.append(("duplicates", "show"))
        if state.page > 1:
            pairs.append(("page", str(state.page)))
        return f"{path}?{urlencode(pairs, safe=',')}" if pairs else path


def base64_text(data: bytes) -> str:
    """Return bytes as form fields and data: addresses carry them."""
    return base64.b64encode(data).decode("ascii")


def _upload(fields: MultiDict[str, str], files: Mapping[str, bytes]) -> Upload | None:
    name = fields.get("name", "")[:MAX_NAME] or "Your image"
    if "image" in files:
        return Upload(name, image=files["image"])
    if not fields.get("feature"):
        return None
    preview = fields.get("preview", "")
    if len(preview) > MAX_PREVIEW_CHARACTERS:
        raise InvalidQuery("The preview is too large.", "Choose the image again.")
    return Upload(name, feature=fields["feature"], preview=preview)


def _vector(feature: str) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(feature, validate=True), "<f4")
    except (ValueError, binascii.Error):
        raise InvalidQuery(
            "The page's feature cannot be read.", "Choose the image again."
        ) from None


def _ids(fields: MultiDict[str, str], name: str) -> tuple[int, ...]:
    """Return a repeated field's numbers, each once, in order."""
    return tuple(dict.fromkeys(whole(name, text) for text in fields.getlist(name) if text))


def _box(text: str) -> Box | None:
    if not text:
        return None
    parts = [_number("crop", part) for part in text.split(",")]
    if len(parts) != 4:
        raise InvalidQuery("crop is not four numbers: x, y, width and height.")
    return Box(*parts)


def whole(name: str, text: str) -> int:
    """Return the number a field holds. Raises :class:`~indexer.errors.InvalidQuery`."""
    try:
        return int(text)
    except ValueError:
        raise InvalidQuery(f"{name} is not a whole number.", "Write digits only.") from None


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidQuery(f"{name} is not a number.") from None
