"""The state of the pages, read from a URL or a form, and the query it describes.

A URL holds the whole state: ``/?image_id=12&image_id=15&not=17&crop=0.1,0.2,0.5,0.5&k=30
&filter=category=dog&filter=split=val2017&facets=category&mode=exact&threshold=0.9&duplicates=show
&page=2``, or ``/?text=surf+board&image_id=15`` for words. Upload results have no shareable URL:
uploads are not stored. Their page carries the image's feature, a small preview and the file's name
in form fields, so that further pages, thresholds and examples need neither the file nor the
encoder.
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
    """An uploaded image: the file's bytes, or on later pages the feature made from them."""

    name: str
    image: bytes | None = None
    feature: str = ""
    preview: str = ""


@dataclass(frozen=True, slots=True)
class PageState:
    """One state of the search page."""

    positives: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    crop: Box | None = None
    mode: Literal["exact", "approximate"] | None = None
    threshold: float | None = None
    show_duplicates: bool = False
    k: int | None = None
    page: int = 1
    text: str | None = None
    """Words of captions, which are searched with; the positives are then further examples."""
    filter: tuple[str, ...] = ()
    facets: str = ""
    """The fields whose values are counted, as in the API; without them the most telling ones."""
    colour: str = ""
    """The field that colours the map."""
    upload: Upload | None = None

    @classmethod
    def parse(cls, fields: MultiDict[str, str], files: Mapping[str, bytes]) -> "PageState":
        """Read the fields of a URL or a form; empty fields count as missing.

        ``drop`` and ``remove_filter`` name an image and a clause to remove. Raises
        :class:`~indexer.errors.InvalidQuery` for a field whose value is not valid.
        """
        dropped = {parse_int("drop", text) for text in fields.getlist("drop") if text}
        positives, negatives = (_ids(fields, name) for name in ("image_id", "not"))
        mode = fields.get("mode") or None
        if mode not in (None, "exact", "approximate"):
            raise InvalidQuery("mode must be exact or approximate.")
        return cls(
            positives=tuple(i for i in positives if i not in dropped),
            negatives=tuple(i for i in negatives if i not in dropped and i not in positives),
            crop=_box(fields.get("crop", "")),
            mode=mode,  # type: ignore[arg-type]  # checked above
            threshold=_parse_float("threshold", fields["threshold"])
            if fields.get("threshold")
            else None,
            show_duplicates=fields.get("duplicates") == "show",
            k=parse_int("k", fields["k"]) if fields.get("k") else None,
            page=parse_int("page", fields["page"]) if fields.get("page") else 1,
            text=fields.get("text", "").strip() or None,
            filter=_clauses(fields),
            facets=(fields.getlist("facets") or [""])[-1],  # a button's follows the form's own
            colour=fields.get("colour", ""),
            upload=_upload(fields, files),
        )

    @property
    def is_empty(self) -> bool:
        """True if there is no query: the start page."""
        return not self.positives and self.text is None and self.upload is None

    @property
    def only_image(self) -> int | None:
        """The indexed image that is searched with, if that is all there is."""
        more = self.upload or self.text is not None or self.negatives or self.crop
        return self.positives[0] if len(self.positives) == 1 and not more else None

    @property
    def preview(self) -> str | None:
        """The preview of an upload whose file was sent with an earlier page, as base64."""
        return self.upload.preview if self.upload and self.upload.preview else None

    def query(self) -> Query:
        """Return the query: the upload, text or first image, and the other images as examples."""
        positives = [Example(i) for i in self.positives]
        negatives = [Example(i) for i in self.negatives]
        image_id, image, vector = None, None, None
        if self.upload is None and self.text is None:
            image_id = positives.pop(0).image_id
        elif self.upload and self.upload.image is None:
            vector = _vector(self.upload.feature)
        elif self.upload:
            image = self.upload.image
        return Query(
            image=image,
            image_id=image_id,
            vector=vector,
            text=self.text,
            crop=None if vector is not None else self.crop,
            positives=positives,
            negatives=negatives,
        )

    def selection(self) -> Selection:
        """Return which results are wanted."""
        return Selection(
            k=self.k,
            page=self.page,
            mode=self.mode,
            threshold=self.threshold,
            collapse_duplicates=not self.show_duplicates,
            filter=self.filter,
        )

    def toggled(self, clause: str) -> "PageState":
        """Return the state with a clause of the filter removed, or else added."""
        others = tuple(one for one in self.filter if one != clause)
        return replace(self, filter=others if clause in self.filter else (*others, clause), page=1)

    def like(self, image_id: int) -> "PageState":
        """Return the state of a new search by an image, among those that pass the filter."""
        return PageState(positives=(image_id,), filter=self.filter)

    def with_answer(self, answer: Answer) -> "PageState":
        """Return the state with an upload's feature and preview in place of its file."""
        if self.upload is None or self.upload.image is None or answer.own_vector is None:
            return self
        feature = base64_text(answer.own_vector.astype("<f4").tobytes())
        preview = base64_text(answer.preview or b"")
        if len(preview) > MAX_PREVIEW_CHARACTERS:
            preview = ""  # later pages show none
        upload = Upload(self.upload.name, feature=feature, preview=preview)
        return replace(self, upload=upload, crop=None)

    def hidden_fields(self) -> list[tuple[str, str]]:
        """Return hidden form fields for the state that has no form control of its own."""
        pairs = [] if self.text is None else [("text", self.text)]
        pairs += [("image_id", str(i)) for i in self.positives]
        pairs += [("not", str(i)) for i in self.negatives]
        if self.crop:
            pairs.append(("crop", ",".join(f"{part:.4g}" for part in self.crop)))
        if self.k is not None:
            pairs.append(("k", str(self.k)))
        return pairs + self.filter_fields()

    def filter_fields(self) -> list[tuple[str, str]]:
        """Return the part of :meth:`hidden_fields` that every page has."""
        pairs = [("filter", clause) for clause in self.filter]
        return pairs + [(name, text) for name, text in self._shown if text]

    @property
    def _shown(self) -> list[tuple[str, str]]:
        return [("facets", self.facets), ("colour", self.colour)]

    def url(self, path: str = "/", **changes: object) -> str:
        """Return the URL of this state with some fields changed; of an upload only the filter."""
        state = replace(self, **changes)  # type: ignore[arg-type]
        if self.upload:
            state = PageState(filter=state.filter)
        pairs = state.hidden_fields()
        if state.mode:
            pairs.append(("mode", state.mode))
        if state.threshold is not None and state.threshold < 2:
            pairs.append(("threshold", f"{state.threshold:g}"))
        if state.show_duplicates:
            pairs.append(("duplicates", "show"))
        if state.page > 1:
            pairs.append(("page", str(state.page)))
        return f"{path}?{urlencode(pairs, safe=',=')}" if pairs else path


