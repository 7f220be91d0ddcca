"""A real Chromium, and a server of the demo."""

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from indexer.analysis import make_graph
from indexer.build import build
from indexer.cli.parser import main
from indexer.config import Config
from server.app import Application
from tests.conftest import DEMO_IMAGES, small_config
from tests.server.helpers import ready_app

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}
SIZES = [DESK, PHONE]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; without it the tests are skipped, or fail with REQUIRE_BROWSER."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        reason = "no Chromium on this machine (Debian: apt install chromium)"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def served(config: Config) -> AbstractContextManager[str]:
    """Run the application of an index, with its encoder loaded, during the block."""
    return running(ready_app(config))


@contextmanager
def running(app: Application) -> Iterator[str]:
    """Run an application during the block, also mounted at ``/photos``; give its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each image
    mounted = DispatcherMiddleware(app.wsgi_app, {"/photos": app})
    server = make_server("127.0.0.1", 0, mounted, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo and three copies of its first windmill, with both modes and all reports."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(DEMO_IMAGES, folder / "images")
    (folder / "images" / "broken.jpg").write_bytes(b"no image")
    photo = sorted((folder / "images" / "windmill").iterdir())[0]
    with Image.open(photo) as image:
        for quality in (95, 92, 90):
            image.save(photo.with_name(f"copy-{quality}.jpg"), quality=quality)
    approximate = {"approximate": "IVF4,SQ8"}
    config = small_config(folder / "images", folder / "store", index=approximate)
    build(config)
    make_graph(config)
    leaks = "leaks --between windmill tool --by folder --within 0.9"
    for verb in ("duplicates", "suspects", "outliers", "evaluate", leaks):
        main([*verb.split(), "--store", str(folder / "store")])
    return folder


@pytest.fixture(scope="session")
def address(demo_store: Path) -> Iterator[str]:
    """A server of the demo that refuses uploads above 1 MB, also mounted at ``/photos``."""
    config = small_config(
        demo_store / "images",
        demo_store / "store",
        index={"approximate": "IVF4,SQ8"},
        server={"max_upload_bytes": 1_000_000},
    )
    with served(config) as address:
        yield address


class Visitor:
    """Opens pages in its own browser context and records what goes wrong on them."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.troubles: list[str] = []
        self.expected = ""

    def page(self) -> Page:
        """Open an empty page."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self._note(f"script: {error}"))
        page.on(
            "console",
            lambda message: (
                None  # the page itself may be an answer with an error status
                if message.location["url"] == page.url
                else self._note(f"console: {message.text}")
            ),
        )
        page.on(
            "requestfailed",
            lambda request: (
                None  # the next page was opened before this image was loaded
                if request.failure == "net::ERR_ABORTED"
                else self._note(f"failed: {request.url}: {request.failure}")
            ),
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((self.address, "data:", "blob:" + self.address))
                else self._note(f"foreign: {request.url}")
            ),
        )
        return page

    def _note(self, trouble: str) -> None:
        if not self.expected or self.expected not in trouble:
            self.troubles.append(trouble)


@pytest.fixture
def visitor(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A user with a browser. The test fails on requests that are foreign or that fail.

    Parametrise it indirectly with options of the context: JavaScript, screen, colours.
    """
    options = {"viewport": {"width": 1280, "height": 900}, **getattr(request, "param", {})}
    context = browser.new_context(base_url=address, **options)
    visitor = Visitor(context, address)
    yield visitor
    context.close()
    assert visitor.troubles == []


@pytest.fixture
def page(visitor: Visitor) -> Page:
    """The visitor's page."""
    return visitor.page()


@pytest.fixture(scope="session")
def windmill() -> Path:
    """A photograph of the demo that has near-duplicates in the collection."""
    return sorted((DEMO_IMAGES / "windmill").iterdir())[0]


def keep(page: Page, request: pytest.FixtureRequest, name: str) -> None:
    """Save a screenshot, if a folder for them was given."""
    default = Path(__file__).parent.parent / "screenshots"
    folder = Path(request.config.getoption("--screenshots") or default)
    page.wait_for_load_state("networkidle")  # images are loaded lazily
    page.evaluate("document.fonts.ready")
    page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=72)
