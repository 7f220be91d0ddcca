"""Pictures of all kinds in rows and on their own pages, on a desk and on a phone."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from indexer.build import build
from server.web.layout import MIN_ASPECT
from tests.browser.conftest import DESK, PHONE, SIZES, served
from tests.browser.test_crop import crop_of, drag, open_cropper
from tests.browser.test_quality import violations
from tests.conftest import small_config

UNSCRIPTED = {"java_script_enabled": False}
MODEL, DATE_TIME_ORIGINAL, EXIF = 0x0110, 0x9003, 0x8769


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Iterator[str]:
    """A server of twenty photographs and of copies, a tall one, a wide one and a dated one."""
    folder = tmp_path_factory.mktemp("pictures")
    images = folder / "images"
    (images / "copies").mkdir(parents=True)
    for number, photo in enumerate(photos[::11]):
        shutil.copy(photo, images / f"{number:02}.jpg")
    for name in ("again.jpg", "same.jpg"):
        shutil.copy(photos[0], images / "copies" / name)
    with Image.open(photos[0]) as photo:
        photo.save(images / "copies" / "other.jpg", quality=92)
    with Image.open(photos[5]) as photo:
        photo.resize((60, 400)).save(images / "tall.jpg")
        photo.resize((900, 200)).save(images / "wide.jpg")
        exif = Image.Exif()
        exif[MODEL] = "Canon EOS R5"
        exif.get_ifd(EXIF)[DATE_TIME_ORIGINAL] = "2021:05:06 07:08:09"
        photo.save(images / "dated.jpg", exif=exif)
    config = small_config(images, folder / "store")
    build(config)
    with served(config) as address:
        yield address


def place(locator: Locator) -> dict[str, float]:
    found = locator.bounding_box()
    assert found
    return dict(found)


def number(page: Page, key: str) -> int:
    """Return the id of the image with a key."""
    found = page.request.get("/api/v1/images", params={"filter": f"key={key}"}).json()
    return int(found["images"][0]["image_id"])


def cards(page: Page) -> Locator:
    return page.locator(".card")


@pytest.mark.parametrize("visitor", [DESK, PHONE, {**PHONE, **UNSCRIPTED}], indirect=True)
def test_the_pictures_of_a_row_have_one_height(page: Page) -> None:
    """A tall picture leaves no hole in its row, and a wide one has a height."""
    for url in ("/", "/?image_id=1", "/collection/images"):
        page.goto(url)
        rows: dict[int, list[float]] = {}
        for picture in page.locator(".card .picture").all():
            box = place(picture)
            assert MIN_ASPECT - 0.02 < box["width"] / box["height"] < 2.5
            rows.setdefault(round(box["y"]), []).append(box["height"])
        assert len(rows) > 2
        for heights in rows.values():
            assert max(heights) - min(heights) < 2, url


@pytest.mark.parametrize("visitor", [DESK, {**PHONE, **UNSCRIPTED}], indirect=True)
@pytest.mark.parametrize("url", ["/", "/?image_id=1", "/collection/images"])
def test_a_click_on_a_picture_always_opens_its_page(page: Page, url: str) -> None:
    page.goto(url)
    card = cards(page).nth(1)
    name = card.locator(".caption .key").get_attribute("title") or ""
    card.locator(".picture").click()
    expect(page).to_have_url(re.compile(r"/images/\d+"))
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("navigation", name="Results").get_by_role("link").first.click()
    expect(cards(page).locator(f'[title="{name}"]')).to_be_in_viewport()
    card.get_by_role("link", name="More like this").click()
    expect(page.locator("#subject")).to_have_text(name)


@pytest.mark.parametrize("visitor", [DESK, {**PHONE, **UNSCRIPTED}], indirect=True)
def test_previous_and_next_walk_through_the_results(page: Page) -> None:
    """Also from one page of them to the next; the address alone says where one is."""
    page.goto("/?image_id=1&k=4")
    keys = [key.get_attribute("title") for key in page.locator("#results .caption .key").all()][:4]
    more = page.get_by_role("button", name="More", exact=True)
    if more.is_visible() and is_unscripted(page):
        more.click()
        expect(page).to_have_url(re.compile("page=2"))
    else:
        page.mouse.wheel(0, 3000)
        expect(page.locator("#results .card").nth(5)).to_be_attached()
    names = [key.get_attribute("title") for key in page.locator("#results .caption .key").all()]
    seen = keys if is_unscripted(page) else []
    wanted = [*seen, *names][:6]
    page.goto("/?image_id=1&k=4")
    page.locator("#results .picture").first.click()
    heading = page.get_by_role("heading", level=1)
    expect(page.get_by_role("link", name="Previous")).to_have_count(0)
    for name in wanted[:-1]:
        expect(heading).to_have_text(name or "")
        page.get_by_role("link", name="Next").click()
    expect(heading).to_have_text(wanted[-1] or "")
    page.reload()
    page.get_by_role("link", name="Previous").click()
    expect(heading).to_have_text(wanted[-2] or "")
    page.get_by_role("link", name="Back to the results").click()
    expect(page.locator(f'#results [title="{wanted[-2]}"]')).to_be_in_viewport()
    previous = page.get_by_role("link", name="Previous results")
    previous.click()
    expect(page).not_to_have_url(re.compile("page="))
    expect(page.locator("#results .caption .key").first).to_have_attribute("title", wanted[0] or "")
    expect(previous).to_have_count(0)


def is_unscripted(page: Page) -> bool:
    return page.locator(".unscripted").first.is_visible()


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
@pytest.mark.parametrize("name", ["wide.jpg", "tall.jpg"])
def test_regions_of_narrow_pictures_are_fractions_of_them(page: Page, name: str) -> None:
    page.goto(f"/?image_id={number(page, name)}")
    drag(page, open_cropper(page), (0.2, 0.1), (0.7, 0.6))
    page.get_by_role("button", name="Search this region").click()
    page.wait_for_url("**crop=*")
    assert crop_of(page) == pytest.approx([0.2, 0.1, 0.5, 0.5], abs=0.03)


def test_uploads_have_a_way_back_and_on_too(page: Page, photos: list[Path]) -> None:
    """Their results have no address: this tab knows them."""
    page.goto("/")
    page.get_by_label("Search with an image").set_input_files(photos[0])
    keys = page.locator("#results .caption .key")
    expect(keys.nth(5)).to_be_visible()
    names = [key.get_attribute("title") or "" for key in keys.all()]
    page.locator("#results .picture").nth(4).click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(names[4])
    page.get_by_role("link", name="Next").click()
    expect(heading).to_have_text(names[5])
    page.get_by_role("link", name="Previous").click()
    expect(heading).to_have_text(names[4])
    page.get_by_role("link", name="Previous").click()
    expect(heading).to_have_text(names[3])
    page.get_by_role("link", name="Back to the results").click()
    expect(page.locator("#subject")).to_have_text(photos[0].name)
    expect(page.locator(f'#results [title="{names[3]}"]')).to_be_in_viewport()
    page.go_back()
    expect(heading).to_have_text(names[3])
    page.go_forward()
    expect(page.locator("#subject")).to_have_text(photos[0].name)


@pytest.mark.parametrize("visitor", SIZES, indirect=True)
def test_the_page_of_an_image_lists_its_copies(page: Page) -> None:
    page.goto(f"/images/{number(page, 'copies/other.jpg')}")
    copies = page.get_by_role("region", name="Copies").get_by_role("listitem")
    expect(copies).to_have_count(3)
    expect(copies).to_contain_text([re.compile(r"\d+ . \d+, [\d.]+ kB")] * 3)
    expect(copies.get_by_text("identical")).to_have_count(0)
    copies.get_by_role("link").first.click()
    expect(copies.get_by_text("identical")).to_have_count(2)
    assert violations(page) == []
    neighbours = page.get_by_role("region", name="Neighbours").locator(".caption .key")
    expect(neighbours.first).to_be_visible()
    names = neighbours.evaluate_all("(all) => all.map((one) => one.title)")
    assert not {"00.jpg", "copies/again.jpg", "copies/same.jpg", "copies/other.jpg"} & set(names)


@pytest.mark.parametrize("visitor", [DESK, {**PHONE, **UNSCRIPTED}], indirect=True)
def test_the_page_of_a_photograph_says_when_and_with_what(page: Page) -> None:
    page.goto("/?filter=key=dated.jpg")
    page.locator(".card .picture").click()
    about = page.locator(".about")
    expect(about).to_contain_text("2021-05-06")
    expect(about).to_contain_text("Canon EOS R5")


def test_the_name_of_an_image_is_copied(page: Page, visitor: Any) -> None:
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/images/1")
    page.get_by_role("button", name="Copy the name").click()
    expect(page.locator(".links [role=status]")).to_have_text("Copied.")
    name = page.get_by_role("heading", level=1).inner_text()
    assert page.evaluate("navigator.clipboard.readText()") == name


def test_without_a_certificate_the_name_is_copied_too(page: Page, visitor: Any) -> None:
    """Browsers have a clipboard for scripts on https and on this machine only."""
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.add_init_script(
        "const { clipboard } = navigator; window.readClipboard = () => clipboard.readText();"
        "Object.defineProperty(Navigator.prototype, 'clipboard', { value: undefined });"
    )
    page.goto("/images/1")
    page.get_by_role("button", name="Copy the name").click()
    expect(page.locator(".links [role=status]")).to_have_text("Copied.")
    name = page.get_by_role("heading", level=1).inner_text()
    assert page.evaluate("window.readClipboard()") == name


@pytest.mark.parametrize("visitor", [*SIZES, {**PHONE, **UNSCRIPTED}], indirect=True)
def test_near_duplicates_are_shown_on_the_screen(page: Page) -> None:
    page.goto(f"/?image_id={number(page, '00.jpg')}")
    folded = page.locator(".duplicates").filter(has_text="near-duplicates of copies/")
    folded.locator("summary").click()
    shown = folded.locator("ul")
    expect(shown).to_be_in_viewport(ratio=1)
    expect(shown.locator("li")).to_have_count(2)
    expect(shown.locator("li")).to_contain_text([re.compile(r"\d+ . \d+, [\d.]+ kB")] * 2)
    expect(shown.get_by_text("identical")).to_have_count(1)
    folded.locator("summary").click()
    expect(shown).to_be_hidden()


def test_near_duplicates_close_by_escape_and_by_a_click_beside_them(page: Page) -> None:
    page.goto(f"/?image_id={number(page, '00.jpg')}")
    folded = page.locator(".duplicates").filter(has_text="near-duplicates of copies/")
    summary, shown = folded.locator("summary"), folded.locator("ul")
    summary.click()
    shown.get_by_text("identical").click()
    expect(shown).to_be_visible()
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    expect(summary).to_be_focused()
    summary.click()
    expect(shown).to_be_visible()
    page.locator("#subject").click()
    expect(shown).to_be_hidden()
