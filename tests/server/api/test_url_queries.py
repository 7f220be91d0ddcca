"""Images fetched by URL from a real TLS server: only public, small and fast ones."""

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from indexer.config import Config
from server.api.url_queries import Fetcher, UrlRefused, is_public_address
from tests.conftest import small_config
from tests.server.helpers import assert_error, body, ready_app

NAME = "pictures.test"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on this system to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", f"/CN={NAME}"]
    command += ["-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@pytest.fixture(scope="module")
def port(certificate: tuple[Path, Path], photos: list[Path]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            leads = {
                "/to-http": "http://pictures.test/photo",
                "/to-private": "https://inside.test/photo",
                "/to-photo": "/photo",
                "/round": "/round",
                "/to-nonsense": "//[",
                "/to-ssh": "https://pictures.test:22/photo",
            }
            if self.path in leads:
                self.send_response(302)
                self.send_header("Location", leads[self.path])
                self.end_headers()
                return
            self.send_response(200 if self.path != "/missing" else 404)
            if self.path == "/slow-head":
                self.flush_headers()
            else:
                self.end_headers()
            if self.path == "/photo":
                self.wfile.write(photos[0].read_bytes())
            if self.path == "/large":
                self.wfile.write(bytes(200_000))
            if self.path in ("/slow", "/slow-head"):
                for _ in range(50):
                    self.wfile.write(b"x")
                    time.sleep(0.1)

        def log_message(self, *_: object) -> None:
            pass

    key, cert = certificate
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked() -> list[str]:
    """The names that were resolved."""
    return []


@pytest.fixture
def fetcher(certificate: tuple[Path, Path], asked: list[str], port: int) -> Fetcher:
    """A fetcher that treats only the local server as public."""

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if host == NAME else ["127.0.0.2"]

    trust = ssl.create_default_context(cafile=str(certificate[1]))
    return Fetcher(
        100_000,
        (443, port),
        resolve=resolve,
        ssl_context=trust,
        timeout_s=1.5,
        is_public=lambda a: a == "127.0.0.1",
    )


def test_a_search_by_url_is_one_by_its_image(
    demo_config: Config, fetcher: Fetcher, port: int, asked: list[str]
) -> None:
    config = small_config(
        demo_config.dataset.roots[0], demo_config.store, server={"allow_url_queries": True}
    )
    app = ready_app(config)
    app.extensions["fetcher"] = fetcher
    query = {"url": f"https://{NAME}:{port}/to-photo", "k": 1}
    answer = body(app.test_client().post("/api/v1/search", json=query))
    assert (answer["query"]["kind"], answer["query"]["url"]) == ("image", query["url"])
    assert answer["results"][0]["distance"] < 1e-5
    assert asked == [NAME, NAME]  # once for each connection


@pytest.mark.parametrize(
    "path",
    [
        "/to-http",
        "/to-private",
        "/round",
        "/missing",
        "/large",
        "/slow",
        "/slow-head",
        "/to-nonsense",
    ],
)
def test_responses_that_are_refused(fetcher: Fetcher, port: int, path: str) -> None:
    with pytest.raises(UrlRefused):
        fetcher.fetch(f"https://{NAME}:{port}{path}")


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.test/photo", "file:///etc/passwd", "https://", "https://a:b@pictures.test/",
        "https://inside.test/", "https://pictures.test:99999/", "https://[::1/", "", "ftp://x/",
        "https://pictures.test/a b\r\nX: y",
    ],
)  # fmt: skip
def test_urls_that_are_not_fetched(fetcher: Fetcher, url: str) -> None:
    with pytest.raises(UrlRefused):
        fetcher.fetch(url)


def test_a_name_that_is_not_found_in_time_is_refused() -> None:
    asked = threading.Event()
    fetcher = Fetcher(1000, resolve=lambda *_: [str(asked.wait(30))], timeout_s=0.2)
    with pytest.raises(UrlRefused, match="too slow"):
        fetcher.fetch("https://slow.test/")
    asked.set()


def test_a_server_without_a_trusted_certificate_is_refused(port: int) -> None:
    fetcher = Fetcher(1000, (port,), resolve=lambda *_: ["127.0.0.1"], is_public=lambda _: True)
    with pytest.raises(UrlRefused):
        fetcher.fetch(f"https://{NAME}:{port}/photo")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",  # noqa: S104
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "2002:7f00:1::",
        "64:ff9b::7f00:1", "64:ff9b:1::a9fe:a9fe", "::7f00:1", "::ffff:0:7f00:1", "fec0::1",
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.0.9", "161.26.0.10", "166.9.1.1",
        "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1", "::a9fe:a9fe", "fd20:ce::254", "2001:db8::1", "3fff::1",
        "2606:4700::5efe:7f00:1", "2001:0:7f00:1::", "192.88.99.1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2606:4700::1111", "168.63.129.15", "168.63.129.17", "192.0.1.1", "166.12.0.0"],
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public_address(address)


@pytest.mark.parametrize(("ports", "is_fetched"), [((443,), False), ((), False), (None, True)])
def test_only_ports_that_are_listed_are_asked(
    certificate: tuple[Path, Path], port: int, ports: tuple[int, ...] | None, *, is_fetched: bool
) -> None:
    """Nothing is even resolved for another port, nor for one that a redirect leads to."""
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    trust = ssl.create_default_context(cafile=str(certificate[1]))
    listed = (port,) if ports is None else ports
    fetcher = Fetcher(100_000, listed, resolve=resolve, ssl_context=trust, is_public=lambda _: True)
    if is_fetched:
        assert fetcher.fetch(f"https://{NAME}:{port}/photo")
        with pytest.raises(UrlRefused, match="port 22"):
            fetcher.fetch(f"https://{NAME}:{port}/to-ssh")
        assert len(asked) == 2
        return
    with pytest.raises(UrlRefused, match="port"):
        fetcher.fetch(f"https://{NAME}:{port}/photo")
    assert asked == []


def test_port_0_is_not_the_default(fetcher: Fetcher) -> None:
    with pytest.raises(UrlRefused, match="port 0"):
        fetcher.fetch(f"https://{NAME}:0/photo")


def test_a_name_that_is_resolved_again_is_checked_again(
    certificate: tuple[Path, Path], port: int
) -> None:
    """DNS rebinding: public at first, then private. Each connection goes to a checked address."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    fetcher = Fetcher(
        100_000,
        (port,),
        resolve=lambda *_: next(answers),
        ssl_context=ssl.create_default_context(cafile=str(certificate[1])),
        is_public=lambda address: address == "127.0.0.1",
    )
    with pytest.raises(UrlRefused, match="public address"):
        fetcher.fetch(f"https://{NAME}:{port}/to-photo")


def test_a_name_with_one_private_address_is_refused(asked: list[str]) -> None:
    fetcher = Fetcher(1000, resolve=lambda *_: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(UrlRefused, match="not have a public address"):
        fetcher.fetch("https://both.test/")


def test_queries_by_url_are_off_unless_configured(client: FlaskClient) -> None:
    query = {"url": "https://example.org/a.jpg"}
    assert_error(client.post("/api/v1/search", json=query), 422, "url_refused")
    batch = client.post("/api/v1/search/batch", json={"queries": [query]})
    assert_error(batch, 422, "invalid_request")
