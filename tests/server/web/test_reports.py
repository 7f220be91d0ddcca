"""The pages of duplicates, suspects, outliers and leaks, their tables and their lists."""

import csv
import io
import json
import os
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from indexer.analysis import SavedReport, find_duplicates, make_graph
from indexer.build import build
from indexer.cli.parser import main
from indexer.config import Config
from indexer.store import Store
from server.app import create_app
from server.web import duplicates, reports, suspects
from tests.conftest import Reindex, delete, small_config
from tests.server.helpers import assert_error, body

PAGES = ("duplicates", "suspects", "outliers", "leaks")

COPIES = ["animal/copy.jpg", "windmill/=copy.jpg"]


def analyse(config: Config) -> None:
    """Save all reports of an index, as the commands do."""
    between = "leaks --between animal windmill --by folder"
    for verb in ("duplicates --within 0.6", "suspects --top 1", "outliers --top 1", between):
        assert main([*verb.split(), "--store", str(config.store)]) == 0


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Config:
    """The settings of an index with all reports: copies, and images in the wrong folder.

    Five animals and five windmills, one of each in the other's folder; two identical copies, one
    of them in the other's folder, too; and one windmill in a smaller size.
    """
    folder = tmp_path_factory.mktemp("reported")
    images = folder / "images"
    for kind, other in (("animal", "windmill"), ("windmill", "animal")):
        for n, photo in enumerate([one for one in photos if one.parent.name == kind][::4][:5]):
            target = images / (other if n == 4 else kind) / f"{kind}{n}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(photo, target)
    shutil.copy2(images / "animal" / "animal1.jpg", images / COPIES[0])
    shutil.copy2(images / "animal" / "animal1.jpg", images / COPIES[1])
    os.utime(images / "windmill" / "windmill0.jpg", (978_307_200, 978_307_200))
    with Image.open(images / "windmill" / "windmill0.jpg") as photo:
        photo.resize((photo.width * 4 // 5, photo.height * 4 // 5)).save(
            images / "windmill" / "small.jpg", quality=95
        )
    config = small_config(images, folder / "store")
    build(config)
    make_graph(config)
    analyse(config)
    return config


@pytest.fixture(scope="module")
def known(reported: Config) -> FlaskClient:
    """A client of a server with all reports."""
    return create_app(reported).test_client()


def ids_of(client: FlaskClient) -> dict[str, int]:
    answer = client.get("/api/v1/images?per_page=100").json
    assert answer is not None
    return {image["key"]: image["image_id"] for image in answer["images"]}


def listed(text: str) -> list[str]:
    return text.splitlines()


def test_without_reports_the_pages_say_how_to_make_them(client: FlaskClient) -> None:
    commands = {name: f"lookalike {name}" for name in PAGES[:3]}
    commands["leaks"] = "lookalike leaks --between SPLIT OTHER"
    for name, command in commands.items():
        answer = client.get(f"/collection/{name}")
        assert answer.status_code == 200
        assert "There is no report yet" in answer.text
        assert f"<code>{command} --store /" in answer.text
        for form in ("csv", "json"):
            assert client.get(f"/collection/{name}.{form}").status_code == 404
    assert client.get("/collection/duplicates.txt").status_code == 404
    assert 'href="/collection/leaks"' not in client.get("/collection/outliers").text


def test_commands_name_no_folder_where_others_see_the_page(demo_config: Config) -> None:
    for server in ({"host": "0.0.0.0"}, {"proxies": 1}):  # noqa: S104
        config = demo_config.model_copy(
            update={"server": demo_config.server.model_copy(update=server)}
        )
        page = create_app(config).test_client().get("/collection/suspects").text
        assert "<code>lookalike suspects</code>" in page


def test_every_page_of_the_collection_leads_to_the_others(known: FlaskClient) -> None:
    for path in ("", "/images", *(f"/{name}" for name in PAGES)):
        page = known.get(f"/collection{path}").text
        (parts,) = re.findall(r'<nav class="parts".*?</nav>', page, re.S)
        assert set(re.findall(r'href="([^"]+)"', parts)) >= {
            f"/collection/{name}" for name in PAGES
        }
        assert f'href="/collection{path}" aria-current="page"' in parts


def test_groups_are_shown_with_the_better_copy_first(known: FlaskClient) -> None:
    page = known.get("/collection/duplicates").text
    ids = ids_of(known)
    groups = re.findall(r'<section class="group.*?</section>', page, re.S)
    assert len(groups) == 2
    identical = next(group for group in groups if "Identical files" in group)
    assert identical.count('class="best"') == identical.count("Best copy") == 1
    suggested = [
        one["id"]
        for group in body(known.get("/api/v1/reports/duplicates"))["found"]["groups"]
        if group["kind"] in ("identical", "same")
        for one in group["images"][1:]
    ]
    assert {ids[key] for key in COPIES} <= set(suggested)
    assert re.findall(r'value="(\d+)" checked', page) == [str(one) for one in suggested]
    other = next(group for group in groups if group != identical)
    assert ", newer</b>, distance 0." in other
    assert '<span class="day">2001-01-01</span>' in other
    assert "Similar images are within" in page


def test_the_lists_have_what_is_suggested_or_ticked(known: FlaskClient) -> None:
    answer = known.get("/collection/duplicates.txt")
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.mimetype == "text/plain"
    assert set(listed(answer.text)) in (set(COPIES), {*COPIES, "windmill/small.jpg"})
    ids = ids_of(known)
    some = ["windmill/small.jpg", "animal/animal0.jpg"]
    sent = {"id": [str(ids[key]) for key in some] + ["999"]}
    assert listed(known.post("/collection/duplicates.txt", data=sent).text) == some
    for nothing in ({}, {"id": "999"}, {"id": "x"}, {"id": str(2**70)}):
        assert known.post("/collection/duplicates.txt", data=nothing).status_code == 422


def test_names_with_line_breaks_are_in_no_list(
    config: Config, images: Path, reindex: Reindex
) -> None:
    photo = next(images.rglob("*.jpg"))
    for name in ("copy.jpg", "a\nb.jpg", "\r.jpg"):
        shutil.copy2(photo, images / name)
    reindex()
    main(["duplicates", "--store", str(config.store)])
    client = create_app(config).test_client()
    copies = body(client.get("/api/v1/reports/duplicates"))["found"]["groups"][0]["images"][1:]
    keys = [one["key"] for one in copies if not {"\n", "\r"} & set(one["key"])]
    assert 0 < len(keys) < len(copies)
    assert listed(client.get("/collection/duplicates.txt").text) == keys
    ticked = {"id": [str(one["id"]) for one in copies]}
    assert listed(client.post("/collection/duplicates.txt", data=ticked).text) == keys
    assert f"without {len(copies) - len(keys)} whose names have line breaks" in (
        client.get("/collection/duplicates").text
    )


def test_of_different_pictures_none_is_the_better_copy(config: Config, reindex: Reindex) -> None:
    reindex()
    main(["duplicates", "--within", "2", "--store", str(config.store)])
    page = create_app(config).test_client().get("/collection/duplicates").text
    assert "<h2>Similar pictures <small>6 images</small>" in page
    assert page.count("the others are compared with this") == 1
    assert "none is suggested to remove" in page
    for absent in ("Best copy", 'class="best"', " checked", "List all"):
        assert absent not in page


def test_groups_can_be_chosen_and_sorted(known: FlaskClient) -> None:
    def groups(address: str) -> list[str]:
        page = known.get(f"/collection/duplicates?{address}").text
        return re.findall(r"<h2>([^<]+?) <small>", page)

    assert groups("kind=identical") == ["Identical files"]
    assert len(groups("sort=bytes")) == 2
    assert groups("page=2") == []
    found = ids_of(known)
    assert groups(f"image={found[COPIES[0]]}") == ["Identical files"]
    assert groups(f"image={found['animal/animal0.jpg']}") == []
    for bad in ("kind=x", "sort=x", "page=0", "page=x", "image=x"):
        assert known.get(f"/collection/duplicates?{bad}").status_code == 422
    rows = list(csv.DictReader(io.StringIO(known.get("/collection/duplicates.csv").text)))
    assert {"'" + row["key"] for row in rows} & {"'" + COPIES[0]}
    only = json.loads(known.get("/collection/duplicates.json?kind=identical").data)
    assert [group["kind"] for group in only["groups"]] == ["identical"]


def test_large_groups_and_many_groups_are_paged(
    known: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "GROUPS_PER_PAGE", 1)
    monkeypatch.setattr(duplicates, "IMAGES_SHOWN", 2)
    monkeypatch.setattr(duplicates, "IMAGES_PER_PAGE", 1)
    page = known.get("/collection/duplicates").text
    assert page.count('<section class="group') == 1
    assert "Page 1 of 2" in page
    (more,) = re.findall(r'<a href="([^"]+)">1 more of this group', page)
    alone = known.get(unescape(more)).text
    assert "Page 1 of 2" in alone
    second = known.get(unescape(more) + "&page=2").text
    shown = [re.findall(r'class="shot" href="([^"]+)"', text) for text in (alone, second)]
    assert [len(urls) for urls in shown] == [2, 2]
    assert shown[0][0] == shown[1][0], "the best copy is on every page of its group"
    assert shown[0][1] != shown[1][1]


def test_suspects_have_what_their_neighbours_suggest(
    known: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = known.get("/collection/suspects").text
    shown = re.findall(r'<span class="given">(\w+)</span>.*?<strong>(\w+)</strong>', page, re.S)
    assert {("windmill", "animal"), ("animal", "windmill")} <= set(shown)
    assert len(shown) > 1, "more than the command printed"
    assert page.count('class="voters"') == len(shown)
    some = known.get("/collection/suspects?label=windmill&suggested=animal").text
    assert 0 < some.count('class="given"') < len(shown)
    assert "No suspect is both" in known.get("/collection/suspects?label=none").text
    rows = list(csv.DictReader(io.StringIO(known.get("/collection/suspects.csv").text)))
    assert len(rows) == len(shown)
    assert "All labels" not in page
    monkeypatch.setattr(suspects, "LABELS_SHOWN", 1)
    few, all_of_them = (known.get(f"/collection/suspects{end}").text for end in ("", "?labels=all"))
    assert (few.count('class="chip"'), all_of_them.count('class="chip"')) == (2, 4)
    assert 'href="/collection/suspects?labels=all">All labels' in few
    assert "All labels" not in all_of_them
    chosen = json.loads(known.get("/collection/suspects.json?label=windmill").data)
    assert {tuple(one["labels"]) for one in chosen["suspects"]} == {("windmill",)}


def test_outliers_and_leaks_are_shown(known: FlaskClient) -> None:
    page = known.get("/collection/outliers").text
    count = len(ids_of(known))
    assert f"All {count} images" in page
    times = [float(text) for text in re.findall(">([0-9.]+) \u00d7<", page)]
    assert len(times) == count
    assert times == sorted(times, reverse=True)
    page = known.get("/collection/leaks").text
    assert "<h2>Identical files</h2>" in page
    assert re.findall(r'class="pill">(\w+)<', page)[:2] == ["animal", "windmill"]
    for name in PAGES:
        assert known.get(f"/collection/{name}.csv").mimetype == "text/csv"
        assert json.loads(known.get(f"/collection/{name}.json").data)["version"] == "00000001"
        assert known.get(f"/collection/{name}.exe").status_code == 404


def test_formulas_are_text_in_the_tables(config: Config, images: Path, reindex: Reindex) -> None:
    photo = next(images.rglob("*.jpg"))
    shutil.copy(photo, images / "=1+1.jpg")
    reindex()
    make_graph(config)
    main(["duplicates", "--store", str(config.store)])
    table = create_app(config).test_client().get("/collection/duplicates.csv").text
    assert ",'=1+1.jpg," in table


def test_what_has_changed_since_is_said_and_left_out(
    config: Config, images: Path, reindex: Reindex
) -> None:
    first, second = sorted(images.rglob("*.jpg"))[:2]
    for n in range(2):
        shutil.copy2(first, images / f"copy {n}.jpg")
    shutil.copy2(second, images / "gone.jpg")
    reindex()
    make_graph(config)
    main(["duplicates", "--store", str(config.store)])
    client = create_app(config).test_client()
    page = client.get("/collection/duplicates").text
    assert page.count('<section class="group') == 2
    assert "has changed since" not in page
    delete(images / "gone.jpg")
    (images / "copy 1.jpg").rename(images / "moved.jpg")
    reindex()
    client = create_app(config).test_client()
    page = client.get("/collection/duplicates").text
    assert "Made of version 1; the index has changed since." in page
    assert "1 image is gone and left out" in page
    assert f"<code>lookalike duplicates --store {config.store}</code>" in page
    assert page.count('<section class="group') == 1
    assert "moved.jpg" in "".join(listed(client.get("/collection/duplicates.txt").text)) + page
    assert "copy 1.jpg" not in client.get("/collection/duplicates.csv").text


def test_a_damaged_report_is_a_notice(config: Config, reindex: Reindex) -> None:
    reindex()
    make_graph(config)
    main(["outliers", "--store", str(config.store)])
    path = Store(config.store).reports / "outliers.json"
    path.write_bytes(path.read_bytes()[:-100])
    client = create_app(config).test_client()
    for _ in range(2):
        answer = client.get("/collection/outliers")
        assert answer.status_code == 200
        assert "The report cannot be read." in answer.text
        assert f"lookalike outliers --store {config.store}" in answer.text
    assert client.get("/collection/outliers.json").status_code == 404
    assert_error(client.get("/api/v1/reports/outliers"), 404, "no_report")


def test_the_api_has_the_reports_in_pages(known: FlaskClient) -> None:
    def asked(query: str) -> dict[str, Any]:
        return body(known.get(f"/api/v1/reports/{query}"))

    whole = asked("outliers")
    assert (whole["version"], whole["is_current"], whole["gone"]) == ("00000001", True, 0)
    assert whole["total"] == len(whole["found"]["outliers"]) == len(ids_of(known))
    assert not whole["more"]
    some = [asked(f"outliers?per_page=5&page={page}") for page in (1, 2, 3, 4)]
    assert [one["more"] for one in some] == [True, True, False, False]
    assert [o for one in some for o in one["found"]["outliers"]] == whole["found"]["outliers"]
    assert {group["kind"] for group in asked("duplicates")["found"]["groups"]} > {"identical"}
    assert asked("suspects")["found"]["by"] == "folder"
    assert asked("leaks")["found"]["between"] == ["animal", "windmill"]
    assert_error(known.get("/api/v1/reports/evaluation"), 404, "no_report")
    assert_error(known.get("/api/v1/reports/other"), 422, "invalid_request")
    assert_error(known.get("/api/v1/reports/leaks?per_page=0"), 422, "invalid_request")


def test_the_page_of_an_image_names_the_lists_that_it_is_in(known: FlaskClient) -> None:
    ids = ids_of(known)
    page = known.get(f"/images/{ids[COPIES[1]]}").text
    for name in ("duplicates", "leaks"):
        address = f"/collection/{name}?image={ids[COPIES[1]]}"
        assert f'href="{address}"' in page
        assert known.get(address).text.count('<section class="group') == 1
    wrong = body(known.get("/api/v1/reports/suspects"))["found"]["suspects"][0]["id"]
    assert f'href="/collection/suspects?image={wrong}"' in known.get(f"/images/{wrong}").text
    assert known.get(f"/collection/suspects?image={wrong}").text.count('class="given"') == 1
    assert "Has duplicates" not in known.get(f"/images/{ids['animal/animal0.jpg']}").text


def test_a_report_is_made_again_as_it_was(
    known: FlaskClient, reported: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PAGES:
        known.get(f"/collection/{name}")  # which reads the report, as of this version
    monkeypatch.setattr(SavedReport, "is_current", False)
    place = f"--store {reported.store}"
    for command in (
        "duplicates --within 0.6",
        "suspects",
        "outliers",
        "leaks --between animal windmill --by folder",
    ):
        page = known.get(f"/collection/{command.split()[0]}").text
        assert f"<code>lookalike {command} {place}</code>" in page


def test_new_images_are_compared_with_the_same_reference_again(reported: Config) -> None:
    found = find_duplicates(reported, reference=["folder=animal"], new=["width>1", "height>1"])
    assert reports._again(found) == (
        "duplicates --reference folder=animal --new 'width>1' --new 'height>1'"
    )


def test_an_address_keeps_what_is_chosen() -> None:
    view = reports.View(kind="same", sort="bytes", page=3)
    assert view.url("/x") == "/x?kind=same&sort=bytes&page=3"
    assert view.url("/x", kind="", page=1) == "/x?sort=bytes"
    assert reports.View().url("/x") == "/x"
