"""A search with words, in a real browser, with JavaScript and without."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from indexer.config import Config
from tests.browser.conftest import keep, served
from tests.browser.test_quality import PHONE, violations


@pytest.fixture(scope="module")
def address(captioned_config: Config) -> Iterator[str]:
    """A server of twelve photographs, some of which have captions."""
    with served(captioned_config) as address:
        yield address


@pytest.mark.parametrize(
    "visitor", [{}, {**PHONE, "java_script_enabled": False}], ids=["scripted", "unscripted"],
    indirect=True,
)  # fmt: skip
def test_words_find_what_looks_like_the_images_whose_captions_have_them(
    page: Page, request: pytest.FixtureRequest
) -> None:
    page.goto("/")
    page.get_by_label("Words of captions").fill('"surf board"')
    page.get_by_role("button", name="Search with words").click()
    results = page.get_by_role("region", name="Results")
    summary = results.get_by_text("2 captions of 2 images say so; these look like them.")
    expect(summary).to_be_visible()
    expect(results.locator(".card")).to_have_count(12)
    expect(page).to_have_url("/?text=%22surf+board%22")
    keep(page, request, f"words-{request.node.callspec.id}")
    results.locator(".card").nth(5).hover()
    results.get_by_role("button", name="Also like").nth(5).click()
    expect(page.get_by_text("like this, too")).to_be_visible()
    expect(summary).to_be_visible()
    field = page.get_by_label("Words of captions")
    expect(field).to_have_value('"surf board"')
    field.fill("cat")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("No text of an image says cat.")
    expect(page.get_by_label("Words of captions")).to_have_value("cat")


@pytest.mark.parametrize("visitor", [{}, {**PHONE, "color_scheme": "dark"}], indirect=True)
def test_its_pages_are_accessible_and_fit_a_phone(page: Page) -> None:
    for url in ("/", "/?text=dog", "/?text=dog&image_id=4", "/?text=cat"):
        page.goto(url)
        assert violations(page) == [], url
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], url
