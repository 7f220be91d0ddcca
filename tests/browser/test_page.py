"""The page in a real browser, with JavaScript switched off: what a person sees and clicks."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from indexer.build import build
from server.app import create_app
from tests.conftest import DEMO_IMAGES, small_config

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium as the system installs it; without it the tests are skipped, in CI they fail."""
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        reason = "no Chromium on this machine (Debian: apt install chromium)"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The whole demo, indexed and served."""
    config = small_config(DEMO_IMAGES, tmp_path_factory.mktemp("demo") / "store")
    build(config)
    server = make_server("127.0.0.1", 0, create_app(config), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page without JavaScript that fails the test on anything foreign, missing or refused."""
    context = browser.new_context(
        base_url=address, java_script_enabled=False, viewport={"width": 1280, "height": 900}
    )
    page = context.new_page()
    troubles: list[str] = []
    page.on(
        "console",
        lambda message: (
            None  # the page itself may be an answer with an error status
            if message.location["url"] == page.url
            else troubles.append(f"console: {message.text}")
        ),
    )
    page.on(
        "requestfailed",
        lambda request: (
            None  # the next page was opened before this picture had come
            if request.failure == "net::ERR_ABORTED"
            else troubles.append(f"failed: {request.url}: {request.failure}")
        ),
    )
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((address, "data:"))
            else troubles.append(f"foreign: {request.url}")
        ),
    )
    yield page
    context.close()
    assert troubles == []


def keep(page: Page, request: pytest.FixtureRequest, name: str) -> None:
    folder = Path(
        request.config.getoption("--screenshots") or Path(__file__).parent.parent / "screenshots"
    )
    page.wait_for_load_state("networkidle")  # lazily loaded pictures
    page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=85)


def search(page: Page, photo: Path) -> None:
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(photo)
    with page.expect_navigation():  # until the style sheet is in force
        page.get_by_role("button", name="Search", exact=True).click()


def test_a_chosen_file_is_shown_beside_its_neighbours(
    page: Page, photos: list[Path], request: pytest.FixtureRequest
) -> None:
    photo = (
        DEMO_IMAGES / "windmill" / sorted(p.name for p in (DEMO_IMAGES / "windmill").iterdir())[0]
    )
    search(page, photo)
    results = page.get_by_role("region", name="Results").get_by_role("listitem")
    assert results.count() == 30
    assert photo.name in results.first.inner_text()
    assert results.first.locator(".distance").inner_text() == "0.0000"
    assert page.get_by_role("img", name=photo.name).first.is_visible()
    assert "efficientnet_lite0" in page.get_by_role("contentinfo").inner_text()
    keep(page, request, "search")


def test_images_lead_on_to_more_like_them(page: Page) -> None:
    page.goto("/")
    page.get_by_role("region", name="Start").get_by_role("link").first.click()
    results = page.get_by_role("region", name="Results").get_by_role("listitem")
    second = results.nth(1).get_by_role("img").get_attribute("alt")
    results.nth(1).get_by_role("link").first.click()
    assert page.get_by_role("region", name="Your image").locator("p").inner_text() == second
    page.go_back()
    assert results.nth(1).get_by_role("img").get_attribute("alt") == second


def test_the_back_button_returns_to_an_uploads_results(page: Page, photos: list[Path]) -> None:
    search(page, photos[5])
    results = page.get_by_role("region", name="Results").get_by_role("listitem")
    results.nth(3).get_by_role("link").first.click()
    page.go_back()
    assert page.get_by_role("region", name="Your image").locator("p").inner_text() == photos[5].name
    assert results.count() == 30


def test_the_start_page(page: Page, request: pytest.FixtureRequest) -> None:
    page.goto("/")
    assert page.get_by_role("heading", name="Find images by how they look").is_visible()
    keep(page, request, "start")


def test_a_refused_file_is_explained(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    search(page, tmp_path / "notes.jpg")
    assert "not an image" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="Search", exact=True).is_visible()


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_overflows_on_a_small_screen(
    page: Page, photos: list[Path], width: int, request: pytest.FixtureRequest
) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    search(page, photos[0])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    keep(page, request, f"search-{width}")


def test_the_api_is_browsable_without_foreign_scripts(browser: Browser, address: str) -> None:
    context = browser.new_context(base_url=address)
    page = context.new_page()
    foreign: list[str] = []
    errors: list[str] = []
    page.on(
        "request", lambda r: None if r.url.startswith((address, "data:")) else foreign.append(r.url)
    )
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto("/docs")
    page.get_by_text("Find the images most like an image").wait_for(timeout=20_000)
    context.close()
    assert (foreign, errors) == ([], [])
