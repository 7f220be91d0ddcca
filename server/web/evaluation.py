"""The page of the evaluation, and its report as files."""

from typing import cast

from flask import Blueprint, Response, current_app, request
from werkzeug.wrappers import Response as AnyResponse

from indexer.analysis import Evaluation, SavedReport
from indexer.analysis.evaluation.report import FORMS, Form, report, sections, styles
from indexer.errors import LookalikeError
from indexer.search import Searcher
from server.admission.capacity import capacity
from server.api.bodies import local_url
from server.api.reports import saved_report
from server.api.search_answers import thumbnail_url
from server.api.thumbnails import ThumbnailCache
from server.current_index import current_index
from server.web.exports import download
from server.web.page_state import PageState
from server.web.pages import error_page, render
from server.web.reports import ask

blueprint = Blueprint("evaluation", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

PATH = "/collection/evaluation"

LABELS_SHOWN = 150
"""How many labels the page's table has at most; the files have all."""

MEDIA_TYPES: dict[Form, str] = {
    "json": "application/json",
    "md": "text/markdown",
    "html": "text/html",
}


@blueprint.get(PATH)
def evaluation() -> str:
    """Show how well images that share a label find each other."""
    searcher = current_index().searcher()
    asked = ask(Evaluation, searcher)
    return render(
        "evaluation.html",
        searcher,
        state=PageState(),
        asked=asked,
        forms=FORMS,
        sections=_sections(searcher, asked.saved) if asked.saved else None,
    )


@blueprint.get(f"{PATH}.<any({', '.join(FORMS)}):form>")
def evaluation_file(form: str) -> Response:
    """Return the report as a file."""
    found, chosen = saved_report(Evaluation).found, cast("Form", form)
    with capacity().long_searches.hold():
        content = report(found, chosen, _thumbnail)
    return download(content, MEDIA_TYPES[chosen], f"evaluation.{form}")


@blueprint.get(f"{PATH}.css")
def evaluation_styles() -> AnyResponse:
    """Return the style sheet of the sections, which the library's report files have, too."""
    response = Response(styles(), mimetype="text/css")
    response.add_etag()
    return response.make_conditional(request)


def _sections(searcher: Searcher, saved: SavedReport[Evaluation]) -> str:
    """Return the sections of the report, with pictures that lead to their pages."""
    found = saved.found
    ids = {image_id for query in found.best + found.worst for image_id in query.ids}
    rows = searcher.collection.images(ids)
    pictures = {image_id: thumbnail_url(row) for image_id, row in rows.items()}
    pages = {image_id: local_url(f"/images/{image_id}") for image_id in rows}
    gone = f"{saved.gone:,} of these images are gone since; their names are shown."
    return sections(found, pictures.get, pages.get, gone * bool(saved.gone), LABELS_SHOWN)


def _thumbnail(image_id: int, side: int) -> bytes:
    """Return a picture of the report, from the cache or made now."""
    collection = current_index().searcher().collection
    thumbnails: ThumbnailCache = current_app.extensions["thumbnails"]
    sha256 = str(collection.image(image_id).sha256)
    return thumbnails.get(sha256, str(side), lambda: collection.thumbnail(image_id, side))
