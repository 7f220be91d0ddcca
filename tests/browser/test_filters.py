"""Filters on the page, on a desk and on a phone, with and without JavaScript."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
UNSCRIPTED = {"java_script_enabled": False}

everywhere = pytest.mark.parametrize(
    "visitor", [DESK, PHONE, {**DESK, **UNSCRIPTED}, {**PHONE, **UNSCRIPTED}], indirect=True
)
with_and_without_scripts = pytest.mark.parametrize(
    "visitor", [DESK, {**PHONE, **UNSCRIPTED}], indirect=True
)


def results(page: Page) -> Locator:
    return page.get_by_role("region", name="Results").locator(".card")


def active(page: Page) -> Locator:
    return page.get_by_role("list", name="Active filters").locator("[data-filter]")


def open_filters(page: Page) -> None:
    """Open the filters, which scripts do where they have a place beside the results."""
    expect(page.get_by_role("contentinfo")).to_be_attached()  # the whole page is there
    filters = page.locator(".facets")
    if filters.get_attribute("open") is None:
        filters.locator("summary").click()
    expect(page.get_by_label("Add a filter")).to_be_visible()


def value(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="folder").locator(".chip", has_text=name)


@everywhere
def test_a_filter_carries_over_until_it_is_removed(page: Page) -> None:
    page.goto("/")
    value(page, "windmill").click()
    expect(active(page)).to_have_text([re.compile("folder=windmill")])
    expect(page).to_have_url(re.compile(r"/\?filter=folder=windmill$"))
    shown = page.locator(".card .key")
    expect(shown.first).to_have_attribute("title", re.compile("^windmill/"))
    page.get_by_role("link", name="More like this").first.click()
    expect(results(page).first.locator(".similarity")).to_have_text("100 %")
    expect(page).to_have_url(re.compile(r"image_id=\d+&filter=folder=windmill$"))
    results(page).nth(1).get_by_role("button", name="Also like").click()
    expect(page.locator(".examples li")).to_have_count(1)
    expect(active(page)).to_have_count(1)
    results(page).nth(2).locator(".picture").click()
    expect(page.get_by_role("link", name="Back to the results")).to_be_visible()
    expect(active(page)).to_have_count(1)
    page.get_by_role("link", name="Back to the results").click()
    keys = results(page).locator(".caption .key")
    expect(keys.first).to_be_visible()
    found = keys.evaluate_all("(all) => all.map((one) => one.title)")
    assert len(found) > 3
    assert {key.split("/")[0] for key in found} == {"windmill"}
    page.get_by_role("link", name="Remove the filter folder=windmill").click()
    expect(active(page)).to_have_count(0)
    expect(page).not_to_have_url(re.compile("filter="))
    expect(results(page)).to_have_count(29)


@everywhere
def test_a_typed_filter_is_added_or_explained(page: Page) -> None:
    page.goto("/?image_id=190&not=60")
    open_filters(page)
    field = page.get_by_label("Add a filter")
    field.fill("width>=wide")
    field.press("Enter")  # the form's default button, not the first one that removes an example
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("width holds numbers")
    expect(field).to_have_value("width>=wide")
    expect(page.locator(".examples li")).to_have_count(1)
    field.fill("width>=100")
    field.press("Enter")
    expect(active(page)).to_have_text([re.compile("width>=100")])
    expect(page).to_have_url(re.compile(r"image_id=190&not=60&filter=width%3E=100(&mode=exact)?$"))
    expect(field).to_have_value("")
    field.fill("format=JPEG")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(active(page)).to_have_count(2)
    page.get_by_role("link", name="Remove all").click()
    expect(active(page)).to_have_count(0)
    expect(page).to_have_url(re.compile(r"image_id=190&not=60(&mode=exact)?$"))


@with_and_without_scripts
def test_an_upload_is_filtered_by_buttons(page: Page, windmill: Path) -> None:
    page.goto("/?filter=folder=windmill")
    page.get_by_label("Search with an image").set_input_files(windmill)
    search = page.get_by_role("button", name="Search", exact=True)
    if search.is_visible():
        search.click()
    expect(page.locator("#subject")).to_have_text(windmill.name)
    expect(active(page)).to_have_count(1)
    page.get_by_role("button", name="Remove the filter folder=windmill").click()
    expect(active(page)).to_have_count(0)
    expect(results(page)).to_have_count(30)
    open_filters(page)
    value(page, "animal").click()
    expect(active(page)).to_have_text([re.compile("folder=animal")])
    expect(results(page).first.locator(".key")).to_have_attribute("title", re.compile("^animal/"))
    field = page.get_by_label("Add a filter")
    field.fill("width>=wide")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("width holds numbers")
    expect(page.locator("#subject")).to_have_text(windmill.name)


@with_and_without_scripts
def test_the_list_and_more_values(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.web.facets.SHOWN_VALUES", 5)
    page.goto("/collection")
    values = page.get_by_role("list", name="folder").get_by_role("link")
    expect(values).to_have_count(6)
    values.last.click()
    expect(page).to_have_url(re.compile("facets=folder"))
    expect(values).to_have_count(8)
    value(page, "windmill").click()
    expect(active(page)).to_have_count(1)
    page.locator(".counts div", has_text="Pass the filter").get_by_role("link").click()
    expect(page.locator(".card .key").first).to_have_attribute("title", re.compile("^windmill/"))
    expect(active(page)).to_have_count(1)


def test_what_is_being_typed_does_not_filter_further_results(page: Page) -> None:
    page.goto("/?image_id=190")
    open_filters(page)
    field = page.get_by_label("Add a filter")
    field.fill("width=1")
    page.mouse.wheel(0, 4000)
    expect(results(page).nth(40)).to_be_attached()
    expect(field).to_have_value("width=1")
    expect(page).to_have_url(re.compile("image_id=190$"))


def test_a_region_keeps_the_filter(page: Page) -> None:
    page.goto("/?image_id=190&filter=folder=animal")
    page.locator("#crop").click()
    page.get_by_label("Region: arrow keys").press("ArrowLeft")
    page.get_by_role("button", name="Search this region").click()
    expect(page.get_by_role("img", name="Region of")).to_be_visible()
    expect(active(page)).to_have_count(1)
    expect(page).to_have_url(re.compile("filter=folder=animal"))
