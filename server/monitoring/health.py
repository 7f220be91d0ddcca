"""Liveness and readiness, for whatever watches the server."""

from http import HTTPStatus

from flask import Response
from flask_openapi import APIBlueprint

from server.api import index_answers
from server.api.bodies import answer
from server.api.openapi import OPERATIONS
from server.current_index import index_holder

blueprint = APIBlueprint("health", __name__, abp_tags=[OPERATIONS])


@blueprint.get(
    "/healthz",
    operation_id="getHealth",
    summary="Alive",
    responses={HTTPStatus.OK: index_answers.Health},
)
def healthz() -> Response:
    """Answer 200 while the process serves requests at all."""
    return answer(index_answers.Health(status="ok"))


@blueprint.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Ready for every kind of query",
    responses={HTTPStatus.OK: index_answers.Ready},
)
def readyz() -> Response:
    """Answer 200 once every kind of query can be answered, 503 with the reason before."""
    holder = index_holder()
    reason = holder.not_ready()
    if reason:
        raise reason
    return answer(index_answers.Ready.of(holder.searcher().info, holder.rejected))
