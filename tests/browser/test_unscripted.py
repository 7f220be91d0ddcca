"""The page without JavaScript."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor, keep

pytestmark = pytest.mark.parametrize("visitor", [{"java_script_enabled": False}], indirect=True)


def results(page: Page):  # type: ignore[no-untyped-def]
    return page.get_by_role("region", name="Results").locator(".card")


def search(page: Page, photo: Path) -> None:
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(photo)
    with page.expect_navigation():  # until the style sheet is applied
        page.get_by_role("button", name="Search", exact=True).click()


def test_a_chosen_file_is_shown_beside_its_neighbours(
    page: Page, windmill: Path, request: pytest.FixtureRequest
) -> None:
    search(page, windmill)
    assert results(page).count() == 30
    assert windmill.name in results(page).first.inner_text()
    assert results(page).first.locator(".distance").inner_text() == "0.0000"
    assert page.get_by_role("img", name=windmill.name).first.is_visible()
    assert "efficientnet_lite0" in page.get_by_role("contentinfo").inner_text()
    keep(page, request, "unscripted")


def test_images_lead_on_to_more_like_them_and_back(page: Page) -> None:
    page.goto("/")
    page.get_by_role("region", name="Start").get_by_role("link").nth(1).click()
    second = results(page).nth(1).get_by_role("img").first.get_attribute("alt")
    results(page).nth(1).get_by_role("link", name="More like this").click()
    assert page.locator("#subject").inner_text() == second
    page.go_back()
    assert results(page).nth(1).get_by_role("img").first.get_attribute("alt") == second


def test_an_upload_has_more_pages_and_the_back_button(page: Page, windmill: Path) -> None:
    search(page, windmill)
    first = results(page).first.inner_text()
    page.get_by_role("button", name="More").last.click()
    expect(page.locator("#subject")).to_have_text(windmill.name)
    assert results(page).first.inner_text() != first
    results(page).nth(3).get_by_role("link", name="More like this").click()
    page.go_back()
    page.go_back()
    assert results(page).first.inner_text() == first
    assert page.locator("#subject").inner_text() == windmill.name


def test_less_like_this_and_its_removal(page: Page, windmill: Path) -> None:
    search(page, windmill)
    results(page).nth(4).get_by_role("button", name="Not like").click()
    examples = page.locator(".examples li")
    assert examples.count() == 1
    assert "not like this" in examples.inner_text()
    examples.get_by_role("button", name="Remove").click()
    assert examples.count() == 0
    assert results(page).first.locator(".distance").inner_text() == "0.0000"


def test_controls_apply_by_a_button(page: Page) -> None:
    page.goto("/?image_id=190")
    page.get_by_label("Distance up to").fill("1")
    page.get_by_label("Search mode", exact=True).select_option("approximate")
    page.get_by_role("button", name="Apply").click()
    assert "threshold=1" in page.url
    assert "mode=approximate" in page.url
    distances = [float(text) for text in results(page).locator(".distance").all_inner_texts()]
    assert 0 < len(distances) < 30
    assert max(distances) <= 1


def test_a_region_by_numbers(page: Page) -> None:
    page.goto("/?image_id=190")
    page.locator("summary", has_text="Search a region").click()
    page.get_by_role("button", name="Search", exact=True).last.click()
    assert "crop=0.25" in page.url
    assert page.get_by_role("img", name="Region of").is_visible()
    page.get_by_role("link", name="Whole image").click()
    assert results(page).first.locator(".distance").inner_text() == "0.0000"


def test_duplicates_open(page: Page, windmill: Path) -> None:
    search(page, windmill)
    copies = results(page).first.locator(".duplicates li")
    assert not copies.first.is_visible()
    results(page).first.get_by_text("+3").click()
    assert copies.count() == 3
    assert copies.first.is_visible()


def test_exports_are_downloads(page: Page, windmill: Path, tmp_path: Path) -> None:
    search(page, windmill)
    page.get_by_text("Export").click()
    with page.expect_download() as table:
        page.get_by_role("button", name="First 30 as CSV").click()
    table.value.save_as(tmp_path / "a.csv")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 31


def test_a_refused_file_is_explained(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    search(page, tmp_path / "notes.jpg")
    assert "not an image" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="Search", exact=True).is_visible()


def test_the_collection_and_its_lists(page: Page) -> None:
    page.goto("/collection")
    assert "broken.jpg" in page.get_by_role("region", name="List of skipped files").inner_text()
    page.get_by_role("link", name="213").click()
    assert page.locator(".card").count() == 60
    page.get_by_role("link", name="Next").first.click()
    page.locator(".card a").first.click()
    assert page.get_by_role("link", name="More like this").is_visible()


def test_without_scripts_no_control_that_needs_them_is_shown(page: Page, visitor: Visitor) -> None:
    page.goto("/?image_id=190")
    for control in page.locator(".scripted").all():
        assert not control.is_visible()
    assert visitor.troubles == []
