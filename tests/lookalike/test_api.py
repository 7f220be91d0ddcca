"""``import lookalike``: open an index, search it, read its vectors, build one."""

import base64
import json
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lookalike
from indexer.config import Config, Mode
from indexer.search import Searcher
from indexer.store import Store
from indexer.vector_index import read_vectors
from tests.conftest import DEMO_IMAGES, ROOT


@pytest.fixture
def index(demo_config: Config) -> lookalike.Index:
    return lookalike.open(demo_config.store)


def test_importing_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, lookalike\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'faiss', 'ncnn', 'PIL'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_an_index_says_what_it_is(index: lookalike.Index, demo_config: Config) -> None:
    assert (len(index), index.dim, index.store) == (40, 1280, demo_config.store)
    assert repr(index) == (
        f"<lookalike.Index {demo_config.store}: 40 images, version {index.version}, "
        f"{index.encoder}>"
    )
    assert index.encoder.startswith("efficientnet_lite0")


def test_every_kind_of_query_finds_the_image_itself(
    index: lookalike.Index, photos: list[Path]
) -> None:
    photo = photos[5]
    ids, vectors = index.vectors()
    own = ids[index.keys(ids).index(photo.relative_to(DEMO_IMAGES).as_posix())]
    vector = vectors[ids == own][0]
    data = photo.read_bytes()
    images = (str(photo), photo, data, bytearray(data), memoryview(data))
    for query in (*images, own, int(own), vector, vector.tolist()):
        results = index.search(query, k=3)
        assert len(results) == 3
        assert results[0].image_id == own
        assert results[0].distance == pytest.approx(0, abs=1e-3)
        assert [result.rank for result in results] == [1, 2, 3]
    assert index.embed(photo) == pytest.approx(vector, abs=1e-6)
    assert (index.embed(photo.read_bytes()).dtype, index.embed(photo).shape) == (
        np.float32,
        (1280,),
    )


def test_words_find_what_looks_like_the_images_whose_captions_have_them(
    captioned_config: Config,
) -> None:
    index = lookalike.open(captioned_config.store)
    found, expected = index.search(text="bus", k=5), index.search(4, k=5)
    assert [hit.image_id for hit in found] == [hit.image_id for hit in expected]
    for query in (1, b"", [1.0]):
        with pytest.raises(lookalike.LookalikeError, match="Give one of"):
            index.search(query, text="bus")
    with pytest.raises(lookalike.LookalikeError, match="nothing to search with"):
        index.search()
    with pytest.raises(lookalike.LookalikeError, match="No text of an image says cat"):
        index.search(text="cat")


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_results_are_those_of_the_searcher(
    index: lookalike.Index, demo_config: Config, mode: Mode
) -> None:
    answer = Searcher.open(demo_config).search_id(1, k=7, mode=mode)
    results = index.search(1, k=7, mode=mode)
    assert results.to_list() == json.loads(json.dumps(results.to_list()))
    assert (results.no_match, results[1:].label_field) == (answer.no_match, "folder")
    fields = ("rank", "image_id", "key", "distance", "cosine", "metadata")
    fields += ("percentile", "share_alike")
    assert results.to_list() == [
        {name: hit[name] for name in fields} for hit in answer.to_dict()["results"]
    ]


def test_a_filter_is_one_clause_or_several(index: lookalike.Index) -> None:
    (folder, count), *others = index.facet("folder")
    assert count >= max((n for _, n in others), default=0)
    for some in (f"folder={folder}", [f"folder={folder}", "width>=1"]):
        results = index.search(1, k=40, filter=some)
        assert len(results) == count
        assert {result.key.rpartition("/")[0] for result in results} == {folder}
        assert index.facet("folder", filter=some) == [(folder, count)]
    with pytest.raises(lookalike.LookalikeError, match="No image has a field colour"):
        index.search(1, filter="colour=red")


def test_results_are_a_sequence(index: lookalike.Index) -> None:
    results = index.search(1, k=5)
    assert list(results) == [results[number] for number in range(5)]
    assert [result.rank for result in results[1:3]] == [2, 3]
    assert repr(results).splitlines()[0] == "5 results"
    assert repr(results).splitlines()[1].endswith(f"0.0000  {results[0].key}")


def test_a_notebook_shows_thumbnails(index: lookalike.Index) -> None:
    page = index.search(1, k=3)._repr_html_()
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 3
    for picture in pictures:
        image = Image.open(BytesIO(base64.b64decode(picture)))
        assert (image.format, max(image.size)) == ("JPEG", 160)


