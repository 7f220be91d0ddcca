"""How many requests each client may send in a period: ``server.rate_limit``."""

import ipaddress
import time

from flask import Flask, Response, current_app, g, request
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from indexer.config import ServerConfig
from indexer.errors import InvalidQuery
from server.admission import HEALTH_PATHS


class RateLimit:
    """Counts the requests of each client in periods of fixed length. Safe between threads."""

    def __init__(self, rate: str) -> None:
        self._limit = parse(rate)
        self._counts = FixedWindowRateLimiter(MemoryStorage())

    def count(self, client: str, requests: int) -> None:
        """Count requests of a client. Raises TooManyRequests, with Retry-After, above the rate."""
        counts, key = self._counts, (self._limit, client)
        if not (counts.test(*key, cost=requests) and counts.hit(*key, cost=requests)):
            reset_time = counts.get_window_stats(*key).reset_time
            raise TooManyRequests(
                f"This client sends more requests than {self._limit}.",
                retry_after=max(1, round(reset_time - time.time())),
            )

    def count_batch(self, client: str, searches: int) -> None:
        """Count the searches of a batch as requests, except the first: the batch itself counted.

        Raises :class:`~indexer.errors.InvalidQuery` for more than a whole period allows, and what
        :meth:`count` does.
        """
        if searches > self._limit.amount:
            raise InvalidQuery(
                f"The batch has more searches than the rate limit allows, {self._limit}.",
                "Send fewer searches in a batch.",
            )
        if searches > 1:
            self.count(client, searches - 1)

    def headers(self, client: str) -> dict[str, str]:
        """Return the headers that tell a client its limit and what is left of it."""
        window = self._counts.get_window_stats(self._limit, client)
        return {
            "X-RateLimit-Limit": str(self._limit.amount),
            "X-RateLimit-Remaining": str(window.remaining),
            "X-RateLimit-Reset": str(round(window.reset_time)),
        }


def register(app: Flask, server: ServerConfig) -> None:
    """Count every request, and add the rate's headers to its answer; nothing without a limit."""
    rate_limit = RateLimit(server.rate_limit) if server.rate_limit else None
    app.extensions["rate_limit"] = rate_limit
    if rate_limit:
        app.before_request(_count_request)
        app.after_request(_add_headers)


def count_batch(searches: int) -> None:
    """Count a batch of the current client. Raises what :meth:`RateLimit.count_batch` does."""
    rate_limit: RateLimit | None = current_app.extensions["rate_limit"]
    if rate_limit:
        rate_limit.count_batch(_client(), searches)


def _count_request() -> None:
    if request.path not in HEALTH_PATHS:
        rate_limit: RateLimit = current_app.extensions["rate_limit"]
        g.is_counted = True
        rate_limit.count(_client(), 1)


def _add_headers(response: Response) -> Response:
    if g.get("is_counted"):
        rate_limit: RateLimit = current_app.extensions["rate_limit"]
        response.headers.update(rate_limit.headers(_client()))
    return response


def _client() -> str:
    """Return the client's name: that of its key, or its network if it sent no valid key."""
    return f"key {g.key.name}" if g.get("key") else network(str(request.remote_addr))


def network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address.

    A /64 is what one subscriber gets (RFC 6177): its 2^64 addresses are not as many clients. An
    IPv4 address in the form of IPv6 counts as IPv4; what is no address counts as it is.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip), 64), strict=False))
