"""What takes long shows itself: an encoder that is being loaded, an index that is being built."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from indexer.build import build
from indexer.config import Config
from indexer.encoders import Encoder
from indexer.search.query_encoder import QueryEncoder
from indexer.store import Store, open_writer
from server.app import create_app
from tests.browser.conftest import Visitor, running
from tests.browser.test_quality import violations
from tests.waiting import eventually

SOON_MS = 20_000
INTERVAL_MS = 2_000
"""Of waiting.js."""


@pytest.fixture
def may_load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Encoders are loaded once this is called."""
    go, load = threading.Event(), QueryEncoder.open

    def wait(encoder: QueryEncoder) -> Encoder:
        go.wait()
        return load(encoder)

    monkeypatch.setattr(QueryEncoder, "open", wait)
    yield go.set
    go.set()


@pytest.fixture
def address(config: Config, may_load: Callable[[], None]) -> Iterator[str]:
    """A server that begins without an index and without an encoder."""
    with running(create_app(config)) as address:
        yield address


def test_the_page_waits_for_an_index_and_an_encoder(
    page: Page, visitor: Visitor, config: Config, may_load: Any
) -> None:
    visitor.expected = "503"
    page.clock.install()
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("The index cannot be opened")
    with open_writer(Store(config.store)) as writer:
        writer.note_progress(1200, 5000)
        waiting = page.locator("#waiting")
        page.clock.fast_forward(INTERVAL_MS)
        expect(waiting).to_contain_text("1,200 of 5,000 files are read.")
        writer.note_progress(1300, 5000)
        page.clock.fast_forward(INTERVAL_MS)
        expect(waiting).to_contain_text("1,300 of 5,000")
        assert violations(page) == []
    build(config)
    page.clock.fast_forward(INTERVAL_MS)
    loading = page.get_by_text("The encoder is still loading.")
    expect(loading).to_be_visible(timeout=SOON_MS)
    expect(page.get_by_role("region", name="Start")).to_be_visible()
    expect(page.get_by_text("being built")).to_have_count(0)
    assert violations(page) == []
    may_load()
    page.clock.resume()
    expect(loading).to_have_count(0, timeout=SOON_MS)
    expect(page.get_by_role("region", name="Start")).to_be_visible()


def test_it_asks_less_often_while_nothing_changes(page: Page, config: Config) -> None:
    build(config)
    page.add_init_script(
        """const set = setTimeout; window.waits = [];
        window.setTimeout = (call, ms) => { waits.push(ms); return set(call, ms / 100); }"""
    )
    page.goto("/")
    expect(page.get_by_text("The encoder is still loading.")).to_be_visible()
    eventually(lambda: 30_000 in page.evaluate("waits"))
    waits = [ms for ms in page.evaluate("waits") if ms >= INTERVAL_MS]
    assert waits[:3] == [2_000, 3_000, 4_500]
    assert max(waits) == 30_000


@pytest.mark.parametrize("visitor", [{"java_script_enabled": False}], indirect=True)
def test_without_scripts_the_page_says_so_when_it_is_loaded_again(
    page: Page, config: Config, may_load: Any
) -> None:
    build(config)
    with open_writer(Store(config.store)) as writer:
        writer.note_progress(7, 9)
        for url in ("/", "/collection"):
            page.goto(url)
            expect(page.locator("#waiting")).to_contain_text("7 of 9 files are read.")
    page.goto("/")
    expect(page.locator("#waiting")).to_contain_text("The encoder is still loading.")
    expect(page.locator("#waiting")).not_to_contain_text("being built")