def base64_text(data: bytes) -> str:
    """Return bytes in base64, for form fields and ``data:`` URLs."""
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
        raise InvalidQuery("The form's feature is damaged.", "Choose the image again.") from None


def _ids(fields: MultiDict[str, str], name: str) -> tuple[int, ...]:
    """Return the ids of a repeated field, without duplicates, in order."""
    return tuple(dict.fromkeys(parse_int(name, text) for text in fields.getlist(name) if text))


def _clauses(fields: MultiDict[str, str]) -> tuple[str, ...]:
    """Return the clauses of a form or a URL, each once, without those that are to be removed."""
    clauses = dict.fromkeys(text.strip() for text in fields.getlist("filter"))
    return tuple(one for one in clauses if one and one not in fields.getlist("remove_filter"))


def _box(text: str) -> Box | None:
    if not text:
        return None
    parts = [_parse_float("crop", part) for part in text.split(",")]
    if len(parts) != 4:
        raise InvalidQuery("crop must be four numbers: x, y, width and height.")
    return Box(*parts)


def parse_int(name: str, text: str) -> int:
    """Return the integer in a field. Raises :class:`~indexer.errors.InvalidQuery`."""
    try:
        return int(text)
    except ValueError:
        raise InvalidQuery(f"{name} is not a whole number.", "Write digits only.") from None


def _parse_float(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidQuery(f"{name} is not a number.") from None
