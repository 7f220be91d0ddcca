"""Exports: a table, and a zip of original files."""

import csv
import io
import zipfile
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from indexer.build import build
from indexer.config import Config
from server.app import create_app
from server.web import exports
from server.web.exports import safe_name
from tests.server.helpers import form_fields


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_the_table_holds_what_the_page_shows(client: FlaskClient) -> None:
    response = client.get("/export.csv?image_id=3&not=20&count=40")
    assert response.mimetype == "text/csv"
    assert "attachment" in response.headers["Content-Disposition"]
    assert response.data.startswith(b"\xef\xbb\xbf"), "Excel reads it as UTF-8"
    rows = table(response.data)
    query = {"image_id": 3, "negatives": [{"image_id": 20}], "k": 40}
    answer = client.post("/api/v1/search", json=query).json
    assert answer is not None
    assert [int(row["image_id"]) for row in rows] == [r["image_id"] for r in answer["results"]]
    assert float(rows[5]["distance"]) == pytest.approx(answer["results"][5]["distance"], abs=1e-6)
    assert len(table(client.get("/export.csv?image_id=3").data)) == 30


def test_an_uploads_results_can_be_exported(client: FlaskClient, photos: list[Path]) -> None:
    page = client.post("/", data={"image": (photos[0].open("rb"), "a.jpg")}).text
    response = client.post("/export.csv", data={**form_fields(page).to_dict(), "count": "3"})
    rows = table(response.data)
    assert len(rows) == 3
    assert float(rows[0]["distance"]) < 1e-5


def test_the_zip_holds_the_originals(client: FlaskClient) -> None:
    response = client.get("/export.zip?image_id=3&count=4")
    with zipfile.ZipFile(io.BytesIO(response.data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        first = archive.read(names[0])
    assert len(names) == 4
    assert names[0].startswith("0001_")
    assert first == client.get("/api/v1/images/3/file").data


def test_a_file_that_has_gone_is_named_in_the_zip(config: Config, images: Path) -> None:
    build(config)
    client = create_app(config).test_client()
    row = client.get("/api/v1/images/2").json
    assert row is not None
    (images / row["key"]).unlink()
    response = client.get("/export.zip?image_id=1&count=6")
    with zipfile.ZipFile(io.BytesIO(response.data)) as archive:
        assert len(archive.namelist()) == 6
        assert row["key"] in archive.read("missing.txt").decode()


def test_a_zip_has_a_largest_size(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = client.post("/api/v1/search", json={"image_id": 3, "k": 2}).json
    assert answer is not None
    ids = [result["image_id"] for result in answer["results"]]
    total = sum(client.get(f"/api/v1/images/{i}").json["bytes"] for i in ids)  # type: ignore[index]
    monkeypatch.setattr(exports, "MAX_ZIP_BYTES", total)
    assert client.get("/export.zip?image_id=3&count=2").status_code == 200
    monkeypatch.setattr(exports, "MAX_ZIP_BYTES", total - 1)
    assert client.get("/export.zip?image_id=3&count=2").status_code == 422


@pytest.mark.parametrize("query", ["", "?count=5", "?image_id=1&count=x", "?image_id=1&count=0.5"])
def test_exports_that_fail_are_explained(client: FlaskClient, query: str) -> None:
    assert client.get(f"/export.csv{query}").status_code == 422


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a/b/photo 1.jpg", "0007_photo 1.jpg"),
        ("../../etc/passwd", "0007_passwd"),
        ("a/..", "0007_image"),
        ("a/c:\\evil\n.jpg", "0007_c__evil_.jpg"),
        ("ünïcode.jpg", "0007_ünïcode.jpg"),
        ("x" * 131 + ".jpg", "0007_" + "x" * 131 + ".jpg"),
        ("x" * 132 + ".jpg", "0007_" + "x" * 131 + ".jpg"),
        ("写真" * 41 + "abcde.jpg", "0007_" + ("写真" * 22)[:43] + ".jpg"),
        ("x" * 126 + "." + "y" * 200, "0007_" + "x" * 126 + "." + "y" * 8),
        ("x" * 130 + " .. " + "y" * 9 + ".jpeg", "0007_" + "x" * 130 + ".jpeg"),
        ("\udcff" * 200 + ".png", "0007_" + "_" * 131 + ".png"),
    ],
)
def test_names_in_the_zip_are_no_paths(key: str, name: str) -> None:
    """They have up to 140 bytes, end between two characters and keep their suffix."""
    assert safe_name(7, key) == name
    assert len(name.encode()) <= exports.MAX_NAME_BYTES


def test_a_zip_of_long_names_can_be_unpacked(
    config: Config, images: Path, photos: list[Path], tmp_path: Path
) -> None:
    """The names differ only at their end, and have the 255 bytes that a file system takes."""
    names = [f"{'写真' * 41}{number:05}.jpg" for number in range(3)]
    for number, name in enumerate(names):
        (images / name).write_bytes(photos[number].read_bytes())
    build(config)
    response = create_app(config).test_client().get("/export.zip?image_id=1&count=30")
    with zipfile.ZipFile(io.BytesIO(response.data)) as archive:
        archive.extractall(tmp_path / "unpacked")
        assert len(set(archive.namelist())) == len(archive.namelist())
    unpacked = [path.read_bytes() for path in (tmp_path / "unpacked").iterdir()]
    assert sorted(unpacked) == sorted(
        path.read_bytes() for path in images.rglob("*") if path.is_file()
    )


FORMULAS = ["=HYPERLINK(1,2).jpg", "+1.jpg", "-2+3.jpg", "@SUM(A1).jpg", "\tx.jpg"]


def test_names_that_are_formulas_are_text_in_the_table(
    config: Config, images: Path, photos: list[Path]
) -> None:
    """A spreadsheet runs what begins like a formula. Numbers stay numbers."""
    for number, name in enumerate(FORMULAS):
        (images / name).write_bytes(photos[number].read_bytes())
    build(config)
    text = create_app(config).test_client().get("/export.csv?image_id=1&count=30").text
    rows = list(csv.DictReader(io.StringIO(text)))
    keys = {row["key"] for row in rows}
    assert {f"'{name}" for name in FORMULAS} <= keys
    assert not keys & set(FORMULAS)
    assert [row["cosine"] for row in rows] == [str(float(row["cosine"])) for row in rows]
