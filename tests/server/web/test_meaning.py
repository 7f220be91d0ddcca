"""What distances mean, on the pages."""

import re
from io import BytesIO

import numpy as np
from flask.testing import FlaskClient
from PIL import Image

from server.web.layout import alikeness, nearness
from tests.server.helpers import ask


def test_an_image_says_how_near_the_query_is(client: FlaskClient) -> None:
    _, near, *_, far = ask(client, image_id=5, k=40)["results"]
    for result in (near, far):
        page = client.get(f"/images/{result['image_id']}?image_id=5").text
        farther = 100 - result["percentile"]
        assert f"nearer than {farther:{'.2f' if farther >= 99 else '.0f'}} % of all pairs" in page
        share = result["share_alike"]
        alike = f"{100 * (share or 0):.0f} % of the pairs at this distance share their folder"
        assert (alike in page) == (share is not None)
    assert "of all pairs of images" not in client.get("/images/5").text  # no query: no distance


def test_results_and_the_slider_say_it_too(client: FlaskClient) -> None:
    page = client.get("/?image_id=5&threshold=1.2").text
    titles = re.findall(r"Euclidean distance [\d.]+, (nearer|farther) than", page)
    assert len(titles) == len(re.findall(r'data-distance="', page))
    (slider,) = re.findall(r'data-farther="([^"]*)"', page)
    farther = [float(percent) for percent in slider.split()]
    assert (len(farther), farther[0], farther[-1]) == (101, 100, 0)
    assert farther == sorted(farther, reverse=True)
    assert f"nearer than {farther[60]:.0f} % of all pairs</output>" in page


def test_the_page_says_if_nothing_matches(client: FlaskClient) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    noise = client.post("/", data={"image": (file, "noise.png")}).text
    assert "Probably nothing matches." in noise
    assert "Probably nothing matches." not in client.get("/?image_id=5").text


def test_words_for_the_ends(client: FlaskClient) -> None:
    scale = client.application.extensions["current_index"].searcher().collection.scale
    assert nearness(scale, 0) == "nearer than over 99.99 % of all pairs"
    assert nearness(scale, 2) == "farther than nearly all pairs"
    assert alikeness(scale, 0) == ""
