"""The collection page and the list of all images: what was indexed, what was skipped and why."""

from flask import Blueprint, request

from indexer.errors import InvalidQuery, LookalikeError
from server.current_index import current_index
from server.web.page_state import parse_int
from server.web.pages import error_page, render

blueprint = Blueprint("collection", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

SKIPPED_PER_PAGE = 50
IMAGES_PER_PAGE = 60


@blueprint.get("/collection")
def collection() -> str:
    """Show counts, encoder, version, and the skipped files with their reasons."""
    searcher = current_index().searcher()
    offset, page = _offset(SKIPPED_PER_PAGE)
    return render(
        "collection.html",
        searcher,
        reasons=searcher.collection.skip_reasons(),
        skipped=searcher.collection.page_by_key("skipped", offset=offset, limit=SKIPPED_PER_PAGE),
        page=page,
        pages=-(-searcher.info.counts.skipped // SKIPPED_PER_PAGE),
    )


@blueprint.get("/collection/images")
def images() -> str:
    """Show a page of the list of all images, in order of their keys."""
    searcher = current_index().searcher()
    offset, page = _offset(IMAGES_PER_PAGE)
    return render(
        "images.html",
        searcher,
        images=searcher.collection.page_by_key("indexed", offset=offset, limit=IMAGES_PER_PAGE),
        page=page,
        pages=-(-searcher.info.counts.indexed // IMAGES_PER_PAGE),
    )


def _offset(per_page: int) -> tuple[int, int]:
    """Return the offset of the requested page's first row, and the page's number."""
    text = request.args.get("page")
    page = parse_int("page", text) if text else 1
    if not 1 <= page <= 10**9:
        raise InvalidQuery(f"page is {page}; pages are numbered from 1.", "Begin with page=1.")
    return (page - 1) * per_page, page
