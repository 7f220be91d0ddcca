"""The page without JavaScript."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visitor, keep

pytestmark = pytest.mark.parametrize("visitor", [{"java_script_enabled": False}], indirect=True)


def results(page: Page) -> Locator:
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
    expect(results(page)).to_have_count(30)
    expect(results(page).first).to_contain_text(windmill.name)
    expect(results(page).first.locator(".similarity")).to_have_text("100 %")
    expect(page.get_by_role("img", name=windmill.name).first).to_be_visible()
    expect(page.get_by_role("contentinfo")).to_contain_text("efficientnet_lite0")
    keep(page, request, "unscripted")


def test_images_lead_on_to_more_like_them_and_back(page: Page) -> None:
    page.goto("/")
    page.get_by_role("region", name="Start").locator(".card a").nth(1).click()
    second = results(page).nth(1).get_by_role("img").first
    name = second.get_attribute("alt")
    assert name
    results(page).nth(1).get_by_role("link", name="More like this").click()
    expect(page.locator("#subject")).to_have_text(name)
    page.go_back()
    expect(second).to_have_attribute("alt", name)


def test_an_upload_has_more_pages_and_the_back_button(page: Page, windmill: Path) -> None:
    search(page, windmill)
    first = results(page).first.inner_text()
    page.get_by_role("button", name="More").last.click()
    expect(results(page).first).not_to_have_text(first, use_inner_text=True)
    expect(page.locator("#subject")).to_have_text(windmill.name)
    results(page).nth(3).get_by_role("link", name="More like this").click()
    page.go_back()
    page.go_back()
    expect(results(page).first).to_have_text(first, use_inner_text=True)
    expect(page.locator("#subject")).to_have_text(windmill.name)


def test_less_like_this_and_its_removal(page: Page, windmill: Path) -> None:
    search(page, windmill)
    results(page).nth(4).get_by_role("button", name="Not like").click()
    examples = page.locator(".examples li")
    expect(examples).to_have_count(1)
    expect(examples).to_contain_text("not like this")
    examples.get_by_role("button", name="Remove").click()
    expect(examples).to_have_count(0)
    expect(results(page).first.locator(".similarity")).to_have_text("100 %")


def test_controls_apply_by_a_button(page: Page) -> None:
    page.goto("/?image_id=190")
    page.get_by_label("Similar by").fill("1")
    page.get_by_label("Search mode", exact=True).select_option("approximate")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile("threshold=1&|threshold=1$"))
    expect(page).to_have_url(re.compile("mode=approximate"))
    expect(page.get_by_role("contentinfo")).to_be_attached()  # the whole page has arrived
    distances = [float(card.get_attribute("data-distance") or "") for card in results(page).all()]
    assert 0 < len(distances) < 30
    assert max(distances) <= 1


def test_a_region_by_numbers(page: Page) -> None:
    page.goto("/?image_id=190")
    page.locator("summary", has_text="Search a region").click()
    page.get_by_role("button", name="Search", exact=True).last.click()
    expect(page).to_have_url(re.compile("crop=0.25"))
    expect(page.get_by_role("img", name="Region of")).to_be_visible()
    page.get_by_role("link", name="Whole image").click()
    expect(page.get_by_role("img", name="Region of")).to_have_count(0)
    expect(page).to_have_url(re.compile("image_id=190$"))


def test_duplicates_open(page: Page, windmill: Path) -> None:
    search(page, windmill)
    copies = results(page).first.locator(".duplicates li")
    expect(copies.first).to_be_hidden()
    results(page).first.get_by_text("+3").click()
    expect(copies).to_have_count(3)
    expect(copies.first).to_be_visible()


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
    expect(page.get_by_role("alert")).to_contain_text("not an image")
    expect(page.get_by_role("button", name="Search", exact=True)).to_be_visible()


def test_the_collection_and_its_lists(page: Page) -> None:
    page.goto("/collection")
    skipped = page.get_by_role("region", name="List of skipped files")
    expect(skipped).to_contain_text("broken.jpg")
    page.get_by_role("link", name="213").click()
    expect(page.locator(".card")).to_have_count(60)
    page.get_by_role("link", name="Next").first.click()
    page.locator(".card a").first.click()
    expect(page.get_by_role("link", name="More like this")).to_be_visible()


def test_without_scripts_no_control_that_needs_them_is_shown(page: Page, visitor: Visitor) -> None:
    page.goto("/?image_id=190")
    for control in page.locator(".scripted").all():
        expect(control).to_be_hidden()
    assert visitor.troubles == []
