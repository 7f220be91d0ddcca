"""The JSON API, version 1."""

from http import HTTPStatus
from typing import Any, TypeVar

from flask import Response, current_app, jsonify, request
from flask_openapi import APIBlueprint
from flask_openapi.models import Schema
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from indexer.search import Answer, ImageRow, Searcher
from server import requests, schemas
from server.admission import admission, find
from server.errors import invalid_request
from server.index_holder import index_holder
from server.thumbnails import ThumbnailCache
from server.url_queries import Fetcher, UrlRefused

Model = TypeVar("Model", bound=BaseModel)

KEEP_FOR_EVER = "private, max-age=31536000, immutable"
ASK_AGAIN = "private, no-cache"

blueprint = APIBlueprint(
    "api",
    __name__,
    url_prefix="/api/v1",
    abp_security=schemas.SECURITY,
    abp_responses=schemas.refusals(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)


def request_body(**models: type[BaseModel]) -> dict[str, Any]:
    """Document a body that may come in several media types, each with its own model.

    ``answer`` registers the model of an answer that may come in several, too.

    The OpenAPI library validates one model per route. Here the view picks the model by media type,
    and the same models are registered for the document.
    """
    for model in models.values():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, part in {**schema.pop("$defs", {}), model.__name__: schema}.items():
            blueprint.components_schemas[name] = Schema(**part)
    media_types = {"multipart": "multipart/form-data", "json": "application/json"}
    content = {
        media_types[name]: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
        for name, model in models.items()
        if name in media_types
    }
    return {"required": True, "content": content}


@blueprint.post(
    "/search",
    summary="Find the images most like an image",
    description="Upload an image as multipart/form-data, or name an indexed image, a vector or "
    "several examples as JSON. Results are ordered by Euclidean distance, nearest first.",
    responses={
        HTTPStatus.OK: schemas.SearchAnswer,
        HTTPStatus.NOT_FOUND: schemas.Error,
        HTTPStatus.CONFLICT: schemas.Error,
        HTTPStatus.LENGTH_REQUIRED: schemas.Error,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: schemas.Error,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: schemas.Error,
    },
    request_body=request_body(multipart=requests.SearchUpload, json=requests.SearchStored),
)
def search() -> Response:
    """Search by an uploaded image, an indexed image or a vector."""
    searcher = index_holder().searcher()
    body: requests.SearchUpload | requests.SearchStored
    if request.mimetype == "multipart/form-data":
        body = validated(requests.SearchUpload, {**request.form.to_dict(), **uploaded_files()})
    elif request.is_json:
        body = validated(requests.SearchStored, request.json)
        if body.url is not None:
            body = body.with_image(_fetched(body.url))
    else:
        raise UnsupportedMediaType(
            "Send multipart/form-data with an image, or application/json with image_id, vector "
            "or positives."
        )
    answer = find(searcher, body.query(), body.selection())
    return Response(described(searcher, body, answer), mimetype="application/json")


def _fetched(url: str) -> bytes:
    """Return the image at an address; it takes one of the places of uploads meanwhile."""
    fetcher: Fetcher | None = current_app.extensions["fetcher"]
    if fetcher is None:
        raise UrlRefused("This server fetches no images.", "Upload the image instead.")
    with admission().encoding.place():
        return fetcher.fetch(url)


def described(
    searcher: Searcher, body: requests.SearchUpload | requests.SearchStored, answer: Answer
) -> str:
    """Return an answer as it goes over the wire, JSON on one line."""
    distribution = searcher.distribution(answer.vector) if body.explain else None
    query = schemas.Query.of(body, answer)
    found = schemas.SearchAnswer.of(answer, query, distribution)
    explained = {"stages", "distribution"}
    return found.model_dump_json(exclude=None if body.explain else explained)


def uploaded_files() -> dict[str, bytes]:
    """Return the files of an upload form. Raises RequestEntityTooLarge beyond the limit."""
    files = {name: file.read() for name, file in request.files.items()}
    if len(files.get("image", b"")) > index_holder().config.server.max_upload_bytes:
        raise RequestEntityTooLarge
    return files


@blueprint.get(
    "/images/<int:image_id>",
    summary="Describe an indexed image",
    responses={HTTPStatus.OK: schemas.Image, HTTPStatus.NOT_FOUND: schemas.Error},
)
def image(path: requests.ImagePath) -> Response:
    """Return an indexed image's key, size and metadata."""
    row = index_holder().searcher().image(path.image_id)
    return jsonify(schemas.Image.of(row).model_dump(mode="json"))


@blueprint.get(
    "/images/<int:image_id>/file",
    summary="The image file as it was indexed",
    responses={
        HTTPStatus.OK: {"content": {"image/*": {"schema": {"type": "string"}}}},
        HTTPStatus.NOT_MODIFIED: None,
        HTTPStatus.NOT_FOUND: schemas.Error,
    },
)
def image_file(path: requests.ImagePath, query: requests.FileQuery) -> Response:
    """Return the bytes of an indexed image, if they are still those that were indexed."""
    searcher = index_holder().searcher()
    row = searcher.image(path.image_id)
    response = _cacheable(row, query, str(row.sha256))
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        file = searcher.image_file(path.image_id)
        response.data, response.mimetype = file.data, file.media_type
    return response


@blueprint.get(
    "/images/<int:image_id>/thumbnail",
    summary="A small JPEG of the image",
    responses={
        HTTPStatus.OK: {"content": {"image/jpeg": {"schema": {"type": "string"}}}},
        HTTPStatus.NOT_MODIFIED: None,
        HTTPStatus.NOT_FOUND: schemas.Error,
    },
)
def image_thumbnail(path: requests.ImagePath, query: requests.ThumbnailQuery) -> Response:
    """Return a JPEG that fits into a square of ``side`` pixels."""
    searcher = index_holder().searcher()
    row = searcher.image(path.image_id)
    response = _cacheable(row, query, f"{row.sha256}-{query.side}")
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        thumbnails: ThumbnailCache = current_app.extensions["thumbnails"]
        response.data = thumbnails.get(
            str(row.sha256), query.side, lambda: searcher.thumbnail(row.id, query.side)
        )
        response.mimetype = "image/jpeg"
    return response


@blueprint.get(
    "/index",
    summary="What the index consists of",
    responses={HTTPStatus.OK: schemas.Index},
)
def index() -> Response:
    """Return counts, encoder, version and search modes."""
    info = index_holder().searcher().info
    return jsonify(schemas.Index.of(info).model_dump(mode="json"))


@blueprint.get(
    "/map",
    summary="Every image's place on a plane",
    description="Binary, little endian: the number n of images (uint32), n image ids (uint32), "
    "n places x, y (uint16). Places are the first two principal components of the features.",
    responses={
        HTTPStatus.OK: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}},
        HTTPStatus.NOT_MODIFIED: None,
    },
)
def collection_map() -> Response:
    """Return the map of the collection, the same for as long as the version is."""
    searcher = index_holder().searcher()
    info = searcher.info
    response = Response(mimetype="application/octet-stream")
    response.set_etag(f"map-{info.encoder.fingerprint}-{info.created.timestamp():.6f}")
    response.headers["Cache-Control"] = ASK_AGAIN
    response.make_conditional(request)
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        response.data = searcher.map().to_bytes()
    return response


def validated(model: type[Model], fields: object) -> Model:
    """Return the model of some fields. Raises InvalidRequest."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None


def _cacheable(row: ImageRow, query: requests.FileQuery, etag: str) -> Response:
    """Return 304 if the browser has the content already, else an answer to be filled."""
    response = Response()
    response.set_etag(etag)
    kept = query.v == schemas.content_version(row)
    response.headers["Cache-Control"] = KEEP_FOR_EVER if kept else ASK_AGAIN
    response.make_conditional(request)
    return response
