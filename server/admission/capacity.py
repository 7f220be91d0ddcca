"""How much may be asked at once, and how often.

Beyond capacity a request is refused at once with 503 and Retry-After: a queue that grows only makes
everybody wait for answers nobody wants any more.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from flask import Flask, Response, current_app, g, request
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from indexer.config import ServerConfig
from indexer.errors import InvalidQuery, LookalikeError
from indexer.search import Answer, Query, Searcher, Selection
from server.admission import keys, slots
from server.admission.slots import ALWAYS_OPEN, Slots
from server.current_index import index_holder

DEEP = 3000
"""Ranks beyond which a page of results takes a core for long: all above it are ranked anew."""


class Rate:
    """How often each client may ask. Safe between threads."""

    def __init__(self, rate: str) -> None:
        self._limit = parse(rate)
        self._counts = FixedWindowRateLimiter(MemoryStorage())

    def charge(self, client: str, requests: int) -> None:
        """Count what a client asks. Raises TooManyRequests, with its Retry-After, beyond that.

        Raises :class:`~indexer.errors.InvalidQuery` for more at once than there ever can be.
        """
        if requests > self._limit.amount:
            raise InvalidQuery(
                f"More than {self._limit} is asked at once.", "Send fewer searches in a batch."
            )
        counts, asked = self._counts, (self._limit, client)
        if not (counts.test(*asked, cost=requests) and counts.hit(*asked, cost=requests)):
            begins_anew = self._counts.get_window_stats(self._limit, client).reset_time
            raise TooManyRequests(
                f"This client asks more often than {self._limit}.",
                retry_after=max(1, round(begins_anew - time.time())),
            )

    def headers(self, client: str) -> dict[str, str]:
        """Return what every answer tells a client of its rate."""
        window = self._counts.get_window_stats(self._limit, client)
        return {
            "X-RateLimit-Limit": str(self._limit.amount),
            "X-RateLimit-Remaining": str(window.remaining),
            "X-RateLimit-Reset": str(round(window.reset_time)),
        }


class Admission:
    """What one application takes on."""

    def __init__(self, server: ServerConfig) -> None:
        self.slots = Slots(server.threads)
        """For every request."""
        self.long = Slots(server.max_encoding)
        """For queries that take a core for long, such as those that are encoded."""
        self.thumbnails = Slots(server.max_encoding)
        """For thumbnails that have to be made. They wait a little: a page asks for many at once."""
        self.streaming = Slots(max(1, server.threads // 2))
        """For answers that are made while their clients read them."""
        self.rate = Rate(server.rate_limit) if server.rate_limit else None


def register(app: Flask, server: ServerConfig) -> None:
    """Check capacity, rates and keys before each request."""
    app.extensions["admission"] = admitted = Admission(server)
    slots.register(app, admitted.slots)
    if server.api_keys:
        app.before_request(lambda: keys.identify(server.api_keys))
    app.before_request(lambda: charge(1))
    if server.api_keys:
        app.before_request(keys.require)
    app.after_request(_tell_rate)


def find(
    searcher: Searcher,
    query: Query,
    selection: Selection | None = None,
    *,
    preview_side: int | None = None,
    has_slot: bool = False,
) -> Answer:
    """Search, as the searcher does, within the server's capacity, and count the stages.

    Whoever holds a slot already says so. Raises what :func:`slot_for` does or an error of the
    search.
    """
    with nullcontext() if has_slot else slot_for(searcher, [(query, selection)]):
        answer = searcher.search(query, selection, preview_side=preview_side)
    keep_timings(answer.timings_ms)
    return answer


def find_many(
    searcher: Searcher, searches: Sequence[tuple[Query, Selection]]
) -> Iterator[Answer | LookalikeError]:
    """Make searches together, as the searcher does, and count the stages of each.

    Whoever asks for them holds what :func:`slot_for` gives.
    """
    for answer in searcher.search_many(searches):
        if not isinstance(answer, LookalikeError):
            keep_timings(answer.timings_ms)
        yield answer


def keep_timings(timings_ms: Mapping[str, float]) -> None:
    """Keep the times of a query's stages with the request, where the metrics find them."""
    g.setdefault("timings_ms", []).append(timings_ms)


def slot_for(
    searcher: Searcher, searches: Sequence[tuple[Query, Selection | None]]
) -> AbstractContextManager[None]:
    """Return a slot for the block if one of the searches, made one by one, takes a core for long.

    Raises what :func:`encoding_slot` does, or :class:`~server.admission.slots.Overloaded`.
    """
    if any(query.is_encoded for query, _ in searches):
        return encoding_slot(searcher)
    if any(_takes_long(selection) for _, selection in searches):
        return admission().long.slot()
    return nullcontext()


@contextmanager
def encoding_slot(searcher: Searcher) -> Iterator[None]:
    """Hold a slot during the block, for images that are encoded.

    Raises :class:`~server.admission.slots.Overloaded` if there is none, and why there is no encoder
    yet: no thread waits until it is loaded.
    """
    index_holder().check_encoder(searcher)
    with admission().long.slot():
        yield


def _takes_long(selection: Selection | None) -> bool:
    """Tell whether a search takes a core for long even where nothing is encoded.

    Near-duplicates are looked for a hundred ranks below each result: little for a first page.
    """
    if selection is None:
        return False
    folds = selection.collapse_duplicates and _ranks(selection) > index_holder().config.search.k
    return folds or selection.allowed is not None or is_deep(selection)


def is_deep(selection: Selection) -> bool:
    """Tell whether a page lies beyond :data:`DEEP`."""
    return _ranks(selection) > DEEP


def _ranks(selection: Selection) -> int:
    return selection.page * (selection.k or index_holder().config.search.k)


def admission() -> Admission:
    """Return what the application that handles the request takes on."""
    found: Admission = current_app.extensions["admission"]
    return found


def charge(requests: int) -> None:
    """Count requests of the client that asks. Raises TooManyRequests beyond its rate."""
    rate = admission().rate
    if rate and requests and request.path not in ALWAYS_OPEN:
        g.is_charged = True
        rate.charge(_client(), requests)


def _tell_rate(response: Response) -> Response:
    rate = admission().rate
    if rate and g.get("is_charged"):
        response.headers.update(rate.headers(_client()))
    return response


def _client() -> str:
    """Tell clients apart: by their key, else by their address, also where the key is wrong."""
    return f"key {g.key.name}" if g.get("key") else str(request.remote_addr)
