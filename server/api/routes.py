"""The routes of the JSON API, version 1."""

import hashlib
from http import HTTPStatus

from flask import Response, current_app, request
from flask_openapi import APIBlueprint
from werkzeug.exceptions import PreconditionFailed, UnsupportedMediaType

from indexer.search import Answer, ImageRow, Searcher
from server.admission.capacity import (
    capacity,
    encoding_slot,
    keep_timings,
    list_slot,
    run_search,
)
from server.api import index_answers, requests, search_answers, why_answers
from server.api.bodies import (
    FORM,
    JSON,
    content,
    form_fields,
    json_answer,
    uploaded_image,
    validate,
)
from server.api.json_bodies import SEARCH_LIMITS, json_model
from server.api.openapi import (
    IMAGES,
    INDEX,
    SEARCH,
    SECURITY,
    cacheable_answer,
    cacheable_file,
)
from server.api.thumbnails import ThumbnailCache
from server.api.url_queries import Fetcher, UrlRefused
from server.current_index import current_index
from server.errors import error_responses

THUMBNAIL_WAIT_S = 5.0
"""How long a request for a thumbnail that must be made waits for a slot."""

IMMUTABLE = "private, max-age=31536000, immutable"
REVALIDATE = "private, no-cache"

blueprint = APIBlueprint("api", __name__, url_prefix="/api/v1", abp_security=SECURITY)


@blueprint.post(
    "/search",
    operation_id="search",
    tags=[SEARCH],
    summary="Find the images most like an image",
    description="Upload an image as multipart/form-data, or send the id of an indexed image, a "
    "vector, words or examples as JSON. Results are ordered by Euclidean distance, nearest first.",
    responses={
        HTTPStatus.OK: search_answers.SearchAnswer,
        **error_responses(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ),
    },
    request_body=content(blueprint, {FORM: requests.SearchUpload, JSON: requests.SearchStored}),
)
def search() -> Response:
    """Search by an uploaded image, an indexed image or a vector."""
    searcher = current_index().searcher()
    body: requests.SearchUpload | requests.SearchStored
    if request.mimetype == FORM:
        body = validate(requests.SearchUpload, {**form_fields(), **uploaded_image()})
        found = run_search(searcher, body.query(), body.selection())
    elif request.is_json:
        body = json_model(requests.SearchStored, SEARCH_LIMITS)
        if body.url is None:
            found = run_search(searcher, body.query(), body.selection())
        else:
            with encoding_slot(searcher):  # taken before the image is fetched
                query = body.query(_fetch_image(body.url))
                found = run_search(searcher, query, body.selection(), has_slot=True)
    else:
        raise UnsupportedMediaType(
            "Send multipart/form-data with an image, or application/json with image_id, vector, "
            "text or positives."
        )
    return json_answer(to_search_answer(searcher, body, found))


def _fetch_image(url: str) -> bytes:
    fetcher: Fetcher | None = current_app.extensions["fetcher"]
    if fetcher is None:
        raise UrlRefused("This server does not fetch images by URL.", "Upload the image instead.")
    return fetcher.fetch(url)


def to_search_answer(
    searcher: Searcher, body: requests.SearchUpload | requests.SearchStored, found: Answer
) -> search_answers.SearchAnswer:
    """Convert an answer of the searcher; add the fields of ``explain`` if it was requested."""
    distribution = searcher.collection.distribution(found.vector) if body.explain else None
    return search_answers.SearchAnswer.of(found, search_answers.Query.of(body, found), distribution)


