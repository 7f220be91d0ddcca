"""The page of duplicates: groups side by side, and lists of the copies to remove.

Nothing is deleted here: the lists are text files.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from flask import Blueprint, Response, request

from indexer.analysis import Copy, Duplicates, Group
from indexer.errors import InvalidQuery, LookalikeError
from indexer.search import ImageRow, Searcher
from indexer.tables import fits_a_line, lines
from server.admission.capacity import capacity
from server.api.reports import saved_report
from server.current_index import current_index
from server.web.exports import as_csv, as_json, download
from server.web.page_state import PageState, parse_int
from server.web.pages import error_page, render
from server.web.reports import View, ask, day, here, on_page

blueprint = Blueprint("duplicates", __name__)
blueprint.register_error_handler(LookalikeError, error_page)

PATH = "/collection/duplicates"

GROUPS_PER_PAGE = 12

IMAGES_SHOWN = 6
"""How many images of a group are shown; on its own page :data:`IMAGES_PER_PAGE`."""

IMAGES_PER_PAGE = 60

KINDS = {
    "identical": "Identical files",
    "same": "The same picture",
    "similar": "Similar pictures",
}

REMOVABLE = ("identical", "same")
"""The kinds of groups of which all but the best can go: the others show different pictures."""

SORTS = {"": "Most images first", "bytes": "Most bytes to gain first"}


class ShownCopy(NamedTuple):
    """An image of a group, and how it differs from the best."""

    image: ImageRow
    is_best: bool
    is_ticked: bool
    """Whether it is suggested to remove it."""
    can_be_listed: bool
    """False if its name has a line break, so that no list of names can have it."""
    kind: str
    distance: float
    differences: Sequence[str]


class ShownGroup(NamedTuple):
    """A group, and what of it is on the page."""

    kind: str
    size: int
    copies: Sequence[ShownCopy]
    gain: int | None
    """How many bytes all but the best have; None where they are not suggested to remove."""

    @property
    def best(self) -> int:
        """The id of its best image."""
        return self.copies[0].image.id


@blueprint.get(PATH)
def duplicates() -> str:
    """Show a page of the groups, or the group of one image."""
    searcher, view = current_index().searcher(), View.parse()
    asked = ask(Duplicates, searcher)
    everything = asked.saved.found.groups if asked.saved else []
    groups = chosen(everything, view)
    suggested = replace(asked.saved.found, groups=list(groups)).copies if asked.saved else []
    if view.image is None:
        total, per_page = len(groups), GROUPS_PER_PAGE
        groups, shown = on_page(groups, view, per_page), slice(IMAGES_SHOWN)
    else:
        total, per_page = sum(len(group.images) - 1 for group in groups), IMAGES_PER_PAGE
        shown = slice(1 + (view.page - 1) * per_page, 1 + view.page * per_page)
    counts = Counter[str](group.kind for group in everything)
    return render(
        "duplicates.html",
        searcher,
        state=PageState(),
        view=view,
        asked=asked,
        path=PATH,
        kinds=[(kind, name, counts[kind]) for kind, name in KINDS.items() if counts[kind]],
        sorts=[(sort, name, None) for sort, name in SORTS.items()],
        names=KINDS,
        day=day,
        here=here,
        groups=_shown(searcher, groups, shown),
        total=total,
        suggested=len(suggested),
        gain=_bytes(suggested),
        unlisted=sum(not fits_a_line(one.key) for one in suggested),
        pages=-(-total // per_page),
    )


@blueprint.get(f"{PATH}.<any(csv, json):form>")
def duplicates_file(form: str) -> Response:
    """Return the groups of the view as a table, or as JSON as the command prints it."""
    with capacity().long_searches.hold():  # many groups take a core for seconds
        found = _of_view()
        if form == "csv":
            return as_csv(found.rows(), "duplicates")
        return as_json(found.to_json(), "duplicates")


@blueprint.get(f"{PATH}.txt")
def suggested_keys() -> Response:
    """Return the names of all suggested copies of the view, one a line."""
    with capacity().long_searches.hold():
        return _key_list(one.key for one in _of_view().copies)


@blueprint.post(f"{PATH}.txt")
def ticked_keys() -> Response:
    """Return the names of the images that are ticked, one a line."""
    ids = [parse_int("id", text) for text in request.form.getlist("id")]
    keys = current_index().searcher().collection.keys(ids)
    if not keys:
        raise InvalidQuery("No image is ticked.", "Tick those to list, then try again.")
    return _key_list(keys[image_id] for image_id in ids if image_id in keys)


def chosen(groups: Sequence[Group], view: View) -> Sequence[Group]:
    """Return the groups of a view, in its order. Raises InvalidQuery for an unknown one."""
    if view.kind and view.kind not in KINDS:
        raise InvalidQuery(f"There is no kind {view.kind}.", f"There are: {', '.join(KINDS)}.")
    if view.sort not in SORTS:
        raise InvalidQuery(f"There is no order {view.sort}.", "Write sort=bytes, or nothing.")
    if view.kind:
        groups = [group for group in groups if group.kind == view.kind]
    if view.image is not None:
        groups = [group for group in groups if any(one.id == view.image for one in group.images)]
    return sorted(groups, key=_gain, reverse=True) if view.sort else groups


def _of_view() -> Duplicates:
    """Return the report with the groups of the request's view only."""
    found = saved_report(Duplicates).found
    return replace(found, groups=list(chosen(found.groups, View.parse())))


def _key_list(keys: Iterable[str]) -> Response:
    """Return names as a text file, one on each line."""
    return download(lines(keys), "text/plain", "remove.txt")


def _gain(group: Group) -> int:
    """Return how many bytes all but the best have."""
    return _bytes(group.images[1:])


def _bytes(images: Iterable[Copy]) -> int:
    return sum(one.bytes or 0 for one in images)


def _shown(searcher: Searcher, groups: Sequence[Group], shown: slice) -> list[ShownGroup]:
    """Return groups with their best image and some of the others."""
    parts = [
        [group.images[0], *group.images[max(shown.start or 1, 1) : shown.stop]] for group in groups
    ]
    rows = searcher.collection.images(one.id for part in parts for one in part)
    return [
        ShownGroup(
            kind=group.kind,
            size=len(group.images),
            copies=[_copy(one, group, rows) for one in part],
            gain=_gain(group) if group.kind in REMOVABLE else None,
        )
        for group, part in zip(groups, parts, strict=True)
    ]


def _copy(one: Copy, group: Group, rows: Mapping[int, ImageRow]) -> ShownCopy:
    best, image = group.images[0], rows[one.id]
    is_best = one is best
    return ShownCopy(
        image=image,
        is_best=is_best,
        is_ticked=not is_best and group.kind in REMOVABLE,
        can_be_listed=fits_a_line(image.key),
        kind=one.kind,
        distance=one.distance,
        differences=[] if is_best else differences(image, rows[best.id], one),
    )


def differences(image: ImageRow, best: ImageRow, one: Copy) -> list[str]:
    """Return how an image differs from the best of its group, in a few words each.

    What the analysis says of ``one`` comes first; without that its pixels are counted.
    """
    said = [*one.changes]
    pixels, most = (_pixels(row) for row in (image, best))
    if pixels < most and not said:
        said.append(f"{max(1, round(100 * pixels / most))} % of the pixels")
    if image.mtime_ns and best.mtime_ns and day(image) != day(best):
        said.append("newer" if image.mtime_ns > best.mtime_ns else "older")
    return said


def _pixels(image: ImageRow) -> int:
    return (image.width or 0) * (image.height or 0)
