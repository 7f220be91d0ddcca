"""The pages behind a proxy that adds a path prefix: no link leaves it."""

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor
from tests.browser.test_scripted import choose, results


def test_below_a_prefix_scripts_keep_it(browser: Browser, address: str, windmill: Path) -> None:
    """Uploads, examples, endless results, regions, the map, filters, the API's page, and Back."""
    root = f"{address}/photos/"
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    visitor = Visitor(context, root)
    page = visitor.page()
    page.goto(root)
    choose(page, windmill)
    expect(page).to_have_url(root)
    results(page).nth(1).get_by_role("link", name="More like this").click()
    expect(page).to_have_url(re.compile(f"{re.escape(root)}\\?image_id="))
    results(page).nth(3).get_by_role("button", name="Also like").click()
    expect(page).to_have_url(re.compile(f"{re.escape(root)}\\?image_id=.*&image_id="))
    page.get_by_role("button", name="More", exact=True).scroll_into_view_if_needed()
    expect(results(page).nth(40)).to_be_attached()
    page.go_back()
    page.go_back()
    expect(page.locator("#subject")).to_have_text(windmill.name)
    page.goto(f"{root}collection")
    page.wait_for_load_state("networkidle")
    page.locator("#map").press("Enter")
    expect(page).to_have_url(re.compile(f"{re.escape(root)}images/"))
    page.goto(f"{root}collection?colour=folder")
    page.get_by_role("region", name="Map").get_by_role("link", name="windmill").click()
    expect(page).to_have_url(f"{root}collection?filter=folder=windmill&colour=folder")
    page.wait_for_function("() => document.getElementById('map').dataset.visible < 60")
    page.get_by_role("link", name="Remove the filter").click()
    expect(page).to_have_url(f"{root}collection?colour=folder")
    page.goto(f"{root}docs")
    expect(page.locator(".opblock").first).to_be_visible()
    context.close()
    assert visitor.troubles == []
