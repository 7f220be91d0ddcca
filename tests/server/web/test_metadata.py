"""What pages show of the images' metadata: on the page of an image, and as colours of the map."""

import json
import re
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from indexer.build import build
from indexer.config import Config
from indexer.search import Searcher
from server.app import create_app
from tests.conftest import small_config
from tests.server.helpers import body
from tests.server.web.test_filters import FIELDS, chips
from tests.server.web.test_page_state import keys


def described_images(folder: Path, photos: list[Path], entries: list[dict[str, Any]]) -> Config:
    """Index a photograph for each entry, with the metadata of a sidecar in a tar file."""
    import tarfile
    from io import BytesIO

    (folder / "images").mkdir()
    with tarfile.open(folder / "images" / "0.tar", "w") as archive:
        for number, entry in enumerate(entries):
            data = json.dumps(entry).encode()
            archive.add(photos[number], f"{number}.jpg")
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    dataset = {"kind": "tar", "root": str(folder / "images")}
    config = small_config(folder / "images", folder / "store", dataset=dataset)
    build(config)
    return config


def test_the_map_is_coloured_by_a_field(client: FlaskClient, demo_config: Config) -> None:
    values = body(client.get(FIELDS))["facets"]["folder"]["values"]
    folder, count = values[0]["value"], values[0]["count"]
    page = client.get(f"/collection?colour=folder&filter=folder={folder}").text
    legend = re.findall(r'<i class="mark m(\d)"></i><span>(.*?)</span> <small>(\d+)</small>', page)
    assert legend == [
        (str(mark), one["value"], str(one["count"])) for mark, one in enumerate(values, 1)
    ]
    assert f'href="/collection?filter=folder={folder}" aria-current="true">folder<' in page
    (source,) = re.findall('data-marks="([^"]*)"', page)
    assert client.get(unescape(source)).status_code == 200
    collection = Searcher.open(demo_config).collection
    ids = collection.projection().ids.tolist()
    marks = client.get("/api/v1/map/marks?field=folder").data
    rows = collection.images(ids)
    marked = {
        rows[image_id].key.rpartition("/")[0]: m for image_id, m in zip(ids, marks, strict=True)
    }
    assert marked == {one["value"]: mark for mark, one in enumerate(values, 1)}
    hidden = client.get(f"/api/v1/map/marks?filter=folder={folder}").data
    assert Counter(hidden) == {0: count, 255: 40 - count}
    wrong = client.get("/collection?colour=colour")
    assert (wrong.status_code, "No image has a field colour" in wrong.text) == (422, True)
    assert "data-marks" not in client.get("/collection").text


def test_of_many_values_eight_are_told_apart_and_the_rarest_wins(
    tmp_path: Path, photos: list[Path]
) -> None:
    entries = [
        {"kind": [f"k{kind}" for kind in range(10) if number >= kind]} for number in range(12)
    ]
    client = create_app(described_images(tmp_path, photos, entries)).test_client()
    collection = Searcher.open(small_config(tmp_path / "images", tmp_path / "store")).collection
    keys_ = [collection.image(int(i)).key for i in collection.projection().ids]
    found = client.get("/api/v1/map/marks?field=kind")
    assert dict(zip(keys_, found.data, strict=True)) == {
        f"0.tar/{number}.jpg": min(number + 1, 8) for number in range(12)
    }
    tag = {"If-None-Match": found.headers["ETag"]}
    assert client.get("/api/v1/map/marks?field=kind", headers=tag).status_code == 304
    assert client.get("/api/v1/map/marks?field=folder", headers=tag).status_code == 200
    assert "2 other values" in client.get("/collection?colour=kind").text


def test_values_and_clauses_are_escaped(tmp_path: Path, photos: list[Path]) -> None:
    """Names and values of the dataset are texts, whatever they hold; captions are sentences."""
    evil = '<i>"a", b</i>'
    entries = [
        {
            "caption": f"A picture of number {n}",
            "kind": [evil, "x"],
            "count.x": n,
            "url": "https://a.b/",
        }
        for n in range(4)
    ]
    config = described_images(tmp_path, photos, [*entries, *({"kind": ["x"]} for _ in range(2))])
    client = create_app(config).test_client()
    page = client.get("/").text
    assert "<i>" not in page
    (link,) = [link for text, link in chips(page).items() if text.startswith("<i>")]
    filtered = client.get(link).text
    assert "<i>" not in filtered
    assert len(keys(filtered)) == 4
    own = client.get("/images/1").text
    assert "<i>" not in own
    assert "<li>A picture of number 0</li>" in own
    assert '<a href="https://a.b/" rel="noreferrer">' in own
    assert "1 more field<" in own
    assert chips(own)["x"] == "/collection/images?filter=kind=x"
