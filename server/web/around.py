"""Where an image stands in the results that its address names: what comes before and after it."""

from dataclasses import replace
from typing import NamedTuple

from indexer.errors import InvalidQuery
from indexer.search import Answer, Hit, ImageRow, Searcher
from server.admission.capacity import run_search
from server.web.layout import without_own
from server.web.page_state import PageState


class Step(NamedTuple):
    """A result, and the page of the results it is on."""

    image: ImageRow
    page: int


class Place(NamedTuple):
    """The result that an image is, or folds under, and those beside it."""

    result: ImageRow
    previous: Step | None
    next: Step | None


def place(searcher: Searcher, state: PageState, answer: Answer, image_id: int) -> Place | None:
    """Return where an image is on the state's page of results; None if it is not there.

    ``answer`` is that page. At its beginning or end a neighbouring page is searched as well, which
    raises what :func:`~server.admission.capacity.run_search` raises.
    """
    hits = without_own(answer.hits, state.positives)
    found = [n for n, hit in enumerate(hits) if image_id in _ids(hit)]
    if not found:
        return None
    at, before, after = found[0], None, None
    if at > 0:
        before = Step(hits[at - 1].image, state.page)
    elif state.page > 1:
        before = _end_of(searcher, state, state.page - 1, -1)
    if at + 1 < len(hits):
        after = Step(hits[at + 1].image, state.page)
    elif answer.more:
        after = _end_of(searcher, state, state.page + 1, 0)
    return Place(hits[at].image, before, after)


def _ids(hit: Hit) -> set[int]:
    return {one.image.id for one in (hit, *hit.duplicates)}


def _end_of(searcher: Searcher, state: PageState, page: int, end: int) -> Step | None:
    """Return the first (0) or the last (-1) result of a page, None if it has none."""
    try:
        answer = run_search(searcher, state.query(), replace(state, page=page).selection())
    except InvalidQuery:  # too many near-duplicates to fill it: the results end here, too
        return None
    hits = without_own(answer.hits, state.positives)
    return Step(hits[end].image, page) if hits else None
