"""Many searches in one call."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from http import HTTPStatus

from flask import Response, request, stream_with_context
from flask_openapi import APIBlueprint
from werkzeug.exceptions import UnsupportedMediaType

from indexer.errors import ImageTooLarge, InvalidQuery, LookalikeError, UnknownImage
from indexer.search import Query, Searcher, Selection, pixels
from server.admission.capacity import capacity, is_deep, run_searches, search_slot
from server.admission.rates import count_requests
from server.api import requests, search_answers
from server.api.bodies import FORM, JSON, NDJSON, content, form_fields, json_body, validated
from server.api.openapi import SEARCH, SECURITY
from server.api.routes import described
from server.current_index import index_holder
from server.errors import Error, ErrorDetail, error_responses, is_expected, public_error

TOGETHER = 32
"""So many searches are made at once: their images are in memory, and a stream begins after them."""

Search = tuple[requests.SearchUpload | requests.SearchStored, Query, Selection]
"""One of the searches, as it was sent and as it is asked."""

blueprint = APIBlueprint("batch", __name__, url_prefix="/api/v1", abp_security=SECURITY)


@blueprint.post(
    "/search/batch",
    operation_id="searchBatch",
    tags=[SEARCH],
    summary="Many searches in one call",
    description="Upload up to 100 images as multipart/form-data, all in fields named image, or "
    "send up to 100 searches as JSON. Together they decode no more pixels than one upload may "
    "have. One that cannot be answered has an error in its place. With Accept: "
    "application/x-ndjson the answers are sent one per line, some at a time, as they are made.",
    responses={
        HTTPStatus.OK: content(
            blueprint, {JSON: search_answers.BatchAnswer, NDJSON: {"type": "string"}}
        ),
        **error_responses(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ),
    },
    request_body=content(blueprint, {FORM: requests.BatchUpload, JSON: requests.BatchStored}),
)
def search_batch() -> Response:
    """Answer many searches, in their order."""
    searcher = index_holder().searcher()
    body: requests.BatchUpload | requests.BatchStored
    if request.mimetype == FORM:
        images = [file.read() for file in request.files.getlist("image")]
        others = dict.fromkeys(request.files.keys() - {"image"}, b"")  # to be refused
        body = validated(requests.BatchUpload, {**form_fields(), **others, "image": images})
    elif request.is_json:
        body = validated(requests.BatchStored, json_body())
    else:
        raise UnsupportedMediaType(
            "Send multipart/form-data with images, or application/json with queries."
        )
    searches = [(search, search.query(), search.selection()) for search in body.searches()]
    count_requests(len(searches) - 1)  # the first is counted like every request
    accepted = request.accept_mimetypes
    is_streamed = accepted.quality(NDJSON) > accepted.quality(JSON)
    with ExitStack() as held:
        if is_streamed:
            held.enter_context(capacity().streams.hold())
        held.enter_context(
            search_slot(searcher, [(query, selection) for _, query, selection in searches])
        )
        _check_work(searcher, searches)
        answers = _answers(searcher, searches)
        if not is_streamed:
            # A BatchAnswer, put together of texts: as objects they take several times the memory.
            return Response(f'{{"answers":[{",".join(answers)}]}}', mimetype=JSON)
        lines = (f"{answer}\n" for answer in answers)
        response = Response(stream_with_context(lines), mimetype=NDJSON)
        response.headers["X-Accel-Buffering"] = "no"  # nginx, too, sends each line at once
        response.call_on_close(held.pop_all().close)
        return response


def _check_work(searcher: Searcher, searches: Sequence[Search]) -> None:
    """Let a batch take no more pixels than one upload may have, and no deep pages.

    Raises ImageTooLarge or InvalidQuery. Nothing is decoded to find out.
    """
    limit = index_holder().config.server.max_pixels
    total = sum(min(_pixels(searcher, query), limit) for _, query, _ in searches)
    if len(searches) > 1 and total > limit:
        raise ImageTooLarge(
            f"The images of the batch have {total:,} pixels together; the limit is {limit:,}.",
            "Send fewer at once, or smaller ones.",
        )
    if any(is_deep(selection) for *_, selection in searches):
        raise InvalidQuery(
            "A batch holds no pages that deep.", "Ask for them one by one, or for fewer results."
        )


def _pixels(searcher: Searcher, query: Query) -> int:
    """Return how many pixels a query decodes; 0 for an image that will be refused anyway."""
    if query.image is not None:
        return pixels(query.image)
    if query.crop is None or query.image_id is None:
        return 0
    try:
        row = searcher.collection.image(query.image_id)
    except UnknownImage:
        return 0
    return (row.width or 0) * (row.height or 0)


def _answers(searcher: Searcher, searches: Sequence[Search]) -> Iterator[str]:
    """Yield the answers as JSON; a search that fails has its error in its place."""
    for start in range(0, len(searches), TOGETHER):
        some = searches[start : start + TOGETHER]
        answers = run_searches(searcher, [(query, selection) for _, query, selection in some])
        for (search, _, _), found in zip(some, answers, strict=True):
            if not isinstance(found, LookalikeError):
                yield described(searcher, search, found).model_dump_json()
            elif is_expected(found):
                detail = ErrorDetail.model_validate(public_error(found))
                yield Error(error=detail).model_dump_json()
            else:
                raise found
