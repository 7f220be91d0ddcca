"""Accessibility, layout, page weight, requests to other hosts."""

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from server.web.layout import ASPECT_CLASSES, ASPECT_STEP, MIN_ASPECT
from tests.browser import conftest
from tests.browser.conftest import Visitor, keep

PAGES = [
    "/",
    "/?image_id=190&image_id=12&not=60",
    "/?image_id=190&crop=0.1,0.1,0.5,0.5&page=2",
    "/images/12?image_id=190",
    "/images/190/why/12?image_id=190",
    "/?filter=folder=windmill",
    "/?image_id=190&filter=folder=windmill&filter=width>1&facets=folder&add_filter=width",
    "/images/12?filter=folder=windmill",
    "/collection",
    "/collection?colour=folder&filter=folder=windmill,animal",
    "/collection/images?filter=width>1",
    "/collection/duplicates",
    "/collection/suspects?label=tool",
    "/collection/leaks",
    "/collection/evaluation",
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
    page.locator("#crop").click()
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
    page.get_by_role("link", name="More like this").first.click()
    expect(page.locator("#subject")).to_have_text(key or "")


@pytest.mark.parametrize("visitor", [{"color_scheme": "dark"}], indirect=True)
def test_dark_mode(page: Page, request: pytest.FixtureRequest) -> None:
    page.goto("/?image_id=190&image_id=12&not=60")
    keep(page, request, "dark")
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert max(int(part) for part in background.strip("rgb()").split(",")) < 60


def test_the_budget_of_a_page(page: Page) -> None:
    """Without images below 110 kB, uncompressed; nothing shifts while images load."""
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
    for url in (
        "/",
        "/?image_id=190",
        "/images/12?image_id=190",
        "/collection",
        "/collection/duplicates",
        "/collection/suspects",
        "/collection/evaluation",
    ):
        weights.clear()
        page.goto(url)
        page.wait_for_load_state("networkidle")
        assert sum(weights.values()) < 110_000, weights
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
        most = MIN_ASPECT * ASPECT_STEP ** (ASPECT_CLASSES - 1)
        assert shown == pytest.approx(min(max(own, MIN_ASPECT), most), rel=0.06)


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


TOUCHED = """(all) => all
  .filter((one) => one.checkVisibility())
  .filter((one) => !one.closest("p:not(.links, .more), footer, small, svg, .skip"))
  .map((one) => [one.closest("label") ?? one, one])
  .map(([touched, one]) => [touched.getBoundingClientRect(), one.outerHTML.slice(0, 120)])
  .filter(([{ width, height }]) => Math.min(width, height) < 43.9)
  .map(([{ width, height }, html]) => `${Math.round(width)} x ${Math.round(height)}: ${html}`)"""


@pytest.mark.parametrize("visitor", [conftest.PHONE], indirect=True)
def test_a_finger_hits_everything(page: Page, windmill: Path) -> None:
    """But for links in sentences: what can be touched has 44 pixels in both directions."""

    def small() -> list[str]:
        controls = "a, button, select, summary, input:not([type=file])"
        found: list[str] = page.locator(controls).evaluate_all(TOUCHED)
        return found

    for url in PAGES:
        page.goto(url)
        assert small() == [], url
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(windmill)
    expect(page.locator("#subject")).to_have_text(windmill.name)
    page.locator(".duplicates summary").first.click()
    assert small() == []
    page.locator(".duplicates summary").first.click()
    page.get_by_text("Export").click()
    assert small() == []
    page.locator("#crop").click()
    assert small() == []


FOCUSED = """() => {
  const focused = document.activeElement;
  const shown = focused.type === "file" ? focused.labels[0] : focused;
  const { width, height, right } = shown.getBoundingClientRect();
  const isSeen = shown.checkVisibility({ opacityProperty: true }) && Math.min(width, height) > 8
    && right > 0 && getComputedStyle(shown).outlineStyle !== "none";
  return focused === document.body ? "the end" : isSeen ? "" : focused.outerHTML.slice(0, 160);
}"""


@pytest.mark.parametrize("visitor", [conftest.DESK, conftest.PHONE], indirect=True)
def test_every_tab_stop_is_seen(page: Page) -> None:
    for url in ("/", "/?image_id=190&k=3", "/images/12?image_id=190", "/collection"):
        page.goto(url)
        for _ in range(60):
            page.keyboard.press("Tab")
            found = page.evaluate(FOCUSED)
            if found == "the end":
                break
            assert found == "", url


@pytest.mark.parametrize("visitor", [{"color_scheme": "dark"}, conftest.PHONE], indirect=True)
def test_the_description_of_the_api_looks_like_the_other_pages(
    page: Page, request: pytest.FixtureRequest
) -> None:
    page.goto("/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    keep(page, request, f"docs-{page.viewport_size['width'] if page.viewport_size else 0}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    is_dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    for place, name in (("html", "backgroundColor"), (".opblock-summary-path", "color")):
        colour = page.locator(place).first.evaluate(f"(one) => getComputedStyle(one).{name}")
        dark = max(int(part) for part in re.findall(r"\d+", colour)[:3]) < 100
        assert dark == (is_dark == (name == "backgroundColor")), (place, colour)
    page.get_by_role("link", name="Search with an image").click()
    expect(page.get_by_role("region", name="Start")).to_be_visible()


def test_the_api_is_browsable_without_foreign_scripts(visitor: Visitor) -> None:
    page = visitor.page()
    page.goto("/docs")
    page.get_by_text("Find the images most like an image").wait_for(timeout=20_000)
