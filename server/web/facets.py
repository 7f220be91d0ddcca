"""Filters and facets of the pages: the values to filter by, and a clause that a user has typed."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from indexer.errors import InvalidQuery
from indexer.search import (
    MARKED_VALUES,
    Answer,
    Facet,
    ListedImages,
    Searcher,
    Selection,
    equal_clause,
    name_text,
    parse_names,
)
from server.admission.capacity import list_slot
from server.web.page_state import PageState

ADD = "add_filter"
"""The field of a form that has the clause a user has typed."""

SHOWN_VALUES = 8
"""How many values of a field are shown, unless the state names the field."""

Value = str | int | float | bool


class Choice(NamedTuple):
    """A value to filter by."""

    label: str
    clause: str | None
    """What images with the value pass; None if it is too long for a filter."""
    images: int | None = None
    """How many have it."""
    is_active: bool = False
    """Whether the filter has this clause: then it can be removed."""


class FacetList(NamedTuple):
    """A field and the values of it that are shown, and how many others it has."""

    name: str
    choices: Sequence[Choice]
    others: int
    more: str
    """What ``facets`` is in the state that shows more of them; empty if that would be no more."""


@dataclass(frozen=True, slots=True)
class Typed:
    """The state of a page after a clause was typed; what was typed and why, if it is refused."""

    state: PageState
    text: str = ""
    message: str = ""


def typed(searcher: Searcher, state: PageState, fields: Mapping[str, str]) -> Typed:
    """Return the state with the clause in the fields of a form or a URL added to its filter.

    Raises :class:`~indexer.errors.NoMetadataIndex`.
    """
    clause = fields.get(ADD, "").strip()
    if not clause or clause in state.filter:
        return Typed(state)
    try:
        searcher.collection.require_fields((*state.filter, clause), ())
    except InvalidQuery as error:
        return Typed(state, clause, f"{error.message} {error.hint}")
    return Typed(state.toggled(clause))


def wanted(searcher: Searcher, state: PageState) -> Sequence[str]:
    """Return the fields to count for a state, if the collection's overview will not do."""
    if state.facets:
        return parse_names(state.facets)
    return [*searcher.collection.overview] if state.filter else []


def listed(searcher: Searcher, state: PageState, *, k: int, page: int = 1) -> ListedImages | None:
    """Return a page of the images that pass the filter, with the facets of all of them.

    None if the state asks for neither. Raises what :meth:`~indexer.search.Collection.listed`
    raises, or :class:`~server.admission.slots.Overloaded`.
    """
    if not (state.filter or state.facets):
        return None
    selection = Selection(k=k, page=page, filter=state.filter, facets=wanted(searcher, state))
    with list_slot(selection):
        return searcher.collection.listed(selection)


def lists(
    searcher: Searcher, state: PageState, counted: ListedImages | Answer | None
) -> list[FacetList]:
    """Return what a page shows of the facets that were counted, or else of all images."""
    facets: Mapping[str, Facet] = counted.facets if counted else {}
    if not (facets or state.filter or state.facets):
        facets = searcher.collection.overview
    most = sys.maxsize if state.facets else SHOWN_VALUES
    return [_facet_list(name, facet, state, most) for name, facet in facets.items() if facet.values]


def choice(
    name: str, value: Value, images: int | None = None, filter_: Sequence[str] = ()
) -> Choice:
    """Return a value of a field to filter by, or to remove from a filter that has its clause."""
    clause = equal_clause(name, value)
    label = str(value).lower() if isinstance(value, bool) else str(value)
    return Choice(label or '""', clause, images, clause in filter_)


def legend(searcher: Searcher, state: PageState) -> FacetList:
    """Return the values that colour the map, in the order of their marks.

    Raises :class:`~indexer.errors.InvalidQuery` or :class:`~indexer.errors.NoMetadataIndex`.
    """
    facet = searcher.collection.facets([state.colour])[state.colour]
    return _facet_list(state.colour, facet, state, MARKED_VALUES)


def _facet_list(name: str, facet: Facet, state: PageState, most: int) -> FacetList:
    shown = facet.values[:most]
    hidden = len(facet.values) - len(shown)
    return FacetList(
        name,
        [choice(name, one.value, one.count, state.filter) for one in shown],
        hidden + facet.others,
        name_text(name) if hidden else "",
    )
