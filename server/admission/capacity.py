"""How much work the server accepts at the same time.

Above its capacity the server answers 503 with Retry-After at once: with a queue that grows,
clients would wait for answers they no longer want.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from flask import Flask, current_app, g

from indexer.config import ServerConfig
from indexer.errors import LookalikeError
from indexer.search import Answer, Query, Searcher, Selection
from server.admission import keys, rates, slots
from server.admission.slots import Slots
from server.current_index import current_index

DEEP_RANK = 3000
"""A page of results below this rank takes a core for long: all ranks above it are computed."""


LARGE_BODIES = 2
"""How many large bodies are parsed at once. Each holds the interpreter's lock for a while."""


class Capacity:
    """The slots of one application."""

    def __init__(self, server: ServerConfig) -> None:
        self.requests = Slots(server.threads)
        """One for each request."""
        self.long_searches = Slots(server.max_encoding)
        """One for each search that takes a core for long, such as one that encodes an image."""
        self.thumbnails = Slots(server.max_encoding)
        """One for each thumbnail being made. A request waits for it: a page needs many at once."""
        self.large_bodies = Slots(LARGE_BODIES)
        """One for each large body of JSON that is being parsed and validated."""
        self.streams = Slots(max(1, server.threads // 2))
        """One for each answer that is made while the client reads it."""


def register(app: Flask, server: ServerConfig) -> None:
    """Check slots, rates and keys before each request."""
    app.extensions["capacity"] = Capacity(server)
    slots.register(app, app.extensions["capacity"].requests)
    if server.api_keys:
        app.before_request(lambda: keys.identify(server.api_keys))
    rates.register(app, server)  # before a missing key is refused: guesses count
    if server.api_keys:
        app.before_request(keys.require)


def capacity() -> Capacity:
    """Return the capacity of the application that handles the request."""
    found: Capacity = current_app.extensions["capacity"]
    return found


def run_search(
    searcher: Searcher,
    query: Query,
    selection: Selection | None = None,
    *,
    preview_side: int | None = None,
    has_slot: bool = False,
) -> Answer:
    """Search in a slot, if the search needs one, and keep its timings for the metrics.

    With ``has_slot`` the caller holds one already. Raises what :func:`search_slot` raises, or an
    error of the search.
    """
    with nullcontext() if has_slot else search_slot(searcher, [(query, selection)]):
        answer = searcher.search(query, selection, preview_side=preview_side)
    keep_timings(answer.timings_ms)
    return answer


def run_searches(
    searcher: Searcher, searches: Sequence[tuple[Query, Selection]]
) -> Iterator[Answer | LookalikeError]:
    """Search many times at once, and keep the timings of each search for the metrics.

    The caller holds the :func:`search_slot` of the searches.
    """
    for answer in searcher.search_many(searches):
        if not isinstance(answer, LookalikeError):
            keep_timings(answer.timings_ms)
        yield answer


def keep_timings(timings_ms: Mapping[str, float]) -> None:
    """Keep the times of a search's stages with the request, where the metrics read them."""
    g.setdefault("timings_ms", []).append(timings_ms)


def search_slot(
    searcher: Searcher, searches: Sequence[tuple[Query, Selection | None]]
) -> AbstractContextManager[None]:
    """Return a context manager that holds one slot if any of the searches needs one.

    Entering it raises what :func:`encoding_slot` raises, or
    :class:`~server.admission.slots.Overloaded`.
    """
    if any(query.is_encoded for query, _ in searches):
        return encoding_slot(searcher)
    if any(query.text is not None or _needs_slot(selection) for query, selection in searches):
        return capacity().long_searches.hold()
    return nullcontext()


def list_slot(selection: Selection, text: str | None = None) -> AbstractContextManager[None]:
    """Return a context manager that holds a slot if a list of images is filtered or counted.

    It is filtered, too, if there are words in ``text`` to look for. Entering it raises
    :class:`~server.admission.slots.Overloaded`.
    """
    reads_index = _reads_metadata(selection) or text is not None
    return capacity().long_searches.hold() if reads_index else nullcontext()


@contextmanager
def encoding_slot(searcher: Searcher) -> Iterator[None]:
    """Hold a slot for encoding images during the block.

    Raises :class:`~server.admission.slots.Overloaded` if none is free, and the reason if the
    encoder is not loaded: a request does not wait for it, since that would occupy a thread.
    """
    current_index().check_encoder(searcher)
    with capacity().long_searches.hold():
        yield


def is_deep(selection: Selection) -> bool:
    """Tell whether a page of results reaches below :data:`DEEP_RANK`."""
    return _last_rank(selection) > DEEP_RANK


def _needs_slot(selection: Selection | None) -> bool:
    """Tell whether a search that encodes nothing takes a core for long.

    Near-duplicates are searched in a hundred ranks below each result: fast for a first page only.
    """
    if selection is None:
        return False
    default_k = current_index().config.search.k
    collapses_many = selection.collapse_duplicates and _last_rank(selection) > default_k
    return collapses_many or _reads_metadata(selection) or is_deep(selection)


def _reads_metadata(selection: Selection) -> bool:
    return not selection.searches_all or bool(selection.facets)


def _last_rank(selection: Selection) -> int:
    return selection.page * (selection.k or current_index().config.search.k)