@blueprint.post(
    "/embed",
    operation_id="embed",
    tags=[SEARCH],
    summary="The feature of an image",
    description="The vector that a search by this image uses; send it as vector to search later.",
    responses={
        HTTPStatus.OK: search_answers.Embedding,
        **error_responses(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ),
    },
    request_body=content(blueprint, {FORM: requests.EmbedUpload}),
)
def embed() -> Response:
    """Return the feature of an uploaded image."""
    searcher = current_index().searcher()
    if request.mimetype != FORM:
        raise UnsupportedMediaType("Send multipart/form-data with an image.")
    body = validate(requests.EmbedUpload, {**form_fields(), **uploaded_image()})
    with encoding_slot(searcher):
        vector, timings = searcher.embed(body.image, body.box())
    keep_timings(timings)
    return json_answer(search_answers.Embedding.of(searcher.encoder_spec, vector.tolist(), timings))


@blueprint.get(
    "/images",
    operation_id="listImages",
    tags=[IMAGES],
    summary="List the images that pass a filter, or whose texts have some words",
    description="Without either these are all images. They are in the order of their ids.",
    responses={
        HTTPStatus.OK: search_answers.ImageList,
        **error_responses(HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
def images(query: requests.ImagesQuery) -> Response:
    """Return a page of the images that pass a filter, and the counts of the fields' values."""
    searcher, selection = current_index().searcher(), query.selection()
    with list_slot(selection, query.text):
        found = searcher.collection.listed(selection, query.text)
    return json_answer(search_answers.ImageList.of(searcher.info.version, found))


@blueprint.get(
    "/images/<int:image_id>",
    operation_id="getImage",
    tags=[IMAGES],
    summary="Describe an indexed image",
    responses={
        HTTPStatus.OK: search_answers.Image,
        **error_responses(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
def image(path: requests.ImagePath) -> Response:
    """Return an indexed image's key, size and metadata."""
    row = current_index().searcher().collection.image(path.image_id)
    return json_answer(search_answers.Image.of(row))


@blueprint.get(
    "/images/<int:image_id>/file",
    operation_id="getImageFile",
    tags=[IMAGES],
    summary="The image file as it was indexed",
    responses={
        **cacheable_file("image/*"),
        **error_responses(
            HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.UNPROCESSABLE_ENTITY
        ),
    },
)
def image_file(path: requests.ImagePath, query: requests.FileQuery) -> Response:
    """Return the file of an indexed image, unless it has changed since."""
    searcher = current_index().searcher()
    row = searcher.collection.image(path.image_id)
    response = _image_response(row, query, str(row.sha256))
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        file = searcher.collection.image_file(path.image_id)
        response.data, response.mimetype = file.data, file.media_type
    return response


@blueprint.get(
    "/images/<int:image_id>/thumbnail",
    operation_id="getImageThumbnail",
    tags=[IMAGES],
    summary="A small JPEG of the image",
    responses={
        **cacheable_file("image/jpeg"),
        **error_responses(
            HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.UNPROCESSABLE_ENTITY
        ),
    },
)
def image_thumbnail(path: requests.ImagePath, query: requests.ThumbnailQuery) -> Response:
    """Return a JPEG of an image or a box that fits into a square of ``side`` pixels."""
    searcher = current_index().searcher()

    def make() -> bytes:
        with capacity().thumbnails.hold(THUMBNAIL_WAIT_S):
            return searcher.collection.thumbnail(row.id, query.side, whole=query.whole)

    row = searcher.collection.image(path.image_id)
    name = f"{query.side}-whole" if row.box and query.whole else f"{query.side}"
    response = _image_response(row, query, f"{row.sha256}-{name}")
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        thumbnails: ThumbnailCache = current_app.extensions["thumbnails"]
        response.data = thumbnails.get(str(row.sha256), name, make)
        response.mimetype = "image/jpeg"
    return response


@blueprint.get(
    "/images/<int:image_id>/why/<int:other_id>",
    operation_id="explain",
    tags=[IMAGES],
    summary="Why two images are similar",
    description="For each of them a grid that says which parts of it make the similarity, and in "
    "sentences what that shows and what not. The images are encoded again; the last answers are "
    "kept.",
    responses={
        **cacheable_answer(why_answers.Why),
        **error_responses(
            HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.UNPROCESSABLE_ENTITY
        ),
    },
)
def why(path: requests.WhyPath, query: requests.WhyQuery) -> Response:
    """Explain the similarity of two indexed images."""
    searcher = current_index().searcher()
    ids = (path.image_id, path.other_id)
    first, second = (searcher.collection.image(image_id) for image_id in ids)
    contents = f"{ids[0]}-{first.sha256}-{ids[1]}-{second.sha256}-{query.method}"
    response = _conditional(f"why-{searcher.encoder_spec.fingerprint}-{contents}", REVALIDATE)
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        with encoding_slot(searcher):
            found = searcher.why(*ids, by_covering=query.by_covering)
        answer = why_answers.Why.of(searcher.encoder_spec, (first, second), found)
        response.data, response.mimetype = answer.model_dump_json(), JSON
    return response


@blueprint.get(
    "/index",
    operation_id="getIndex",
    tags=[INDEX],
    summary="Counts, encoder and modes of the index",
    responses={HTTPStatus.OK: index_answers.Index},
)
def index() -> Response:
    """Return counts, encoder, version and search modes."""
    searcher = current_index().searcher()
    return json_answer(index_answers.Index.of(searcher.info, searcher.collection.fields))


@blueprint.get(
    "/map",
    operation_id="getMap",
    tags=[INDEX],
    summary="Coordinates of every image on the map",
    description="Binary, little endian: the number n of images (uint32), n image ids (uint32), "
    "n pairs of coordinates x, y (uint16): the first two principal components of the features.",
    responses={
        **cacheable_file("application/octet-stream"),
        **error_responses(HTTPStatus.PRECONDITION_FAILED),
    },
)
def collection_map() -> Response:
    """Return the map of the collection, which changes only with the version."""
    searcher = current_index().searcher()
    response = _conditional(f"map-{_version_tag(searcher)}", REVALIDATE)
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        response.data = searcher.collection.projection().to_bytes()
        response.mimetype = "application/octet-stream"
    return response


@blueprint.get(
    "/map/marks",
    operation_id="getMapMarks",
    tags=[INDEX],
    summary="Which value of a field each image on the map has",
    description="Binary: a byte for each image, in the order of the map. 1 is the most frequent "
    "value of the field, 8 the eighth, 0 none of these; an image with several has the mark of the "
    "rarest. 255 is an image that does not pass the filter.",
    responses={
        **cacheable_file("application/octet-stream"),
        **error_responses(
            HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.UNPROCESSABLE_ENTITY
        ),
    },
)
def map_marks(query: requests.MarksQuery) -> Response:
    """Return the marks of the map's images, which change only with the version."""
    searcher = current_index().searcher()
    asked = hashlib.sha256(query.model_dump_json().encode()).hexdigest()[:16]
    response = _conditional(f"marks-{asked}-{_version_tag(searcher)}", REVALIDATE)
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        with list_slot(query.selection()):
            response.data = searcher.collection.marks(query.field, query.filter).tobytes()
        response.mimetype = "application/octet-stream"
    return response


def _version_tag(searcher: Searcher) -> str:
    """Return what differs between any two versions of any two stores."""
    return f"{searcher.info.encoder.fingerprint}-{searcher.info.created.timestamp():.6f}"


def _image_response(row: ImageRow, query: requests.FileQuery, etag: str) -> Response:
    """Return an empty answer for an image, immutable if the URL has the content's version."""
    is_current = query.v == search_answers.content_version(row)
    return _conditional(etag, IMMUTABLE if is_current else REVALIDATE)


def _conditional(etag: str, cache_control: str) -> Response:
    """Return 304 if the client has the content already, else an empty answer with its headers."""
    response = Response()
    response.set_etag(etag)
    response.headers["Cache-Control"] = cache_control
    response.make_conditional(request)
    if response.status_code == HTTPStatus.PRECONDITION_FAILED:
        raise PreconditionFailed("The content is not the one that If-Match names.")
    return response
