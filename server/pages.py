"""The web page: a form, the query beside its results. Works without JavaScript."""

import base64

from flask import Blueprint, render_template, request

from indexer.errors import InvalidQuery, LookalikeError, NoPublishedIndex
from indexer.search import Answer, Searcher
from server import schemas
from server.api import uploaded
from server.errors import PUBLIC, STATUSES
from server.index_holder import index_holder

blueprint = Blueprint("pages", __name__)

SAMPLE_SIZE = 24
QUERY_PREVIEW_SIDE = 480


@blueprint.get("/")
def start() -> tuple[str, int] | str:
    """Show the form, with the results of ``?image_id=`` or with images to start from."""
    try:
        searcher = index_holder().searcher()
    except NoPublishedIndex as error:
        return _refused(None, error)
    if "image_id" not in request.args:
        return _page(searcher, sample=searcher.sample(SAMPLE_SIZE))
    try:
        image_id = _number("image_id")
        answer = searcher.search_id(image_id, k=_number("k") if "k" in request.args else None)
    except LookalikeError as error:
        return _refused(searcher, error)
    query = searcher.image(image_id)
    return _page(
        searcher,
        answer,
        query_name=query.key,
        query_source=f"{schemas.thumbnail_url(query)}&side={QUERY_PREVIEW_SIDE}",
    )


@blueprint.post("/")
def search() -> tuple[str, int] | str:
    """Show the results of an uploaded image, which is answered and forgotten."""
    searcher = index_holder().searcher()
    try:
        body = uploaded()
        answer = searcher.search_image(
            body.image, k=body.k, mode=body.mode, preview_side=QUERY_PREVIEW_SIDE
        )
    except LookalikeError as error:
        return _refused(searcher, error)
    preview = base64.b64encode(answer.preview or b"").decode("ascii")
    return _page(
        searcher,
        answer,
        query_name=request.files["image"].filename or "your image",
        query_source=f"data:image/jpeg;base64,{preview}",
    )


def _refused(searcher: Searcher | None, error: LookalikeError) -> tuple[str, int]:
    """Render the page with the reason instead of results; unforeseen errors go on upwards."""
    if error.code not in STATUSES:
        raise error
    message, hint = PUBLIC.get(error.code, (error.message, error.hint))
    return _page(searcher, message=message, hint=hint), STATUSES[error.code]


def _page(searcher: Searcher | None = None, answer: Answer | None = None, **values: object) -> str:
    """Render the page; every state of it names the encoder and the version, if there is one."""
    return render_template(
        "search.html",
        info=searcher.info if searcher else None,
        answer=answer,
        max_upload_mb=index_holder().config.server.max_upload_bytes // 1_000_000,
        file_url=schemas.file_url,
        thumbnail_url=schemas.thumbnail_url,
        **values,
    )


def _number(name: str) -> int:
    try:
        return int(request.args[name])
    except ValueError:
        raise InvalidQuery(f"{name} is not a whole number.") from None
