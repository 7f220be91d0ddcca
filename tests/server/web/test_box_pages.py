"""The pages of an index of boxes."""

import re

import pytest
from flask.testing import FlaskClient

from indexer.config import Config
from indexer.images import Box
from indexer.search import Hit, ImageRow, Searcher
from server.web.layout import boxes_on, on_top, rectangle
from tests.server.helpers import ready_app


@pytest.fixture(scope="module")
def client(boxes_config: Config) -> FlaskClient:
    return ready_app(boxes_config).test_client()


@pytest.fixture(scope="module")
def ids(boxes_config: Config) -> dict[str, int]:
    collection = Searcher.open(boxes_config).collection
    return {row.key: row.id for row in collection.page_by_key("indexed", offset=0, limit=99)}


def linked(page: str) -> list[int]:
    """The ids of the boxes that are drawn, in order."""
    return [int(number) for number in re.findall(r'\?image_id=(\d+)"[^>]*><rect', page)]


def test_results_show_the_boxes_on_their_pictures(client: FlaskClient, ids: dict[str, int]) -> None:
    page = client.get(f"/?image_id={ids['1.jpg#box=12']}").text
    assert page.count('class="boxes"') == page.count('class="similarity"') == 4
    assert page.count('class="own"') == 4
    others = sorted({*ids.values()} - {ids["1.jpg#box=12"]})
    assert sorted(linked(page)) == others, "those that fold are drawn, too; the query's own is not"
    assert page.count("whole=true") == 4
    assert "<span>corner</span>" in page


def test_all_boxes_of_a_picture_can_be_listed(client: FlaskClient, ids: dict[str, int]) -> None:
    page = client.get(f"/?image_id={ids['1.jpg#box=12']}&duplicates=show").text
    assert page.count('class="similarity"') == 11
    assert "boxes of a picture separately" in page


def test_the_page_of_a_box_shows_the_others_in_its_picture(
    client: FlaskClient, ids: dict[str, int]
) -> None:
    page = client.get(f"/images/{ids['1.jpg#box=12']}").text
    picture = page[: page.index("Most similar boxes")]
    assert linked(picture) == [ids[f"1.jpg#box={n}"] for n in (11, 10, 12)], "small ones on top"
    assert len(re.findall(r'<rect class="own" x="\d+\.\d" y="\d+\.\d"', picture)) == 1
    assert "More like this: wider" in picture


def test_an_index_of_boxes_says_so(client: FlaskClient) -> None:
    assert "the most similar of 12 boxes" in client.get("/").text
    page = client.get("/collection/images").text
    assert "12 boxes of the collection" in page
    assert page.count('class="boxes"') == 12


def test_an_index_of_images_has_no_frames(demo_config: Config) -> None:
    client = ready_app(demo_config).test_client()
    for address in ("/", "/?image_id=1", "/images/1"):
        page = client.get(address).text
        assert "whole=" not in page
        assert "boxes" not in page


def row(key: str, box: Box | None) -> ImageRow:
    return ImageRow(key, width=200, height=100, box=box, id=len(key))


def test_a_box_in_pixels_is_never_thinner_than_one() -> None:
    assert rectangle(row("a", None)) == (0, 0, 200, 100)
    assert rectangle(row("a#box=1", Box(0.25, 0.5, 0.125, 0.5))) == (50, 50, 25, 50)
    assert rectangle(row("a#box=1", Box(0.25, 0.5, 1e-7, 1e-7)))[2:] == (1, 1)


def test_only_boxes_in_the_same_picture_are_drawn_on_it() -> None:
    large, small = row("a#box=1", Box(0, 0, 1, 1)), row("a#box=23", Box(0, 0, 0.5, 0.5))
    other = row("b#box=456", Box(0, 0, 1, 1))
    hits = [Hit(rank, image, 0.1) for rank, image in enumerate((large, other), 2)]
    assert boxes_on(small, Hit(1, small, 0, hits)) == [large, small]
    assert boxes_on(row("a", None), None) == []
    assert on_top([small, large]) == [large, small]
