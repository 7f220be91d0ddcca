"""What analyses found last, in pages: the saved reports."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from flask import Response, current_app
from flask_openapi import APIBlueprint
from pydantic import BaseModel, Field

from indexer.analysis import (
    KINDS,
    Duplicates,
    Findings,
    Leaks,
    Outliers,
    ReportName,
    Reports,
    SavedReport,
    Suspects,
)
from indexer.errors import LookalikeError, StoreCorrupt
from server.api.bodies import json_answer
from server.api.fields import Request
from server.api.openapi import INDEX, SECURITY
from server.api.requests import MAX_PER_PAGE
from server.current_index import current_index
from server.errors import error_responses

LISTS = {Duplicates: "groups", Leaks: "leaks", Suspects: "suspects", Outliers: "outliers"}
"""The field of each with what was found, which is paged."""

blueprint = APIBlueprint("reports_api", __name__, url_prefix="/api/v1", abp_security=SECURITY)


class NoReport(LookalikeError):
    """An analysis has no report, or a damaged one."""

    code = "no_report"


def reports() -> Reports:
    """Return the reports of the application that handles the request."""
    found: Reports = current_app.extensions["reports"]
    return found


def saved_report(kind: type[Findings]) -> SavedReport[Findings]:
    """Return the last report of an analysis. Raises :class:`NoReport` without a sound one."""
    saved, problem = None, "There is no such report yet."
    try:
        saved = reports().get(kind, current_index().searcher())
    except StoreCorrupt as error:
        current_app.logger.warning("%s %s", error.message, error.hint)
        problem = "The report is damaged, or of another version of Lookalike."
    if saved is None:
        raise NoReport(problem, f"Make it with: lookalike {Reports.command(kind)}")
    return saved


class ReportPath(BaseModel):
    """The name in the URL of a report."""

    name: Annotated[ReportName, Field(description="The analysis.")]


class ReportQuery(Request):
    """Which part of a report to return."""

    page: Annotated[int, Field(ge=1, le=2**31, description="Which page, from 1.")] = 1
    per_page: Annotated[
        int, Field(ge=1, le=MAX_PER_PAGE, description="How many groups or images a page has.")
    ] = 100


class ReportAnswer(BaseModel):
    """A page of what an analysis found last, without images that are gone since."""

    name: Annotated[ReportName, Field(description="The analysis.")]
    version: Annotated[str, Field(description="The version that was looked at.")]
    created: Annotated[datetime, Field(description="When the report was made.")]
    is_current: Annotated[bool, Field(description="True if that version is the open one.")]
    gone: Annotated[int, Field(description="How many images that it names are gone since.")]
    total: Annotated[
        int | None,
        Field(description="How many groups or images all pages have; null for an evaluation."),
    ]
    page: Annotated[int, Field(description="Which page this is, from 1.")]
    more: Annotated[bool, Field(description="True if there is another page.")]
    found: Annotated[
        dict[str, Any],
        Field(
            description="What the command prints with --json, of groups, leaks, suspects or "
            "outliers only those of the page."
        ),
    ]


@blueprint.get(
    "/reports/<name>",
    operation_id="getReport",
    tags=[INDEX],
    summary="What an analysis of the collection found last",
    description="The reports of `lookalike duplicates`, `leaks`, `suspects`, `outliers` and "
    "`evaluate`. The server makes none.",
    responses={
        HTTPStatus.OK: ReportAnswer,
        **error_responses(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
def report(path: ReportPath, query: ReportQuery) -> Response:
    """Return a page of a report."""
    saved: SavedReport[Any] = saved_report(KINDS[path.name])
    found, total, end = saved.found, None, query.page * query.per_page
    if field := LISTS.get(type(found)):
        everything: Sequence[Any] = getattr(found, field)
        total = len(everything)
        found = replace(found, **{field: everything[end - query.per_page : end]})
    return json_answer(
        ReportAnswer(
            name=path.name,
            version=saved.version,
            created=saved.created,
            is_current=saved.is_current,
            gone=saved.gone,
            total=total,
            page=query.page,
            more=total is not None and end < total,
            found=found.to_json(),
        )
    )
