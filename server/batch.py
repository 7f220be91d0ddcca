"""Many searches in one call, and features without a search."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, request, stream_with_context
from werkzeug.exceptions import UnsupportedMediaType

from indexer.errors import LookalikeError
from indexer.search import Searcher
from server import requests, schemas
from server.admission import admission
from server.api import blueprint, described, request_body, uploaded_files, validated
from server.errors import STATUSES, public
from server.index_holder import index_holder
from server.metrics import metrics

__all__ = ["blueprint"]

NDJSON = "application/x-ndjson"
Search = requests.SearchUpload | requests.SearchStored


@blueprint.post(
    "/search/batch",
    summary="Many searches in one call",
    description="Upload up to 100 images as multipart/form-data, all in fields named image, or "
    "send up to 100 searches as JSON. One that cannot be answered has an error in its place. With "
    "Accept: application/x-ndjson each answer is sent as soon as it is there, one per line.",
    responses={
        HTTPStatus.OK: {
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/BatchAnswer"}},
                NDJSON: {"schema": {"type": "string"}},
            }
        },
        HTTPStatus.LENGTH_REQUIRED: schemas.Error,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: schemas.Error,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: schemas.Error,
    },
    request_body=request_body(
        multipart=requests.BatchUpload, json=requests.BatchStored, answer=schemas.BatchAnswer
    ),
)
def search_batch() -> Response:
    """Answer many searches, in their order."""
    searcher = index_holder().searcher()
    body: requests.BatchUpload | requests.BatchStored
    if request.mimetype == "multipart/form-data":
        images = [file.read() for file in request.files.getlist("image")]
        body = validated(requests.BatchUpload, {**request.form.to_dict(), "image": images})
    elif request.is_json:
        body = validated(requests.BatchStored, request.json)
    else:
        raise UnsupportedMediaType(
            "Send multipart/form-data with images, or application/json with queries."
        )
    searches = body.searches()
    with ExitStack() as held:
        if any(search.query().is_encoded for search in searches):
            held.enter_context(
                admission().encoding.place()
            )  # one for all: they go one after the other
        answers = _answers(searcher, searches)
        accepted = request.accept_mimetypes
        if accepted.quality(NDJSON) <= accepted.quality("application/json"):
            whole = f'{{"answers": [{",".join(answers)}]}}'
            return Response(whole, mimetype="application/json")
        lines = (f"{answer}\n" for answer in answers)
        response = Response(stream_with_context(lines), mimetype=NDJSON)
        response.call_on_close(held.pop_all().close)
        return response


@blueprint.post(
    "/embed",
    summary="The feature of an image",
    description="What a search by this image would search with; send it as vector to search later.",
    responses={
        HTTPStatus.OK: schemas.Embedding,
        HTTPStatus.LENGTH_REQUIRED: schemas.Error,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: schemas.Error,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: schemas.Error,
    },
    request_body=request_body(multipart=requests.EmbedUpload),
)
def embed() -> Response:
    """Return an uploaded image's feature."""
    searcher = index_holder().searcher()
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with an image.")
    body = validated(requests.EmbedUpload, {**request.form.to_dict(), **uploaded_files()})
    with admission().encoding.place():
        vector, timings = searcher.embed(body.image, body.box())
    metrics().observe(timings)
    embedding = schemas.Embedding(
        encoder=schemas.Encoder.of(searcher.encoder_spec),
        vector=vector.tolist(),
        timings_ms=schemas.Timings.model_validate(timings),
    )
    return jsonify(embedding.model_dump(mode="json"))


def _answers(searcher: Searcher, searches: list[Any]) -> Iterator[str]:
    """Yield the answers as JSON; a search that fails has its error in its place."""
    for search in searches:
        try:
            answer = searcher.search(search.query(), search.selection())
        except LookalikeError as error:
            if error.code not in STATUSES:
                raise
            yield json.dumps({"error": public(error)})
            continue
        metrics().observe(answer.timings_ms)
        yield described(searcher, search, answer)
