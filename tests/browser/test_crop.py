"""Search a region: by mouse, touch, keyboard and numbers."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import keep


def crop_of(page: Page) -> list[float]:
    (text,) = re.findall(r"crop=([0-9.,]+)", page.url)
    return [float(part) for part in text.split(",")]


def open_cropper(page: Page) -> dict[str, float]:
    page.get_by_role("button", name="Search a region").click()
    expect(page.locator("#cropper img")).to_be_visible()
    page.wait_for_function("() => document.querySelector('#cropper img').complete")
    edges = page.locator(".stage").bounding_box()
    assert edges
    return edges


def drag(
    page: Page, edges: dict[str, float], start: tuple[float, float], end: tuple[float, float]
) -> None:
    def at(point: tuple[float, float]) -> tuple[float, float]:
        return edges["x"] + point[0] * edges["width"], edges["y"] + point[1] * edges["height"]

    page.mouse.move(*at(start))
    page.mouse.down()
    page.mouse.move(*at(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)))
    page.mouse.move(*at(end))
    page.mouse.up()


def test_a_box_is_drawn_moved_and_resized_by_mouse(
    page: Page, request: pytest.FixtureRequest
) -> None:
    page.goto("/?image_id=190")
    edges = open_cropper(page)
    drag(page, edges, (0.05, 0.1), (0.55, 0.6))  # outside the box: draws a new one
    drag(page, edges, (0.3, 0.35), (0.4, 0.45))  # inside: moves it
    drag(page, edges, (0.65, 0.7), (0.85, 0.9))  # a corner: resizes it
    keep(page, request, "crop")
    page.get_by_role("button", name="Search this region").click()
    page.wait_for_url("**crop=*")
    assert crop_of(page) == pytest.approx([0.15, 0.2, 0.7, 0.7], abs=0.02)
    expect(page.get_by_role("img", name="Region of")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("img", name="Region of")).to_have_count(0)


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.goto("/?image_id=190")
    page.get_by_role("button", name="Search a region").focus()
    page.keyboard.press("Enter")
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_url("**crop=*")
    assert crop_of(page) == pytest.approx([0.18, 0.16, 0.62, 0.62], abs=1e-6)


def test_numbers_and_cancelling(page: Page) -> None:
    page.goto("/?image_id=190")
    open_cropper(page)
    page.get_by_role("spinbutton", name="Left").fill("30")
    page.get_by_role("button", name="Cancel").click()
    assert "crop" not in page.url
    open_cropper(page)
    page.get_by_role("spinbutton", name="Width").fill("50")
    page.get_by_role("spinbutton", name="Top").fill("90")  # more than the box's height allows
    page.get_by_role("button", name="Search this region").click()
    page.wait_for_url("**crop=*")
    assert crop_of(page) == pytest.approx([0.2, 0.4, 0.5, 0.6], abs=1e-6)


@pytest.mark.parametrize(
    "visitor",
    [{"has_touch": True, "is_mobile": True, "viewport": {"width": 360, "height": 740}}],
    indirect=True,
)
def test_a_finger_draws_a_box(page: Page) -> None:
    page.goto("/?image_id=190")
    edges = open_cropper(page)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        session.send(
            "Input.dispatchTouchEvent",
            {
                "type": kind,
                "touchPoints": [
                    {"x": edges["x"] + x * edges["width"], "y": edges["y"] + y * edges["height"]}
                    for x, y in points
                ],
            },
        )

    touch("touchStart", (0.1, 0.1))
    touch("touchMove", (0.3, 0.3))
    touch("touchMove", (0.6, 0.5))
    touch("touchEnd")
    page.get_by_role("button", name="Search this region").click()
    page.wait_for_url("**crop=*")
    assert crop_of(page) == pytest.approx([0.1, 0.1, 0.5, 0.4], abs=0.03)


def test_a_region_of_an_upload_is_searched_and_back_shows_the_whole(
    page: Page, windmill: Path
) -> None:
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(windmill)
    first = page.locator("#results .card").first.locator(".similarity")
    expect(first).to_have_text("100 %")
    open_cropper(page)
    page.keyboard.press("Enter")
    expect(first).not_to_have_text("100 %")
    expect(page.locator("#subject")).to_have_text(windmill.name)
    page.go_back()
    expect(first).to_have_text("100 %")
