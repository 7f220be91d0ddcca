"""The page with JavaScript: choosing, dropping, pasting, cropping, going back."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Visitor, keep


def results(page: Page) -> Locator:
    return page.locator("#results .card")


def choose(page: Page, photo: Path) -> None:
    page.get_by_label("Search with an image").set_input_files(photo)
    expect(page.locator("#subject")).to_have_text(photo.name)


HAND_OVER = """([name, base64, kind]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const fire = (Kind, type, content) => document.querySelector("main").dispatchEvent(
    new Kind(type, { bubbles: true, cancelable: true, ...content }));
  if (kind === "paste") return fire(ClipboardEvent, "paste", { clipboardData: transfer });
  fire(DragEvent, "dragover", { dataTransfer: transfer });
  const shown = document.body.classList.contains("dropping");
  fire(DragEvent, "drop", { dataTransfer: transfer });
  return shown && !document.body.classList.contains("dropping");
}"""


def hand_over(page: Page, photo: Path, kind: str) -> object:
    import base64

    content = base64.b64encode(photo.read_bytes()).decode()
    return page.evaluate(HAND_OVER, [photo.name, content, kind])


def test_a_chosen_file_is_searched_without_a_page_load(
    page: Page, windmill: Path, request: pytest.FixtureRequest
) -> None:
    page.goto("/")
    choose(page, windmill)
    expect(results(page).first.locator(".similarity")).to_have_text("100 %")
    expect(page).to_have_title(re.compile(re.escape(windmill.name)))
    page.wait_for_timeout(300)
    keep(page, request, "search")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_can_be_dropped_anywhere_or_pasted(page: Page, windmill: Path, kind: str) -> None:
    page.goto("/collection")
    page.goto("/?image_id=5")
    shown = hand_over(page, windmill, kind)
    expect(page.locator("#subject")).to_have_text(windmill.name)
    expect(results(page).first.locator(".similarity")).to_have_text("100 %")
    assert kind == "paste" or shown


def test_back_and_forward_between_uploads_and_urls(
    page: Page, windmill: Path, photos: list[Path]
) -> None:
    page.goto("/?image_id=5")
    subject = page.locator("#subject")
    before = subject.inner_text()
    choose(page, windmill)
    choose(page, photos[8])
    page.go_back()
    expect(subject).to_have_text(windmill.name)
    page.go_back()
    expect(subject).to_have_text(before)
    page.go_forward()
    expect(subject).to_have_text(windmill.name)
    results(page).nth(2).get_by_role("link", name="More like this").click()
    page.wait_for_url("**/?image_id=*")
    page.go_back()
    expect(subject).to_have_text(windmill.name)
    page.reload()
    expect(subject).to_have_text(windmill.name)


def test_examples_are_added_and_removed_and_in_the_url(page: Page) -> None:
    page.goto("/?image_id=190")
    results(page).nth(3).get_by_role("button", name="Also like").click()
    examples = page.locator(".examples li")
    expect(examples).to_have_count(1)
    results(page).nth(9).get_by_role("button", name="Not like").click()
    expect(examples).to_have_count(2)
    expect(page).to_have_url(re.compile(r"image_id=190&image_id=\d+&.*not=\d+"))
    expect(page).not_to_have_url(re.compile("threshold"))
    examples.last.get_by_role("button", name="Remove").click()
    expect(examples).to_have_count(1)
    expect(page).not_to_have_url(re.compile("not=|drop="))
    page.go_back()
    expect(examples).to_have_count(2)


def test_the_threshold_hides_results_at_once_and_then_searches(page: Page) -> None:
    page.goto("/?image_id=190")
    slider = page.get_by_label("Similar by")
    slider.evaluate(
        "(s) => { s.value = 1.1; s.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    similar, near = page.locator("output[for=threshold]").all()
    expect(similar).to_have_text("39 % and more")
    words = "nearer than [0-9.]+ % of all pairs"
    expect(near).to_have_text(re.compile(words))
    shown = results(page).locator("visible=true").count()
    assert 0 < shown < results(page).count()
    slider.evaluate("(s) => s.dispatchEvent(new Event('change', {bubbles: true}))")
    page.wait_for_url("**threshold=1.1*")
    expect(slider).to_be_focused()
    distances = [card.get_attribute("data-distance") for card in results(page).all()]
    assert all(float(distance or "") <= 1.1 for distance in distances)


def test_the_keyboard_moves_the_threshold(page: Page) -> None:
    page.goto("/?image_id=190")
    slider = page.get_by_label("Similar by")
    farthest = float(slider.get_attribute("max") or "")
    assert farthest < 2, "it ends at the farthest image"
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**threshold={farthest - 0.03:g}*")


def test_modes_and_duplicates_take_effect_at_once(page: Page) -> None:
    page.goto("/?image_id=190")
    page.get_by_label("Search mode", exact=True).select_option("approximate")
    page.wait_for_url("**mode=approximate*")
    page.get_by_label("Show duplicates separately").check()
    page.wait_for_url("**duplicates=show*")
    expect(page.get_by_label("Show duplicates separately")).to_be_checked()


def test_results_are_endless(page: Page) -> None:
    page.goto("/?image_id=190&duplicates=show")
    for _ in range(20):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(100)
        if results(page).count() == 212:
            break
    expect(results(page)).to_have_count(212)
    keys = results(page).locator(".caption .key").evaluate_all("(all) => all.map((e) => e.title)")
    assert len(set(keys)) == 212
    expect(page.locator("#next")).to_have_count(0)


def test_back_from_another_page_restores_the_scroll_position(page: Page) -> None:
    page.goto("/?image_id=190")
    page.mouse.wheel(0, 3000)
    expect(results(page).nth(55)).to_be_attached()
    results(page).nth(50).locator(".picture").click()
    page.wait_for_url("**/images/*")
    page.go_back()
    expect(results(page).nth(55)).to_be_attached()


def test_further_results_of_an_upload_do_not_send_it_again(page: Page, windmill: Path) -> None:
    page.goto("/")
    choose(page, windmill)
    with page.expect_request(lambda r: r.method == "POST") as request:
        page.mouse.wheel(0, 4000)
    assert len(request.value.post_data_buffer or b"") < 60_000
    assert b'name="image"' not in (request.value.post_data_buffer or b"")
    expect(results(page).nth(40)).to_be_attached()


def test_one_image_has_a_page_of_its_own(page: Page, request: pytest.FixtureRequest) -> None:
    page.goto("/?image_id=190")
    results(page).nth(2).locator(".picture").click()
    page.wait_for_url("**/images/*")
    expect(page.locator("figcaption")).to_contain_text("similar to the query")
    keep(page, request, "image")
    page.get_by_role("link", name="Back to the results").click()
    page.wait_for_url("**/?image_id=190#i*")


def test_errors_keep_the_page_usable(
    page: Page, visitor: Visitor, windmill: Path, tmp_path: Path
) -> None:
    page.goto("/")
    alert = page.get_by_role("alert")
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if r.method == "POST" else None)
    (tmp_path / "large.jpg").write_bytes(bytes(1_000_001))
    page.get_by_label("Search with an image").set_input_files(tmp_path / "large.jpg")
    expect(alert).to_contain_text("the limit is 1.0 MB")
    assert asked == []
    (tmp_path / "fits.jpg").write_bytes(windmill.read_bytes().ljust(1_000_000, b"\0"))
    choose(page, tmp_path / "fits.jpg")
    visitor.expected = "415"
    (tmp_path / "notes.jpg").write_text("no image")
    page.get_by_label("Search with an image").set_input_files(tmp_path / "notes.jpg")
    expect(alert).to_contain_text("not an image")
    visitor.expected = "ERR_"
    page.context.set_offline(True)
    page.get_by_label("Search with an image").set_input_files(windmill)
    expect(alert.first).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    choose(page, windmill)
    expect(alert).to_have_count(0)


def test_an_answer_that_comes_too_late_is_not_shown(page: Page, windmill: Path) -> None:
    """Back is pressed again before the page is there that it led to."""
    page.goto("/")
    choose(page, windmill)
    subject = page.locator("#subject")
    for _ in range(2):
        expect(subject).to_be_visible()
        before = subject.inner_text()
        results(page).nth(1).get_by_role("link", name="More like this").click()
        expect(subject).not_to_have_text(before)
    late: list[Route] = []
    page.route("**/?image_id=*", lambda route: late.append(route))
    page.go_back()
    page.go_back()
    expect(subject).to_have_text(windmill.name)
    assert len(late) == 1
    late[0].continue_()
    page.wait_for_timeout(500)
    expect(subject).to_have_text(windmill.name)


def test_back_on_the_page_restores_the_scroll_position(page: Page) -> None:
    page.goto("/?image_id=190")
    page.mouse.wheel(0, 3000)
    expect(results(page).nth(58)).to_be_attached()
    link = results(page).nth(45).get_by_role("link", name="More like this")
    link.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    before, subject = page.evaluate("scrollY"), page.locator("#subject").inner_text()
    page.evaluate("() => { window.sameDocument = true; }")
    link.click()
    page.wait_for_url(lambda url: not url.endswith("=190"))
    expect(page.locator("#subject")).not_to_have_text(subject)
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page).to_have_url(re.compile("image_id=190"))
    page.wait_for_function("before => Math.abs(scrollY - before) < 5", arg=before)
    assert page.evaluate("window.sameDocument")
    expect(results(page).nth(58)).to_be_attached()


def test_what_a_proxy_answers_in_html_is_shown_as_an_error(
    page: Page, visitor: Visitor, windmill: Path
) -> None:
    """The page is kept, with what the title of the proxy's page says."""
    html = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

    def refuse(route: Route) -> None:
        route.fulfill(status=502, body=html, content_type="text/html")

    visitor.expected = "server responded with a status of"
    page.goto("/?image_id=190")
    subject = page.locator("#subject").inner_text()
    page.route("**/*page=2", refuse)
    page.mouse.wheel(0, 4000)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("502 Bad Gateway. Press More to try again.")
    page.unroute("**/*page=2")
    page.get_by_role("button", name="More", exact=True).click()
    expect(results(page).nth(40)).to_be_attached()
    page.route("**/", refuse)
    page.get_by_label("Search with an image").set_input_files(windmill)
    expect(alert).to_contain_text("a proxy before it, answered with an error: 502 Bad Gateway.")
    expect(page.locator("#subject")).to_have_text(subject)
    page.unroute("**/")
    refusal = {"error": {"message": "The request is too large.", "hint": "Send less."}}
    page.route("**/", lambda route: route.fulfill(status=413, json=refusal))
    page.get_by_label("Search with an image").set_input_files(windmill)
    expect(alert).to_have_text("The request is too large. Send less.")
    page.unroute("**/")
    choose(page, windmill)
    expect(alert).to_have_count(0)


def test_the_skip_link_stays_on_the_page(page: Page, windmill: Path) -> None:
    page.goto("/")
    choose(page, windmill)
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
    page.wait_for_load_state("networkidle")
    expect(page.locator("#subject")).to_have_text(windmill.name)
    page.reload()
    expect(page.locator("#subject")).to_have_text(windmill.name)


def test_back_to_the_map_shows_it(page: Page, windmill: Path) -> None:
    page.goto("/collection")
    choose(page, windmill)
    page.go_back()
    expect(page.locator("#map")).to_have_attribute("data-visible", re.compile(r"\d+"))
