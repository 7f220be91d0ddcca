"""The collection page and the list of all images: what was indexed, what was skipped and why."""

from urllib.parse import urlencode

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from indexer.errors import InvalidQuery, LookalikeError
from server.api.bodies import local_url
from server.current_index import current_index
from server.web import facets
from server.web.page_state import PageState, parse_int
from server.web.pages import error_page, render

blueprint = Blueprint("collection", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

SKIPPED_PER_PAGE = 50
IMAGES_PER_PAGE = 60
MAX_COLOURS = 6
"""How many fields the page offers to colour the map by; the address takes any."""


@blueprint.get("/collection")
def collection() -> AnyResponse | str:
    """Show counts, facets, encoder, version, and the skipped files with their reasons."""
    searcher = current_index().searcher()
    typed = facets.typed(searcher, PageState.parse(request.args, {}), request.args)
    if facets.ADD in request.args and not typed.message:
        return redirect(local_url(typed.state.url(request.path)))
    offset, page = _offset(SKIPPED_PER_PAGE)
    marked_by = [("field", typed.state.colour), *(("filter", one) for one in typed.state.filter)]
    found = facets.listed(searcher, typed.state, k=1)
    return render(
        "collection.html",
        searcher,
        state=typed.state,
        typed=typed,
        facets=facets.lists(searcher, typed.state, found),
        marks_url=f"/api/v1/map/marks?{urlencode(marked_by)}",
        legend=facets.legend(searcher, typed.state) if typed.state.colour else None,
        colours=searcher.collection.telling_fields[:MAX_COLOURS],
        passing=found.total if found and typed.state.filter else None,
        reasons=searcher.collection.skip_reasons(),
        skipped=searcher.collection.page_by_key("skipped", offset=offset, limit=SKIPPED_PER_PAGE),
        page=page,
        pages=-(-searcher.info.counts.skipped // SKIPPED_PER_PAGE),
    )


@blueprint.get("/collection/images")
def images() -> AnyResponse | str:
    """Show a page of the list of all images, by key, or of those that pass a filter, by id."""
    searcher = current_index().searcher()
    typed = facets.typed(searcher, PageState.parse(request.args, {}), request.args)
    state = typed.state
    if facets.ADD in request.args and not typed.message:
        return redirect(local_url(state.url(request.path)))
    offset, page = _offset(IMAGES_PER_PAGE)
    found = facets.listed(searcher, state, k=IMAGES_PER_PAGE, page=page)
    if found and state.filter:
        shown, total = found.images, found.total
    else:
        shown = searcher.collection.page_by_key("indexed", offset=offset, limit=IMAGES_PER_PAGE)
        total = searcher.info.counts.indexed
    return render(
        "images.html",
        searcher,
        state=state,
        typed=typed,
        facets=facets.lists(searcher, state, found),
        images=shown,
        total=total,
        page=page,
        pages=-(-total // IMAGES_PER_PAGE),
    )


def _offset(per_page: int) -> tuple[int, int]:
    """Return the offset of the requested page's first row, and the page's number."""
    text = request.args.get("page")
    page = parse_int("page", text) if text else 1
    if not 1 <= page <= 10**9:
        raise InvalidQuery(f"page is {page}; pages are numbered from 1.", "Begin with page=1.")
    return (page - 1) * per_page, page
