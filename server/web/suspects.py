"""The pages of suspects, outliers and leaks: lists of images that somebody should look at."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from flask import Blueprint, Response

from indexer.analysis import Leaks, Outliers, Suspect, Suspects
from indexer.errors import LookalikeError
from indexer.search import ImageRow, Searcher
from server.api.reports import saved_report
from server.current_index import current_index
from server.web.exports import as_csv, as_json
from server.web.page_state import PageState
from server.web.pages import error_page, render
from server.web.reports import View, ask, day, here, on_page

blueprint = Blueprint("suspects", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

SUSPECTS, OUTLIERS, LEAKS = (f"/collection/{name}" for name in ("suspects", "outliers", "leaks"))

PER_PAGE = 20
OUTLIERS_PER_PAGE = 60

VOTERS_SHOWN = 5

LABELS_SHOWN = 12
"""How many labels there are to choose from: the most frequent ones, and the one that is chosen."""


class ShownSuspect(NamedTuple):
    """An image with a label that may be wrong, and some of the neighbours that say so."""

    image: ImageRow
    found: Suspect
    neighbours: Sequence[ImageRow]


@blueprint.get(SUSPECTS)
def suspects() -> str:
    """Show a page of the images whose neighbours have other labels."""
    searcher, view = current_index().searcher(), View.parse()
    asked = ask(Suspects, searcher)
    everything = asked.saved.found.suspects if asked.saved else []
    chosen = of_view(everything, view)
    most = len(everything) if view.labels == "all" else LABELS_SHOWN
    shown = on_page(chosen, view, PER_PAGE)
    voters = {one.id: one.neighbours[:VOTERS_SHOWN] for one in shown}
    rows = searcher.collection.images({*voters, *(i for ids in voters.values() for i in ids)})
    return _render(
        "suspects.html",
        searcher,
        view,
        SUSPECTS,
        asked=asked,
        labels=_counted((label for one in everything for label in one.labels), view.label, most),
        suggested=_counted((one.suggested for one in everything), view.suggested, most),
        has_more_labels=view.labels != "all" and _labels(everything) > LABELS_SHOWN,
        suspects=[
            ShownSuspect(rows[one.id], one, [rows[i] for i in voters[one.id] if i in rows])
            for one in shown
        ],
        total=len(chosen),
        first=(view.page - 1) * PER_PAGE + 1,
        pages=-(-len(chosen) // PER_PAGE),
    )


@blueprint.get(f"{SUSPECTS}.<any(csv, json):form>")
def suspects_file(form: str) -> Response:
    """Return the suspects of the view as a table or as JSON."""
    found = saved_report(Suspects).found
    return _file(replace(found, suspects=of_view(found.suspects, View.parse())), form, "suspects")


@blueprint.get(OUTLIERS)
def outliers() -> str:
    """Show a page of the images that are far from all others."""
    searcher, view = current_index().searcher(), View.parse()
    asked = ask(Outliers, searcher)
    everything = asked.saved.found.outliers if asked.saved else []
    shown = on_page(everything, view, OUTLIERS_PER_PAGE)
    rows = searcher.collection.images(one.id for one in shown)
    return _render(
        "outliers.html",
        searcher,
        view,
        OUTLIERS,
        asked=asked,
        first=(view.page - 1) * OUTLIERS_PER_PAGE + 1,
        outliers=[(rows[one.id], one.distance) for one in shown],
        pages=-(-len(everything) // OUTLIERS_PER_PAGE),
    )


@blueprint.get(f"{OUTLIERS}.<any(csv, json):form>")
def outliers_file(form: str) -> Response:
    """Return the outliers as a table or as JSON."""
    return _file(saved_report(Outliers).found, form, "outliers")


@blueprint.get(LEAKS)
def leaks() -> str:
    """Show a page of the images of one split that are in another one as well, side by side."""
    searcher, view = current_index().searcher(), View.parse()
    asked = ask(Leaks, searcher)
    everything = asked.saved.found.leaks if asked.saved else []
    if view.image is not None:
        everything = [one for one in everything if view.image in (one.id, one.of_id)]
    shown = on_page(everything, view, PER_PAGE)
    rows = searcher.collection.images({i for one in shown for i in (one.id, one.of_id)})
    return _render(
        "leaks.html",
        searcher,
        view,
        LEAKS,
        asked=asked,
        leaks=[(rows[one.of_id], rows[one.id], one.distance, one.kind) for one in shown],
        pages=-(-len(everything) // PER_PAGE),
    )


@blueprint.get(f"{LEAKS}.<any(csv, json):form>")
def leaks_file(form: str) -> Response:
    """Return the leaks as a table or as JSON."""
    return _file(saved_report(Leaks).found, form, "leaks")


def of_view(suspects: Sequence[Suspect], view: View) -> list[Suspect]:
    """Return the suspects that have a view's label, its suggestion, and its id."""
    return [
        one
        for one in suspects
        if view.label in ("", *one.labels)
        and view.suggested in ("", one.suggested)
        and view.image in (None, one.id)
    ]


def _counted(labels: Iterable[str], active: str, most: int) -> list[tuple[str, str, int]]:
    """Return the most frequent labels, and the active one, each as value, text and count."""
    counts = Counter(labels)
    shown = dict(counts.most_common(most))
    if active:
        shown[active] = counts[active]
    return [(label, label, count) for label, count in shown.items()]


def _labels(suspects: Sequence[Suspect]) -> int:
    """Return how many labels suspects have, or are suggested for them, whichever are more."""
    own = {label for one in suspects for label in one.labels}
    return max(len(own), len({one.suggested for one in suspects}))


def _render(template: str, searcher: Searcher, view: View, path: str, **values: Any) -> str:
    return render(
        template, searcher, state=PageState(), view=view, path=path, day=day, here=here, **values
    )


def _file(found: Suspects | Outliers | Leaks, form: str, name: str) -> Response:
    return as_csv(found.rows(), name) if form == "csv" else as_json(found.to_json(), name)
