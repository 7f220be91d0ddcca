"""Search a region: by mouse, touch, keyboard and numbers."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SIZES, Visitor, keep


def crop_of(page: Page) -> list[float]:
    (text,) = re.findall(r"crop=([0-9.,]+)", page.url)
    return [float(part) for part in text.split(",")]


def open_cropper(page: Page, button: Locator | None = None) -> dict[str, float]:
    """Open the dialog, for the query unless another button is given; return where its image is."""
    (button or page.locator("#crop")).click()
    image = page.locator("#cropper img")
    expect(image).not_to_have_js_property("naturalWidth", 0)
    edges = image.bounding_box()
    assert edges
    return dict(edges)


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


def centre(edges: dict[str, float], handle: Locator) -> tuple[float, float]:
    """Return where the middle of a handle is, in fractions of the image."""
    place = handle.bounding_box()
    assert place
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    return (x - edges["x"]) / edges["width"], (y - edges["y"]) / edges["height"]


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
def test_a_box_is_drawn_anywhere_moved_and_resized_by_mouse(
    page: Page, request: pytest.FixtureRequest
) -> None:
    page.goto("/?image_id=190")
    edges = open_cropper(page)
    box, search = page.locator("#cropper .box"), page.get_by_role("button", name="Search this")
    expect(box).to_be_hidden()
    expect(search).to_be_disabled()
    drag(page, edges, (0.3, 0.3), (0.7, 0.8))
    expect(search).to_be_enabled()
    drag(page, edges, (0.4, 0.4), (0.9, 0.9))  # also inside of the box: draws another one
    grip, corner = (page.locator(f"#cropper [data-corner={name}]") for name in ("grip", "se"))
    drag(page, edges, centre(edges, grip), (0.5, 0.5))  # moves it
    drag(page, edges, centre(edges, corner), (0.95, 0.95))  # resizes it
    keep(page, request, "crop")
    search.click()
    page.wait_for_url("**crop=*")
    assert crop_of(page) == pytest.approx([0.25, 0.25, 0.7, 0.7], abs=0.02)
    expect(page.get_by_role("img", name="Region of")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("img", name="Region of")).to_have_count(0)


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
def test_no_handle_is_cut_off(page: Page) -> None:
    page.goto("/?image_id=190")
    edges = open_cropper(page)
    drag(page, edges, (-0.05, -0.05), (1.05, 1.05))  # begins and ends beside the image
    around = page.locator("#cropper").bounding_box()
    handles = page.locator("#cropper .box [data-corner]")
    expect(handles).to_have_count(5)
    for handle in handles.all():
        place = handle.bounding_box()
        assert place
        assert around
        assert around["x"] <= place["x"] <= around["x"] + around["width"] - place["width"]
        assert around["y"] <= place["y"] <= around["y"] + around["height"] - place["height"]
    page.get_by_role("button", name="Search this region").click()
    page.wait_for_url("**crop=*")
    assert crop_of(page) == [0, 0, 1, 1]


def test_a_click_draws_nothing(page: Page) -> None:
    page.goto("/?image_id=190")
    edges = open_cropper(page)
    drag(page, edges, (0.5, 0.5), (0.5, 0.5))
    expect(page.locator("#cropper .box")).to_be_hidden()


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
def test_a_region_of_a_result_is_searched_at_once(page: Page) -> None:
    page.goto("/?image_id=190&filter=width>1&not=60")
    card = page.locator("#results .card").nth(3)
    name = card.locator(".key").first.get_attribute("title")
    card.hover()
    drag(page, open_cropper(page, card.locator(".crop")), (0.1, 0.1), (0.6, 0.6))
    page.get_by_role("button", name="Search this region").click()
    expect(page.get_by_role("img", name="Region of")).to_be_visible()
    expect(page.locator("#subject")).to_have_text(name or "")
    expect(page).to_have_url(re.compile(r"/\?image_id=\d+&filter=width%3E1&crop="))


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
def test_a_region_is_offered_on_the_page_of_an_image(page: Page) -> None:
    page.goto("/images/12")
    button = page.get_by_role("button", name="Search a region")
    drag(page, open_cropper(page, button), (0.1, 0.1), (0.6, 0.6))
    page.get_by_role("button", name="Search this region").click()
    expect(page.get_by_role("img", name="Region of")).to_be_visible()
    assert crop_of(page) == pytest.approx([0.1, 0.1, 0.5, 0.5], abs=0.02)
    page.go_back()
    expect(button).to_be_visible()


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.goto("/?image_id=190")
    page.locator("#crop").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Region: arrow keys")).to_be_focused()
    page.keyboard.press("ArrowLeft")  # the first one draws a box
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_url("**crop=*")
    assert crop_of(page) == pytest.approx([0.18, 0.16, 0.62, 0.62], abs=1e-6)


def test_numbers_and_cancelling(page: Page) -> None:
    page.goto("/?image_id=190")
    open_cropper(page)
    page.get_by_role("spinbutton", name="Left").fill("30")
    expect(page.get_by_role("spinbutton", name="Width")).to_have_value("70")
    page.get_by_role("button", name="Cancel").click()
    assert "crop" not in page.url
    open_cropper(page)
    expect(page.get_by_role("spinbutton", name="Left")).to_have_value("")
    page.get_by_role("spinbutton", name="Left").fill("20")
    page.get_by_role("spinbutton", name="Width").fill("50")
    page.get_by_role("spinbutton", name="Height").fill("60")
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
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(first).not_to_have_text("100 %")
    expect(page.locator("#subject")).to_have_text(windmill.name)
    page.go_back()
    expect(first).to_have_text("100 %")


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_what_browsers_do_not_show_gets_a_rendition(
    page: Page, windmill: Path, tmp_path: Path, mode: str
) -> None:
    with Image.open(windmill) as photo:
        deep = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
        (deep if mode == "I;16" else photo).save(tmp_path / "photo.tif")
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(tmp_path / "photo.tif")
    expect(page.locator("#subject")).to_have_text("photo.tif")
    edges = open_cropper(page)
    width = page.locator("#cropper img").evaluate("(image) => image.naturalWidth")
    assert width == photo.width
    drag(page, edges, (0.1, 0.1), (0.9, 0.9))
    whole = page.locator(".subject").get_attribute("src")
    page.get_by_role("button", name="Search this region").click()
    expect(page.locator(".subject")).not_to_have_attribute("src", whole or "")
    expect(page.locator("#subject")).to_have_text("photo.tif")


def test_without_a_rendition_numbers_still_choose_a_region(
    page: Page, visitor: Visitor, windmill: Path, tmp_path: Path
) -> None:
    visitor.expected = "503"
    page.route("**/rendition", lambda route: route.fulfill(status=503, body="busy"))
    with Image.open(windmill) as photo:
        photo.save(tmp_path / "photo.tif")
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(tmp_path / "photo.tif")
    page.locator("#crop").click()
    expect(page.locator("#cropper")).to_contain_text("cannot be shown at the moment")
    page.get_by_role("spinbutton", name="Left").fill("10")
    page.get_by_role("button", name="Search this region").click()
    expect(page.locator("#cropper")).to_be_hidden()
    expect(page.locator("#subject")).to_have_text("photo.tif")
