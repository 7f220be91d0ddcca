"""Accessibility, layout, page weight, requests to other hosts."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from server.web.layout import MIN_ASPECT
from tests.browser.conftest import Visitor, keep

PAGES = [
    "/",
    "/?image_id=190&image_id=12&not=60",
    "/?image_id=190&crop=0.1,0.1,0.5,0.5&page=2",
    "/images/12?image_id=190",
    "/?filter=folder=windmill",
    "/?image_id=190&filter=folder=windmill&filter=width>1&facets=folder&add_filter=width",
    "/images/12?filter=folder=windmill",
    "/collection",
    "/collection?colour=folder&filter=folder=windmill,animal",
    "/collection/images?filter=width>1",
    "/?image_id=190&filter=width",
    "/?image_id=99999",
]
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


def violations(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2.2 A and AA and best practices."""
    return [
        f"{violation['id']}: {node['html'][:160]}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(
    "visitor", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE], indirect=True
)
def test_axe_finds_nothing(page: Page, windmill: Path) -> None:
    found = {}
    for url in PAGES:
        page.goto(url)
        found[url] = violations(page)
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(windmill)
    expect(page.locator("#subject")).to_have_text(windmill.name)
    page.locator(".duplicates summary").first.click()
    page.get_by_text("Export").click()
    found["upload"] = violations(page)
    page.get_by_role("button", name="Search a region").click()
    found["crop"] = violations(page)
    assert {url: problems for url, problems in found.items() if problems} == {}


@pytest.mark.parametrize("visitor", [PHONE, {**PHONE, "java_script_enabled": False}], indirect=True)
def test_nothing_is_wider_than_a_phone(page: Page, request: pytest.FixtureRequest) -> None:
    for url in PAGES:
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, url
    page.goto("/?image_id=190")
    keep(page, request, "phone")


def test_the_start_page_offers_places_to_start_from(
    page: Page, request: pytest.FixtureRequest
) -> None:
    page.goto("/")
    keep(page, request, "start")
    key = page.locator(".card .key").first.get_attribute("title")
    page.locator(".card a").first.click()
    expect(page.locator("#subject")).to_have_text(key or "")


@pytest.mark.parametrize("visitor", [{"color_scheme": "dark"}], indirect=True)
def test_dark_mode(page: Page, request: pytest.FixtureRequest) -> None:
    page.goto("/?image_id=190&image_id=12&not=60")
    keep(page, request, "dark")
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert max(int(part) for part in background.strip("rgb()").split(",")) < 60


def test_the_budget_of_a_page(page: Page) -> None:
    """Without images below 100 kB, uncompressed; nothing shifts while images load."""
    weights: dict[str, int] = {}

    def weigh(response: Any) -> None:
        if response.request.resource_type != "image":
            weights[response.url] = len(response.body())

    page.on("response", weigh)
    page.add_init_script(
        "window.shifts = 0; new PerformanceObserver((list) => {"
        " for (const entry of list.getEntries()) window.shifts += entry.value;"
        " }).observe({ type: 'layout-shift', buffered: true });"
    )
    for url in ("/", "/?image_id=190"):
        weights.clear()
        page.goto(url)
        page.wait_for_load_state("networkidle")
        assert sum(weights.values()) < 100_000, weights
        assert page.evaluate("window.shifts") < 0.02, url


def test_images_have_their_size_before_they_load(page: Page) -> None:
    page.route("**/thumbnail*", lambda route: route.abort("aborted"))
    page.goto("/?image_id=190")
    boxes = page.locator("#results .picture").evaluate_all(
        "(all) => all.map((link) => { const own = link.querySelector('img').attributes;"
        " return [link.clientWidth / link.clientHeight, own.width.value / own.height.value]; })"
    )
    assert len(boxes) == 29
    for shown, own in boxes:
        assert shown == pytest.approx(max(own, MIN_ASPECT), rel=0.06)


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.goto("/?image_id=190")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(({ ariaLabel, id, className }) => ariaLabel || id || className)"
                "(document.activeElement)"
            )
        )
    assert {"threshold", "mode", "crop", "picture"} <= reached
    assert any(name.startswith("More like this") for name in reached)


def test_the_api_is_browsable_without_foreign_scripts(visitor: Visitor) -> None:
    page = visitor.page()
    page.goto("/docs")
    page.get_by_text("Find the images most like an image").wait_for(timeout=20_000)
