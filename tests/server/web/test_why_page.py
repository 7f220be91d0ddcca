"""The page that shows why two images are similar."""

import re

import numpy as np
import pytest
from flask.testing import FlaskClient

from indexer.search import Explanation, why
from server.web.why import DARKEST, summary


def test_an_image_page_reached_from_results_leads_there(client: FlaskClient) -> None:
    page = client.get("/images/8?image_id=5&filter=width>1").text
    (found,) = re.findall(r'href="([^"]*/why/[^"]*)"', page)
    assert found.startswith("/images/5/why/8?image_id=5&amp;filter=width")
    assert client.get(found.replace("&amp;", "&")).status_code == 200
    for state in ("", "?image_id=8", "?image_id=5&not=6", "?image_id=5&image_id=7"):
        assert "/why/" not in client.get(f"/images/8{state}").text, state


def test_both_pictures_have_a_heat_map_and_words(client: FlaskClient) -> None:
    page = client.get("/images/5/why/8?image_id=5").text
    shades = [float(one) for one in re.findall(r'fill-opacity="([\d.]+)"', page)]
    assert 49 <= len(shades) <= 97  # the brightest has none
    assert max(shades) <= DARKEST
    assert page.count('class="heat"') == 2
    assert re.search(r"The 10 brightest of 49 cells make \d+ % of the similarity", page)
    assert "The cells of each picture add up to the cosine similarity, exactly." in page
    assert 'href="/images/8?image_id=5"' in page
    assert "% of all pairs of images" in page


def test_each_part_can_be_covered_instead(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "CELLS", 2)
    page = client.get("/images/9/why/10?image_id=9").text
    (link,) = re.findall(r'href="([^"]*cover=yes)"', page)
    covered = client.get(link.replace("&amp;", "&")).text
    assert re.search(r"Covering the brightest of 4 cells lowers the cosine by -?0\.\d{3}", covered)
    assert "Each cell was covered by itself" in covered
    assert "cover=yes" not in covered


def test_unknown_images_have_a_page_that_says_so(client: FlaskClient) -> None:
    answer = client.get("/images/5/why/999", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "No image of the index has the id 999." in answer.text


def test_words_of_occlusion() -> None:
    grid = np.zeros((7, 7))
    grid[3, 3] = 0.25
    found = Explanation("occlusion", 0.5, grid, grid)
    assert summary(found, grid) == "Covering the brightest of 49 cells lowers the cosine by 0.250."