def test_a_notebook_reads_names_as_text_and_survives_missing_files(
    images: Path, tmp_path: Path
) -> None:
    photo = next(images.rglob("*.jpg"))
    photo.rename(images / '<b>&".jpg')
    index = lookalike.index(images, store=tmp_path / "s", encoder="efficientnet_lite0")
    results = index.search((images / '<b>&".jpg').read_bytes(), k=1)
    page = results._repr_html_()
    assert page.count("&lt;b&gt;&amp;&quot;.jpg") == 2
    assert "<b>" not in page
    (images / '<b>&".jpg').unlink()
    page = results._repr_html_()
    assert "<img" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def test_a_notebook_shows_no_more_than_it_can_bear() -> None:
    result = lookalike.Result(1, 1, "a.jpg", 0.0, 1.0, {})
    page = lookalike.Results([result] * 1000, lambda image_id: b"jpeg")._repr_html_()
    assert page.count("<img") == 50
    assert "950 more results are not shown." in page


def test_vectors_are_the_stored_ones_bit_for_bit(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookalike.api.BLOCK", 16)  # of 40 images
    ids, vectors = lookalike.open(demo_config.store).vectors()
    assert (ids.dtype, vectors.dtype, vectors.shape) == (np.int64, np.float32, (40, 1280))
    stored = {}
    for segment in Store(demo_config.store).open_published().segments:
        rows = read_vectors(segment.vectors_path, np.arange(segment.count))
        stored |= dict(zip(segment.ids.tolist(), map(bytes, rows), strict=True))
    assert dict(zip(ids.tolist(), map(bytes, vectors), strict=True)) == stored


def test_keys_come_in_the_order_of_the_ids(
    index: lookalike.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookalike.api.BLOCK", 3)
    ids, _ = index.vectors()
    keys = index.keys(ids)
    assert len(set(keys)) == 40
    assert index.keys(ids[::-1]) == keys[::-1]
    assert index.keys([]) == []


def test_files_and_thumbnails(index: lookalike.Index) -> None:
    key = index.keys([1])[0]
    assert index.read(1) == (DEMO_IMAGES / key).read_bytes()
    assert max(Image.open(BytesIO(index.thumbnail(1, 64))).size) == 64


def test_what_goes_wrong_is_a_lookalike_error(index: lookalike.Index, tmp_path: Path) -> None:
    wrong = {
        "cannot be read": tmp_path / "nothing.jpg",
        "has the id": 10**6,
        "2 components": [1.0, 2.0],
        "not an image": b"text",
    }
    for message, query in wrong.items():
        with pytest.raises(lookalike.LookalikeError, match=message):
            index.search(query)  # type: ignore[arg-type]
    with pytest.raises(lookalike.LookalikeError, match="k is 0"):
        index.search(1, k=0)
    with pytest.raises(lookalike.LookalikeError, match="has the id"):
        index.keys([10**6])
    with pytest.raises(lookalike.LookalikeError, match="There is no index in"):
        lookalike.open(tmp_path)
    with pytest.raises(lookalike.LookalikeError, match="nothing"):
        lookalike.index(tmp_path / "nothing", store=tmp_path / "s", encoder="efficientnet_lite0")


def test_images_of_emptied_folders_leave_the_index_only_if_that_is_allowed(
    images: Path, tmp_path: Path
) -> None:
    """Their disk may be away."""
    index = lookalike.index(images, store=tmp_path / "s", encoder="efficientnet_lite0")
    assert len(index) == 6
    for photo in sorted(path for path in images.rglob("*") if path.is_file())[1:]:
        photo.unlink()
    index = lookalike.index(images, store=tmp_path / "s", encoder="efficientnet_lite0")
    assert len(index) == 6
    index = lookalike.index(
        images, store=tmp_path / "s", encoder="efficientnet_lite0", allow_shrink=True
    )
    assert len(index) == 1


def test_a_script_without_a_guard_can_build_an_index(images: Path, tmp_path: Path) -> None:
    """The first build converts the weights in a process that must not run the script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import lookalike\n"
        f"print(len(lookalike.index({str(images)!r}, encoder='efficientnet_lite0')))\n"
    )
    names = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **names, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_a_table_describes_the_images(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # there is no config.yaml
    photo = next(images.rglob("*.jpg"))
    table = tmp_path / "t.csv"
    table.write_text(f"path,year\n{photo.relative_to(images)},1999\n")
    options = {"store": tmp_path / "s", "encoder": "efficientnet_lite0"}
    index = lookalike.index(images, **options, metadata=table)
    assert index.search(photo, k=1).to_list()[0]["metadata"] == {"year": 1999}
    table.write_text(f"path,year\n{photo.relative_to(images)},2000\n")
    index = lookalike.index(**options)  # those of the last time
    assert index.search(photo, k=1).to_list()[0]["metadata"] == {"year": 2000}
    index = lookalike.index(images, **options)
    assert index.search(photo, k=1).to_list()[0]["metadata"] == {}
