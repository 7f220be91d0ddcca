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
from server.admission.rates import count_batch
from server.api import requests, search_answers
from server.api.bodies import FORM, JSON, NDJSON, content, form_fields, validate
from server.api.json_bodies import BATCH_LIMITS, json_model
from server.api.openapi import SEARCH, SECURITY
from server.api.routes import to_search_answer
from server.current_index import current_index
from server.errors import Error, ErrorDetail, error_responses, is_expected, public_error

GROUP_SIZE = 32
"""How many searches run together. Their images are in memory, and a stream sends their answers."""

Search = tuple[requests.SearchUpload | requests.SearchStored, Query, Selection]
"""One search of a batch: its fields, and the query and selection they describe."""

blueprint = APIBlueprint("batch", __name__, url_prefix="/api/v1", abp_security=SECURITY)


@blueprint.post(
    "/search/batch",
    operation_id="searchBatch",
    tags=[SEARCH],
    summary="Many searches in one call",
    description="Upload up to 100 images as multipart/form-data, all in fields named image, or "
    "send up to 100 searches as JSON. Together their images have no more pixels than one "
    "upload can have. A search that fails has an error in its position. With Accept: "
    "application/x-ndjson the answers are streamed, one per line.",
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
    """Return the answers to many searches, in their order."""
    searcher = current_index().searcher()
    body: requests.BatchUpload | requests.BatchStored
    if request.mimetype == FORM:
        images = [file.read() for file in request.files.getlist("image")]
        others = dict.fromkeys(request.files.keys() - {"image"}, b"")  # which the model refuses
        body = validate(requests.BatchUpload, {**form_fields(), **others, "image": images})
    elif request.is_json:
        body = json_model(requests.BatchStored, BATCH_LIMITS)
    else:
        raise UnsupportedMediaType(
            "Send multipart/form-data with images, or application/json with queries."
        )
    searches = [(search, search.query(), search.selection()) for search in body.searches()]
    count_batch(len(searches))
    accepted = request.accept_mimetypes
    is_streamed = accepted.quality(NDJSON) > accepted.quality(JSON)
    with ExitStack() as slots:
        if is_streamed:
            slots.enter_context(capacity().streams.hold())
        slots.enter_context(
            search_slot(searcher, [(query, selection) for _, query, selection in searches])
        )
        _check_work(searcher, searches)
        answers = _answers(searcher, searches)
        if not is_streamed:
            # A BatchAnswer joined from texts: as objects the answers take several times the memory.
            return Response(f'{{"answers":[{",".join(answers)}]}}', mimetype=JSON)
        lines = (f"{answer}\n" for answer in answers)
        response = Response(stream_with_context(lines), mimetype=NDJSON)
        response.headers["X-Accel-Buffering"] = "no"  # nginx must not buffer the lines
        response.call_on_close(slots.pop_all().close)
        return response


def _check_work(searcher: Searcher, searches: Sequence[Search]) -> None:
    """Raise ImageTooLarge or InvalidQuery if a batch has too many pixels, or a deep page.

    The limit is that of one upload. Nothing is decoded to count the pixels.
    """
    limit = current_index().config.server.max_pixels
    total = sum(min(_pixels(searcher, query), limit) for _, query, _ in searches)
    if len(searches) > 1 and total > limit:
        raise ImageTooLarge(
            f"The images of the batch have {total:,} pixels; the limit is {limit:,}.",
            "Send fewer or smaller images.",
        )
    if any(is_deep(selection) for *_, selection in searches):
        raise InvalidQuery(
            "A search of a batch asks for a page that is too deep.",
            "Send it on its own, or ask for fewer results.",
        )


def _pixels(searcher: Searcher, query: Query) -> int:
    """Return how many pixels a query decodes; 0 for an image that the search will refuse."""
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
    """Yield the answers as JSON, or an error for a search that fails."""
    for start in range(0, len(searches), GROUP_SIZE):
        group = searches[start : start + GROUP_SIZE]
        answers = run_searches(searcher, [(query, selection) for _, query, selection in group])
        for (search, _, _), found in zip(group, answers, strict=True):
            if not isinstance(found, LookalikeError):
                yield to_search_answer(searcher, search, found).model_dump_json()
            elif is_expected(found):
                detail = ErrorDetail.model_validate(public_error(found))
                yield Error(error=detail).model_dump_json()
            else:
                raise found
