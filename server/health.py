"""Liveness and readiness, for whatever watches the server."""

from http import HTTPStatus

from flask import Response
from flask_openapi import APIBlueprint

from server import reports
from server.docs import OPERATIONS
from server.index_holder import index_holder
from server.wire import answer

blueprint = APIBlueprint("health", __name__, abp_tags=[OPERATIONS])


@blueprint.get(
    "/healthz",
    operation_id="getHealth",
    summary="Alive",
    responses={HTTPStatus.OK: reports.Health},
)
def healthz() -> Response:
    """Answer 200 while the process serves requests at all."""
    return answer(reports.Health(status="ok"))


@blueprint.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Ready for every kind of query",
    responses={HTTPStatus.OK: reports.Ready},
)
def readyz() -> Response:
    """Answer 200 once every kind of query can be answered, 503 with the reason before."""
    holder = index_holder()
    reason = holder.not_ready()
    if reason:
        raise reason
    return answer(reports.Ready.of(holder.searcher().info, holder.rejected))
