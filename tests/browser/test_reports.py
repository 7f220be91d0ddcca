"""The pages of reports in a browser, with and without scripts."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PHONE, Visitor, keep


@pytest.mark.parametrize("visitor", [{}, {"java_script_enabled": False}], indirect=True)
def test_what_is_ticked_is_saved_as_a_list(page: Page, request: pytest.FixtureRequest) -> None:
    page.goto("/collection")
    page.get_by_role("link", name="Duplicates").click()
    group = page.get_by_role("region", name="Group 1")
    keep(page, request, "duplicates")
    chosen = group.get_by_role("checkbox").nth(1)
    name = chosen.evaluate("(one) => one.labels[0].querySelector('.unseen').textContent.trim()")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    chosen.check()
    with page.expect_download() as download:
        page.get_by_role("button", name="List the ticked ones").first.click()
    assert download.value.suggested_filename == "remove.txt"
    assert Path(download.value.path()).read_text() == f"{name}\n"
    expect(chosen).to_be_checked()
    group.get_by_role("link").first.click()
    expect(page.get_by_role("link", name="Has duplicates")).to_be_visible()


@pytest.mark.parametrize("visitor", [{"color_scheme": "dark"}, PHONE], indirect=True)
def test_suspects_are_chosen_by_label(page: Page, request: pytest.FixtureRequest) -> None:
    page.goto("/collection/suspects")
    keep(page, request, f"suspects-{page.viewport_size['width'] if page.viewport_size else 0}")
    count = page.locator(".suspects > li").count()
    page.get_by_role("list", name="Suggested").get_by_role("link").last.click()
    assert 0 < page.locator(".suspects > li").count() < count
    page.get_by_role("list", name="Suggested").locator("[aria-current]").click()
    expect(page.locator(".suspects > li")).to_have_count(count)


def test_below_a_prefix_no_link_leaves_it(browser: Browser, address: str) -> None:
    root = f"{address}/photos/"
    context = browser.new_context()
    visitor = Visitor(context, root)
    page = visitor.page()
    for name in ("duplicates", "suspects", "outliers", "leaks"):
        page.goto(f"{root}collection/{name}")
        links = page.locator("main a").evaluate_all("(all) => all.map((one) => one.href)")
        assert [link for link in links if not link.startswith(root)] == []
    context.close()
    assert visitor.troubles == []
