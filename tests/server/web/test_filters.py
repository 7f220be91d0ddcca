"""Filters and facets on the pages as the server renders them."""

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

import indexer.store.layers
from indexer.build import build
from indexer.config import Config
from indexer.search import Searcher
from indexer.store import MetadataIndex
from server.app import create_app
from server.web.page_state import PageState
from tests.server.helpers import body, form_fields, ready_app
from tests.server.web.test_page_state import keys

FILTERED = "/?image_id=3&filter=folder%3Dcrab&filter=name%3D%22a%2C%20b%22&facets=folder&page=2"
FIELDS = "/api/v1/images?facets=folder"


@pytest.fixture(scope="module")
def folders(demo_config: Config) -> Counter[str]:
    collection = Searcher.open(demo_config).collection
    rows = collection.page_by_key("indexed", offset=0, limit=100)
    return Counter(row.key.rpartition("/")[0] for row in rows)


@pytest.fixture
def folder(folders: Counter[str]) -> str:
    """A folder of at least two of the forty photographs."""
    return folders.most_common(1)[0][0]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """For each field that is counted: whether in all images."""
    calls: list[bool] = []
    facet = MetadataIndex.facet

    def noted(self: MetadataIndex, names: Any, among: Any) -> Any:
        calls.append(among is None)
        return facet(self, names, among)

    monkeypatch.setattr(MetadataIndex, "facet", noted)
    return calls


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages show three values of a field."""
    monkeypatch.setattr("server.web.facets.SHOWN_VALUES", 3)


def chips(page: str) -> dict[str, str]:
    """The texts of the links and buttons to filter by, and where they lead or what they send."""
    page = re.sub(r'<ul class="chips" aria-label="Fields.*?</ul>', "", page, flags=re.S)
    page = page.replace('<b aria-hidden="true">\N{MULTIPLICATION SIGN}</b>', "")
    found = re.findall(r'<(?:a|button) ([^>]*class="chip[^>]*)>(.*?)</(?:a|button)>', page, re.S)
    return {
        " ".join(unescape(re.sub(r"<[^>]*>", "", text)).split()): unescape(
            re.findall(r'(?:href|value)="([^"]*)"', attributes)[0]
        )
        for attributes, text in found
    }


def with_query(path: str, query: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{query}"


def test_a_url_has_the_filter() -> None:
    state = PageState.parse(MultiDict(parse_qsl(urlsplit(FILTERED).query)), {})
    assert state.filter == ("folder=crab", 'name="a, b"')
    assert PageState.parse(MultiDict(parse_qsl(urlsplit(state.url()).query)), {}) == state
    assert state.selection().filter == state.filter
    assert state.toggled("folder=crab").url() == (
        "/?image_id=3&filter=name=%22a,+b%22&facets=folder"
    )
    assert state.toggled("width>1").filter == (*state.filter, "width>1")
    assert state.like(7).url() == "/?image_id=7&filter=folder=crab&filter=name=%22a,+b%22"
    assert PageState.parse(
        MultiDict([("filter", " "), ("filter", "a=1"), ("filter", " a=1")]), {}
    ) == (PageState(filter=("a=1",)))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("path", ["/", "/?image_id=1", "/collection", "/collection/images"])
def test_values_are_links_that_add_and_remove_a_clause(
    client: FlaskClient, folders: Counter[str], folder: str, path: str
) -> None:
    shown = chips(client.get(path).text)
    values = body(client.get(FIELDS))["facets"]["folder"]["values"]
    assert list(shown)[:3] == [f"{one['value']} {one['count']}" for one in values[:3]]
    assert list(shown)[3:] == [f"{len(folders) - 3} more"]
    filtered = client.get(shown[f"{folder} {folders[folder]}"]).text
    assert "Remove all" not in filtered
    assert f'data-filter="folder={folder}"' in filtered
    assert set(chips(filtered)) == {
        f"folder={folder}", f"{folder} {folders[folder]}",
    }  # fmt: skip
    assert set(chips(filtered).values()) == {path}
    narrower = client.get(with_query(path, f"filter=folder={folder}&filter=width>1"))
    assert chips(narrower.text)["Remove all"] == path


def test_only_what_passes_is_shown_and_the_filter_carries_over(
    client: FlaskClient, folders: Counter[str], folder: str
) -> None:
    clause, n = f"filter=folder={folder}", folders[folder]
    start = client.get(f"/?{clause}").text
    assert f"{n} images that pass" in start
    assert {key.rpartition("/")[0] for key in keys(start)} == {folder}
    results = client.get(f"/?image_id=1&{clause}").text
    own_key = client.get("/api/v1/images/1").json["key"]  # type: ignore[index]
    assert sorted(keys(results)) == [key for key in sorted(keys(start)) if key != own_key]
    links = [
        unescape(link)
        for link in re.findall(r'href="(/(?:images/|\?image_id)[^"]*)"', start + results)
    ]
    assert len(links) >= 3 * n
    without = [link for link in links if clause not in link]
    assert without == ["/?image_id=1"] * 2  # the chips that remove the clause
    listed = client.get(f"/collection/images?{clause}").text
    assert (keys(listed), f"<h1>{n} images</h1>" in listed) == (sorted(keys(start)), True)
    own = client.get(f"/images/1?image_id=2&{clause}").text
    assert {key.rpartition("/")[0] for key in keys(own)} == {folder}
    assert chips(own)[f"folder={folder}"] == "/images/1?image_id=2"
    assert f'name="filter" value="folder={folder}"' in own  # of the form for an upload
    table = client.get(f"/export.csv?image_id=1&count=40&{clause}").text
    assert len(table.splitlines()) == 1 + n
    pages = client.get("/collection/images?filter=width>1&filter=height>1").text
    assert "page=2" not in pages
    assert f"{n}</a>" in client.get(f"/collection?{clause}").text


def test_lists_have_pages_that_keep_the_filter(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.web.collection.IMAGES_PER_PAGE", 30)
    for clause in ("", "filter=width>1"):
        first = client.get(f"/collection/images?{clause}").text
        (link,) = set(re.findall(r'href="([^"]*page=2)"', first))
        second = client.get(unescape(link)).text
        assert len(keys(first)) + len(keys(second)) == 40
        assert not set(keys(first)) & set(keys(second))


@pytest.mark.usefixtures("few")
def test_more_values_of_a_field_and_back(client: FlaskClient, folders: Counter[str]) -> None:
    more = chips(client.get("/?image_id=1").text)[f"{len(folders) - 3} more"]
    assert more == "/?image_id=1&facets=folder"
    shown = chips(client.get(more).text)
    assert len(shown) == len(folders) + 1
    assert shown["Other fields"] == "/?image_id=1"
    for path in ("/", "/?image_id=1", "/collection", "/collection/images"):
        every = client.get(with_query(path, "facets=width,format")).text
        assert re.findall(r'class="chips" aria-label="([a-z]*)"', every) == ["width", "format"]
        wrong = client.get(with_query(path, "facets=colour"))
        assert (wrong.status_code, "No image has a field colour" in wrong.text) == (422, True)


@pytest.mark.parametrize("path", ["/", "/?image_id=1", "/collection", "/collection/images"])
def test_a_typed_filter_is_added_or_explained_beside_its_field(
    client: FlaskClient, path: str
) -> None:
    ask = with_query(path, "filter=width>1&add_filter=")
    added = client.get(f"{ask}height%3E=1")
    assert added.status_code == 302
    assert added.location == with_query(path, "filter=width%3E1&filter=height%3E=1")
    assert client.get(ask).location == with_query(path, "filter=width%3E1")
    wrong = client.get(f"{ask}height%3E=<tall")
    assert wrong.status_code == 200
    assert 'value="height&gt;=&lt;tall"' in wrong.text
    assert re.search(r'id="filter-error" role="alert">height&gt;=&lt;tall', wrong.text)
    assert chips(wrong.text)["width>1"]
    assert keys(wrong.text) or path == "/collection"
    many = with_query(path, "&".join(f"filter=width>{n}" for n in range(16)))
    assert "the limit is 16" in client.get(f"{many}&add_filter=width>17").text


def test_a_wrong_filter_in_the_address_can_be_removed(client: FlaskClient) -> None:
    page = client.get("/?image_id=1&filter=colour=red&filter=width>1")
    assert (page.status_code, "No image has a field colour" in page.text) == (422, True)
    assert chips(page.text)["colour=red"] == "/?image_id=1&filter=width%3E1"
    page = client.get("/collection/images?filter=width")
    assert chips(page.text)["width"] == "/collection/images"
    assert chips(client.get("/?image_id=x&filter=width").text) == {}


def test_a_filter_that_nothing_passes_says_so(client: FlaskClient) -> None:
    for path in ("/?", "/?image_id=1&", "/collection/images?"):
        assert "No image passes all filters" in client.get(f"{path}filter=width=1").text
    assert "No other image passes all filters" in client.get("/images/1?filter=width=1").text


@pytest.mark.usefixtures("few")
def test_an_upload_keeps_its_filter_in_the_form(
    client: FlaskClient, photos: list[Path], folders: Counter[str], folder: str
) -> None:
    clause = f"folder={folder}"
    first = client.post("/", data={"image": photos[0].open("rb"), "filter": clause}).text
    assert len(keys(first)) == folders[folder]
    assert chips(first)[f"{clause}"] == clause
    assert f'name="remove_filter" value="{clause}"' in first
    fields = form_fields(first)
    assert fields.getlist("filter") == [clause]
    fields.add("remove_filter", clause)
    whole = client.post("/", data=fields).text
    assert len(keys(whole)) == 30
    more = chips(whole)[f"{len(folders) - 3} more"]
    fields = form_fields(whole)
    fields.add("facets", more)
    every = client.post("/", data=fields).text
    assert len(chips(every)) == len(folders) + 1
    fields = form_fields(every)
    fields.add("facets", chips(every)["Other fields"])
    fields.add("add_filter", "width>=wide")
    wrong = client.post("/", data=fields).text
    assert "width holds numbers" in wrong
    assert f"{len(folders) - 3} more" in chips(wrong)
    fields.setlist("add_filter", [clause])
    assert len(keys(client.post("/", data=fields).text)) == folders[folder]


def test_what_no_page_shows_is_not_counted(
    demo_config: Config, counted: list[bool], folder: str
) -> None:
    """All images are counted once for a version; those that pass a filter, for a first page."""
    client = create_app(demo_config).test_client()
    for path in ("/", "/?image_id=1", "/collection", "/collection/images", "/?image_id=1&page=2"):
        client.get(path)
    assert counted == [True]
    client.get("/?image_id=1&filter=width>1&k=5")
    assert counted == [True, False]
    client.get("/?image_id=1&filter=width>1&k=5&page=2")
    client.get("/images/1?filter=width>1")
    assert counted == [True, False]


def test_an_older_index_has_no_filters(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(indexer.store.layers, "write_index", lambda connection: None)
        build(config)
    client = ready_app(config).test_client()
    for path in ("/", "/?image_id=1", "/collection", "/collection/images", "/images/1"):
        page = client.get(path)
        assert (page.status_code, chips(page.text), "add_filter" in page.text) == (200, {}, False)
    for asked in ("filter=width>1", "facets=width", "add_filter=width>1"):
        page = client.get(f"/?image_id=1&{asked}")
        assert (page.status_code, "lookalike index" in page.text) == (409, True)
