"""Boxes on the page: drawn where they are, and a click on one finds boxes like it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from indexer.config import Config
from tests.browser.conftest import served

SCRIPTS = [{"java_script_enabled": False}, {}]


@pytest.fixture(scope="module")
def address(boxes_config: Config) -> Iterator[str]:
    """A server of boxes instead of images."""
    with served(boxes_config) as address:
        yield address


def place(locator: Locator) -> dict[str, float]:
    found = locator.bounding_box()
    assert found
    return dict(found)


def is_inside(inner: Locator, outer: Locator, slack: float = 2) -> bool:
    """Tell whether an element lies in another one, but for the width of its line."""
    box, around = place(inner), place(outer)
    return (
        box["x"] >= around["x"] - slack
        and box["y"] >= around["y"] - slack
        and box["x"] + box["width"] <= around["x"] + around["width"] + slack
        and box["y"] + box["height"] <= around["y"] + around["height"] + slack
    )


@pytest.mark.parametrize("visitor", SCRIPTS, indirect=True)
def test_a_click_on_a_box_finds_boxes_like_it(page: Page) -> None:
    page.goto("/")
    page.locator("rect.own").first.click()
    page.locator(".subject").click()
    expect(page).to_have_url(re.compile("/images/"))
    picture = page.locator(".framed")
    boxes = picture.locator("rect")
    expect(boxes).to_have_count(3)
    image = picture.locator("img")
    expect(image).to_have_js_property("complete", True)  # an image takes its place once loaded
    for box in boxes.all():
        assert is_inside(box, image)
    corner = place(boxes.last)
    assert corner["width"] == pytest.approx(place(image)["width"] / 2, abs=3)
    assert corner["height"] == pytest.approx(place(image)["height"] / 2, abs=3)
    boxes.last.click()
    expect(page).to_have_url(re.compile(r"/\?image_id=\d+$"))
    expect(page.locator("#subject")).to_have_text("1.jpg#box=12")
    cards = page.locator("#results .card")
    expect(cards).to_have_count(4)  # the box itself is beside its results
    for card in cards.all():
        assert is_inside(card.locator("rect.own"), card.locator(".picture"))
    expect(page.locator("#results")).to_contain_text("corner")


@pytest.mark.parametrize("visitor", SCRIPTS, indirect=True)
def test_a_click_beside_the_boxes_opens_the_picture(page: Page) -> None:
    page.goto("/collection/images")
    card = page.locator(".card").nth(2)  # its box is the lower right quarter
    picture = place(card.locator(".picture"))
    page.mouse.click(picture["x"] + picture["width"] / 4, picture["y"] + picture["height"] / 4)
    expect(page.get_by_role("heading", level=1)).to_have_text("1.jpg#box=12")
