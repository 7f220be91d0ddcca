"""Images fetched from an address that a client names: off unless configured, and then on a leash.

A server that fetches what strangers name can be made to ask its own network (SSRF). So: https only,
the name is resolved once and the connection goes to the very address that was checked, every
address must be public, redirects are followed by the same rules, and time and size are limited.
"""

import http.client
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from urllib.parse import urljoin, urlsplit

from indexer.errors import LookalikeError

logger = logging.getLogger(__name__)

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NOT_PUBLIC = (
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ipaddress.ip_network("3fff::/20"),  # documentation, RFC 9637; unknown to older Pythons
)

TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
CHUNK = 1 << 16

Resolve = Callable[[str, int], list[str]]
"""Returns the addresses of a name."""


class UrlRefused(LookalikeError):
    """The address is not one the server fetches images from."""

    code = "url_refused"


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Fetcher:
    """Fetches images by https. The arguments replace the system's resolver, trust and rules."""

    def __init__(
        self,
        max_bytes: int,
        *,
        resolve: Resolve = resolve,
        trust: ssl.SSLContext | None = None,
        is_public: Callable[[str], bool] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._max_bytes = max_bytes
        self._resolve = resolve
        self._trust = trust or ssl.create_default_context()
        self._is_public = is_public or is_public_address
        self._timeout_s = timeout_s
        self._look_ups = ThreadPoolExecutor(4, "look-up")

    def fetch(self, url: str) -> bytes:
        """Return what the address holds.

        Raises :class:`UrlRefused` for an address that is not allowed, cannot be reached, takes too
        long or holds too much.
        """
        deadline = time.monotonic() + self._timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            try:
                answer = self._ask(url, deadline)
                if isinstance(answer, bytes):
                    return answer
                url = urljoin(url, answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                logger.info("cannot fetch %s: %r", url, error)
                raise UrlRefused(
                    "The address cannot be reached or is too slow.",
                    "Check it in a browser, or upload the image instead.",
                ) from None
        raise UrlRefused(f"The address leads on more than {MAX_REDIRECTS} times.")

    def _ask(self, url: str, deadline: float) -> bytes | str:
        """Return the content of an address, or the address it leads on to."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise UrlRefused("Only https addresses without a user name are fetched.")
        host, port = parts.hostname, parts.port or 443
        with self._connected(host, port, deadline) as connection:
            path = parts.path or "/"
            target = f"{path}?{parts.query}" if parts.query else path
            connection.request("GET", target, headers={"Accept": "image/*"})
            with closing(connection.getresponse()) as response:
                if response.status in (301, 302, 303, 307, 308):
                    return response.getheader("Location") or ""
                if response.status != 200:
                    raise UrlRefused(f"The address answers {response.status}.")
                return self._read(response, deadline)

    @contextmanager
    def _connected(
        self, host: str, port: int, deadline: float
    ) -> Iterator[http.client.HTTPConnection]:
        """Connect to an address that was checked; the name is not looked up again.

        At the deadline the connection is cut, whatever it is at: a timeout of the socket begins
        anew with every byte.
        """
        addresses = self._looked_up(host, port, deadline)
        if not addresses or not all(self._is_public(address) for address in addresses):
            raise UrlRefused("The address is not a public one.")
        with (
            socket.create_connection((addresses[0], port), _left(deadline)) as plain,
            plain.dup() as handle,
        ):
            cut = threading.Timer(_left(deadline), _cut, [handle])
            cut.daemon = True
            cut.start()
            try:
                connection = http.client.HTTPConnection(host, port)
                with self._trust.wrap_socket(plain, server_hostname=host) as connection.sock:
                    yield connection
            finally:
                cut.cancel()

    def _looked_up(self, host: str, port: int, deadline: float) -> list[str]:
        """Return the addresses of a name. The system's own look-up knows no time limit."""
        found = self._look_ups.submit(self._resolve, host, port)
        try:
            return found.result(_left(deadline))
        finally:
            found.cancel()  # one that has not begun need not

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while True:
            chunk = response.read1(CHUNK)
            _left(deadline)  # what was cut looks like the end
            if not chunk:
                return bytes(content)
            content += chunk
            if len(content) > self._max_bytes:
                raise UrlRefused("The file at the address is larger than an upload may be.")


def is_public_address(address: str) -> bool:
    """Tell whether an address is one of the public internet, and no other wrapped in one.

    Of IPv6 only global unicast can be (RFC 4291, 2.4), without what leads on to an IPv4 address:
    6to4, Teredo and ISATAP. NAT64, mapped and compatible addresses lie outside it.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        is_isatap = ip.packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
        if ip not in GLOBAL_UNICAST or ip.sixtofour or ip.teredo or is_isatap:
            return False
    return (
        ip.is_global
        and not ip.is_multicast
        and not any(ip.version == network.version and ip in network for network in NOT_PUBLIC)
    )


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
