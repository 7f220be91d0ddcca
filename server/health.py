"""Liveness and readiness, for whatever watches the server."""

from flask import Blueprint, Response, jsonify

from server.errors import error_response
from server.index_holder import index_holder

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer 200 while the process serves requests at all."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 200 once every kind of query can be answered, 503 with the reason before."""
    reason = index_holder().not_ready()
    if reason:
        return error_response(503, "not_ready", reason, "Try again in a few seconds.")
    return jsonify({"status": "ready", "version": index_holder().searcher().info.version})
