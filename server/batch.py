"""Many searches in one call."""

from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus

from flask import Response, request, stream_with_context
from flask_openapi import APIBlueprint
from werkzeug.exceptions import UnsupportedMediaType

from indexer.errors import LookalikeError
from indexer.search import Query, Searcher
from server import requests, schemas
from server.admission import admission
from server.api import described
from server.codes import Error, ErrorDetail, refusals
from server.docs import SEARCH, SECURITY
from server.errors import STATUSES, public
from server.index_holder import index_holder
from server.metrics import metrics
from server.wire import FORM, JSON, NDJSON, content, validated

Search = tuple[requests.SearchUpload | requests.SearchStored, Query]
"""One of the searches, as it was sent and as it is asked."""

blueprint = APIBlueprint("batch", __name__, url_prefix="/api/v1", abp_security=SECURITY)


@blueprint.post(
    "/search/batch",
    operation_id="searchBatch",
    tags=[SEARCH],
    summary="Many searches in one call",
    description="Upload up to 100 images as multipart/form-data, all in fields named image, or "
    "send up to 100 searches as JSON. One that cannot be answered has an error in its place. With "
    "Accept: application/x-ndjson each answer is sent as soon as it is there, one per line.",
    responses={
        HTTPStatus.OK: content(blueprint, {JSON: schemas.BatchAnswer, NDJSON: {"type": "string"}}),
        **refusals(
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
        body = validated(requests.BatchUpload, {**request.form.to_dict(), "image": images})
    elif request.is_json:
        body = validated(requests.BatchStored, request.json)
    else:
        raise UnsupportedMediaType(
            "Send multipart/form-data with images, or application/json with queries."
        )
    searches = [(search, search.query()) for search in body.searches()]
    with ExitStack() as held:
        if any(query.is_encoded for _, query in searches):
            held.enter_context(admission().encoding.place())  # one: they go one after the other
        answers = _answers(searcher, searches)
        accepted = request.accept_mimetypes
        if accepted.quality(NDJSON) <= accepted.quality(JSON):
            # A BatchAnswer, put together of texts: as objects they take several times the memory.
            return Response(f'{{"answers":[{",".join(answers)}]}}', mimetype=JSON)
        lines = (f"{answer}\n" for answer in answers)
        response = Response(stream_with_context(lines), mimetype=NDJSON)
        response.call_on_close(held.pop_all().close)
        return response


def _answers(searcher: Searcher, searches: list[Search]) -> Iterator[str]:
    """Yield the answers as JSON; a search that fails has its error in its place."""
    for search, query in searches:
        try:
            found = searcher.search(query, search.selection())
        except LookalikeError as error:
            if error.code not in STATUSES:
                raise
            detail = ErrorDetail.model_validate(public(error))
            yield Error(error=detail).model_dump_json()
            continue
        metrics().observe(found.timings_ms)
        yield described(searcher, search, found).model_dump_json()
