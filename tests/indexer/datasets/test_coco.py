"""COCO's annotation file: the metadata taken from it, errors, and changes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from indexer.build import build
from indexer.datasets import Coco
from indexer.errors import DatasetError
from indexer.search import Searcher
from tests.conftest import small_config


def annotated(tmp_path: Path, **content: Any) -> Coco:
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    for image in content["images"]:
        name = str(image.get("file_name", "")).rpartition("/")[2]
        if name and "gone" not in name and "\0" not in name:
            (folder / name).write_bytes(b"x")
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return Coco(folder, tmp_path / "coco.json")


IMAGES = [
    {"id": 7, "file_name": "a.jpg", "width": 4, "height": 3, "license": 1},
    {"id": "8", "file_name": "b.jpg"},
]


def test_captions_and_categories_become_metadata(tmp_path: Path) -> None:
    dataset = annotated(
        tmp_path,
        info={"year": 2017},
        images=IMAGES,
        categories=[{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "dog"}],
        annotations=[
            {"id": 1, "image_id": 7, "caption": " A cat. "},
            {"id": 2, "image_id": 7, "caption": "Two cats, a dog."},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": [[0]]},
            {"id": 4, "image_id": 7, "category_id": 1},
            {"id": 5, "image_id": 7, "category_id": 2},
            {"id": 6, "image_id": 7, "category_id": 99},
            {"id": 7, "image_id": 99, "category_id": 2},
        ],
    )
    assert {item.key: item.metadata for item in dataset.scan().items} == {
        "a.jpg": {
            "coco_id": 7,
            "captions": ["A cat.", "Two cats, a dog."],
            "categories": ["cat", "dog"],
        },
        "b.jpg": {"coco_id": "8"},
    }


def test_what_is_not_on_disk_or_outside_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    names = ["gone.jpg", "../secret.jpg", "/etc/passwd", "a\0b.jpg", "a.jpg", "a.jpg"]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    listing = annotated(tmp_path, images=images).scan()
    assert [(item.key, item.metadata["coco_id"]) for item in listing.items] == [("a.jpg", 4)]
    assert listing.unreadable == {
        "gone.jpg": "No such file or directory",
        "../secret.jpg": "the path leads out of the image folder",
        "/etc/passwd": "the path leads out of the image folder",
        "a\0b.jpg": "there is a zero byte in the path",
    }
    assert listing.ignored == {"listed twice": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "EOF"),
        ("[]", "object"),
        ("{}", "images: Field required"),
        ('{"images": [{"id": 1}]}', r"images\.0\.file_name: Field required"),
        ('{"images": [{"id": 1, "file_name": "\\ud800"}]}', "Invalid JSON"),
        ('{"images": [], "annotations": [{}]}', r"annotations\.0\.image_id"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_reason(
    tmp_path: Path, text: str, problem: str
) -> None:
    dataset = annotated(tmp_path, images=[])
    (tmp_path / "coco.json").write_text(text)
    with pytest.raises(DatasetError, match=problem) as caught:
        dataset.scan()
    assert "coco.json cannot be used" in caught.value.message


def test_an_edited_caption_is_found_without_encoding_anything(
    tmp_path: Path, photos: list[Path]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, photo in zip(("a.jpg", "b.jpg"), photos, strict=False):
        shutil.copy(photo, folder / name)
    (folder / "broken.jpg").write_bytes(b"x")

    def describe(caption: str) -> None:
        images = [*IMAGES, {"id": 9, "file_name": "broken.jpg"}]
        annotations = [{"image_id": image["id"], "caption": caption} for image in images]
        content = {"images": images, "annotations": annotations}
        (tmp_path / "coco.json").write_text(json.dumps(content))

    settings = {
        "kind": "coco",
        "root": str(folder),
        "annotations": str(tmp_path / "coco.json"),
    }
    config = small_config(folder, tmp_path / "store", dataset=settings)

    def captions() -> list[str]:
        hits = Searcher.open(config).search_image((folder / "a.jpg").read_bytes()).hits
        return [caption for hit in hits for caption in hit.image.metadata["captions"]]

    describe("before")
    assert build(config).encoded == 2
    assert captions() == ["before", "before"]
    assert build(config).version == "00000001"
    describe("after")
    report = build(config)
    assert (report.encoded, report.version) == (0, "00000002")
    assert captions() == ["after", "after"]
    assert build(config).version == "00000002"
