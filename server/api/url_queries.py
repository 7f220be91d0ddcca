"""Images fetched from URLs that clients send: off by default, and restricted.

A client could use such a server to reach its internal network (SSRF). Therefore only https is
allowed, on ports that the operator lists, the host name is resolved once, all its addresses must be
public, the connection goes to the address that was checked, redirects follow the same rules, and
time and size are limited.
"""

import http.client
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from urllib.parse import urljoin, urlsplit

from indexer.errors import LookalikeError

logger = logging.getLogger(__name__)

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NOT_PUBLIC = (
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ipaddress.ip_network("3fff::/20"),  # documentation, RFC 9637; unknown to older Pythons
    ipaddress.ip_network("192.0.0.0/24"),  # protocols, RFC 6890; metadata of Oracle Cloud
    ipaddress.ip_network("168.63.129.16/32"),  # metadata and health of Azure
    ipaddress.ip_network("161.26.0.0/16"),  # services inside IBM Cloud
    ipaddress.ip_network("166.8.0.0/14"),  # services inside IBM Cloud
)
"""Beside what Python knows as not global, which includes the metadata addresses of other clouds:
169.254.0.0/16, 100.100.100.200 (Alibaba), fd00:ec2::254 (AWS)."""

TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
CHUNK_BYTES = 1 << 16

Resolve = Callable[[str, int], list[str]]
"""Returns the IP addresses of a host name."""


class UrlRefused(LookalikeError):
    """The URL is not allowed, or nothing usable can be fetched from it."""

    code = "url_refused"


def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host name from the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Fetcher:
    """Fetches images by https. The keyword arguments are for tests."""

    def __init__(
        self,
        max_bytes: int,
        ports: Collection[int] = (443,),
        *,
        resolve: Resolve = resolve,
        ssl_context: ssl.SSLContext | None = None,
        is_public: Callable[[str], bool] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._max_bytes = max_bytes
        self._ports = ports
        self._resolve = resolve
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._is_public = is_public or is_public_address
        self._timeout_s = timeout_s
        self._resolvers = ThreadPoolExecutor(4, "resolve")

    def fetch(self, url: str) -> bytes:
        """Return the bytes at a URL.

        Raises :class:`UrlRefused` if the URL is not allowed, cannot be reached, is too slow or the
        file is too large.
        """
        deadline = time.monotonic() + self._timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            try:
                answer = self._request(url, deadline)
                if isinstance(answer, bytes):
                    return answer
                url = urljoin(url, answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                logger.info("cannot fetch %s: %r", url, error)
                raise UrlRefused(
                    "The URL cannot be reached, or its server is too slow.",
                    "Check it in a browser, or upload the image instead.",
                ) from None
        raise UrlRefused(f"The URL redirects more than {MAX_REDIRECTS} times.")

    def _request(self, url: str, deadline: float) -> bytes | str:
        """Return the bytes at a URL, or the URL it redirects to."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise UrlRefused("Only https URLs without a user name are allowed.")
        host, port = parts.hostname, 443 if parts.port is None else parts.port
        if port not in self._ports:
            raise UrlRefused(f"The server fetches nothing from port {port}.")
        with self._connected(host, port, deadline) as connection:
            path = parts.path or "/"
            target = f"{path}?{parts.query}" if parts.query else path
            connection.request("GET", target, headers={"Accept": "image/*"})
            with closing(connection.getresponse()) as response:
                if response.status in (301, 302, 303, 307, 308):
                    return response.getheader("Location") or ""
                if response.status != 200:
                    raise UrlRefused(f"The URL's server answered with status {response.status}.")
                return self._read(response, deadline)

    @contextmanager
    def _connected(
        self, host: str, port: int, deadline: float
    ) -> Iterator[http.client.HTTPConnection]:
        """Connect to an address that was checked, without resolving the name again.

        A timer shuts the connection down at the deadline: a socket's timeout starts again with
        every byte.
        """
        addresses = self._resolve_in_time(host, port, deadline)
        if not addresses or not all(self._is_public(address) for address in addresses):
            raise UrlRefused("The URL's host does not have a public address.")
        with (
            socket.create_connection((addresses[0], port), _remaining(deadline)) as plain,
            plain.dup() as handle,
        ):
            timer = threading.Timer(_remaining(deadline), _shut_down, [handle])
            timer.daemon = True
            timer.start()
            try:
                connection = http.client.HTTPConnection(host, port)
                with self._ssl_context.wrap_socket(plain, server_hostname=host) as connection.sock:
                    yield connection
            finally:
                timer.cancel()

    def _resolve_in_time(self, host: str, port: int, deadline: float) -> list[str]:
        """Return the addresses of a name; the system's resolver itself has no time limit."""
        found = self._resolvers.submit(self._resolve, host, port)
        try:
            return found.result(_remaining(deadline))
        finally:
            found.cancel()  # if it has not started

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while True:
            chunk = response.read1(CHUNK_BYTES)
            _remaining(deadline)  # a connection that was shut down looks like the end
            if not chunk:
                return bytes(content)
            content += chunk
            if len(content) > self._max_bytes:
                raise UrlRefused("The file at the URL is larger than the limit of an upload.")


def is_public_address(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet.

    Of IPv6 only global unicast (RFC 4291, 2.4) does, without addresses that embed an IPv4 address:
    6to4, Teredo and ISATAP. NAT64, mapped and compatible addresses are not global unicast.
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


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _remaining(deadline: float) -> float:
    """Return the seconds until the deadline. Raises TimeoutError after it."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
