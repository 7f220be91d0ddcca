"""Liveness and readiness checks."""

from http import HTTPStatus

from flask import Response
from flask_openapi import APIBlueprint

from server.api import index_answers
from server.api.bodies import json_answer
from server.api.openapi import OPERATIONS
from server.current_index import current_index

blueprint = APIBlueprint("health", __name__, abp_tags=[OPERATIONS])


@blueprint.get(
    "/healthz",
    operation_id="getHealth",
    summary="Liveness",
    responses={HTTPStatus.OK: index_answers.Health},
)
def healthz() -> Response:
    """Return 200 while the process answers requests."""
    return json_answer(index_answers.Health(status="ok"))


@blueprint.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Readiness for every kind of query",
    responses={HTTPStatus.OK: index_answers.Ready},
)
def readyz() -> Response:
    """Return 200 if every kind of query can be answered, else 503 with the reason."""
    index = current_index()
    reason = index.readiness_error()
    if reason:
        raise reason
    return json_answer(
        index_answers.Ready.of(index.searcher().info, index.rejected, index.images())
    )
