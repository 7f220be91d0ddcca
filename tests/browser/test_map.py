"""The map of the collection: points and thumbnails; by mouse, keyboard and buttons."""

import re
import struct

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SIZES, keep


def shown(page: Page) -> tuple[int, int]:
    canvas = page.locator("#map")
    return int(canvas.get_attribute("data-visible") or 0), int(
        canvas.get_attribute("data-pictures") or 0
    )


def settled(page: Page) -> None:
    page.wait_for_function("() => document.getElementById('map').dataset.visible > 0")
    page.wait_for_load_state("networkidle")


def test_a_small_collection_shows_pictures_and_they_open(
    page: Page, request: pytest.FixtureRequest
) -> None:
    page.goto("/collection")
    settled(page)
    visible, pictures = shown(page)
    assert visible == 213
    assert pictures > 20
    keep(page, request, "collection")
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/images/*")


def side(page: Page) -> int:
    return int(page.locator("#map").get_attribute("data-side") or 0)


DRAWN_COLUMNS = """(canvas) => {
  const { width, height } = canvas;
  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const isDrawn = (x) => {
    for (let y = 0; y < height; y++) if (data[4 * (y * width + x) + 3]) return true;
    return false;
  };
  return Array.from({ length: width }, (_, x) => x).filter(isDrawn).map((x) => x / width);
}"""


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
def test_the_map_fills_its_width_with_many_pictures(page: Page) -> None:
    page.goto("/collection")
    settled(page)
    columns = page.locator("#map").evaluate(DRAWN_COLUMNS)
    assert columns[0] < 0.1
    assert columns[-1] > 0.9
    fit = page.locator("#map").evaluate("(map) => map.clientWidth * map.clientHeight / 66 ** 2")
    assert min(fit, 213) / 2 < shown(page)[1] <= fit


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
def test_pictures_grow_until_nothing_more_would_be_seen(page: Page) -> None:
    page.goto("/collection")
    settled(page)
    sides = [side(page)]
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
        page.wait_for_function(
            "before => document.getElementById('map').dataset.side > before", arg=sides[-1]
        )
        sides.append(side(page))
    for _ in range(10):
        page.get_by_role("button", name="Zoom in").click()
    settled(page)
    visible, pictures = shown(page)
    assert 0 < visible == pictures
    assert side(page) > 2 * sides[0]
    for key in ("ArrowLeft", "ArrowUp"):
        for _ in range(12):
            page.locator("#map").press(key)
        settled(page)
        assert shown(page)[0] > 0
    for _ in range(14):
        page.get_by_role("button", name="Zoom out").click()
    page.wait_for_function("() => document.getElementById('map').dataset.visible == 213")
    assert side(page) == sides[0]


def test_the_mouse_shows_names(page: Page) -> None:
    page.goto("/collection")
    settled(page)
    label = page.locator(".frame .label")
    expect(label).to_be_hidden()
    box = page.locator("#map").bounding_box()
    assert box
    place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.get_by_role("button", name="Zoom in").click(click_count=20)  # in the middle is an image
    settled(page)
    page.mouse.move(*place)
    page.mouse.move(place[0] + 1, place[1])
    expect(label).to_have_text(re.compile(r"^[a-z]+/.*\.jpg$"))
    name = label.inner_text()
    page.mouse.click(*place)
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_zooming_by_wheel_button_and_key_shows_fewer(page: Page) -> None:
    page.goto("/collection")
    settled(page)
    counts = [shown(page)[0]]
    box = page.locator("#map").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for step in (
        lambda: page.mouse.wheel(0, -400),
        lambda: page.get_by_role("button", name="Zoom in").click(),
        lambda: page.locator("#map").press("+"),
    ):
        step()
        page.wait_for_function(
            "before => document.getElementById('map').dataset.visible < before", arg=counts[-1]
        )
        counts.append(shown(page)[0])
    page.get_by_role("button", name="Show everything").click()
    page.wait_for_function("() => document.getElementById('map').dataset.visible == 213")


def test_dragging_moves_and_does_not_open(page: Page) -> None:
    page.goto("/collection")
    settled(page)
    box = page.locator("#map").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.getElementById('map').dataset.visible < 213")
    assert page.url.endswith("/collection")


COUNT_COLOURS = """(canvas) => {
  const style = getComputedStyle(canvas);
  const parts = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [1, 2, 3, 4, 5, 6, 7, 8].map((mark) => {
    const wanted = parts(style.getPropertyValue(`--mark-${mark}`).trim());
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      count += data[at + 3] > 250 && wanted.every((part, i) => Math.abs(data[at + i] - part) < 3);
    }
    return count;
  });
}"""


@pytest.mark.parametrize(
    "visitor",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    ],
    indirect=True,
)
def test_the_map_is_coloured_by_a_field_and_filtered(page: Page) -> None:
    page.goto("/collection")
    page.get_by_role("navigation", name="Colours").get_by_role("link", name="folder").click()
    page.wait_for_url("**/collection?colour=folder")
    settled(page)
    canvas = page.locator("#map")
    counts = canvas.evaluate(COUNT_COLOURS)
    assert min(counts[:4]) > 100, counts  # other folders have a few images, perhaps behind others
    page.get_by_role("region", name="Map").get_by_role("link", name="windmill").click()
    page.wait_for_url("**/collection?filter=folder=windmill&colour=folder")
    page.wait_for_function("() => document.getElementById('map').dataset.visible < 60")
    page.wait_for_load_state("networkidle")
    assert sorted(canvas.evaluate(COUNT_COLOURS))[-2:-1] == [0]
    canvas.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/images/*")
    expect(page.get_by_role("heading", level=1)).to_contain_text("windmill/")


def test_a_hundred_thousand_points_are_drawn(page: Page) -> None:
    """A synthetic map of that size on the real page; thumbnails appear after zooming in."""
    count = 100_000
    random = np.random.default_rng(0)
    places = (random.normal(0.5, 0.12, (count, 2)).clip(0, 1) * 65535).astype("<u2")
    page.goto("/collection")
    real = page.request.get("/api/v1/map").body()
    stored = np.frombuffer(real, "<u4", count=struct.unpack_from("<I", real)[0], offset=4)
    ids = random.choice(stored, count).astype("<u4")
    block = struct.pack("<I", count) + ids.tobytes() + places.tobytes()

    def answer(route: Route) -> None:
        route.fulfill(body=block, content_type="application/octet-stream")

    page.route("**/api/v1/map", answer)
    page.goto("/collection")
    page.wait_for_function("() => document.getElementById('map').dataset.visible > 99000")
    assert shown(page)[1] == 0
    for _ in range(12):
        page.get_by_role("button", name="Zoom in").click()
    page.wait_for_function("() => document.getElementById('map').dataset.pictures > 5")
    assert shown(page)[0] < 2500
    expect(page.locator("#map")).to_have_attribute("data-ms", re.compile(r"\d"))
