"""Liveness and readiness, for whatever watches the server."""

from http import HTTPStatus

from flask import Response, jsonify
from flask_openapi import APIBlueprint

from server import schemas
from server.errors import words
from server.index_holder import index_holder

blueprint = APIBlueprint("health", __name__)


@blueprint.get("/healthz", summary="Alive", responses={HTTPStatus.OK: schemas.Health})
def healthz() -> Response:
    """Answer 200 while the process serves requests at all."""
    return jsonify({"status": "ok"})


@blueprint.get(
    "/readyz",
    summary="Ready for every kind of query",
    responses={HTTPStatus.OK: schemas.Ready, HTTPStatus.SERVICE_UNAVAILABLE: schemas.Error},
)
def readyz() -> Response:
    """Answer 200 once every kind of query can be answered, 503 with the reason before."""
    reason = index_holder().not_ready()
    if reason:
        raise reason
    holder = index_holder()
    rejected = holder.rejected
    refused = (
        {"version": rejected.version, "reason": words(rejected.error)[0]} if rejected else None
    )
    version = holder.searcher().info.version
    return jsonify({"status": "ready", "version": version, "refused": refused})
