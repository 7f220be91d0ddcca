"""Real images of COCO 2017 with their real annotations, where they are at hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from indexer.build import build
from indexer.config import Config
from indexer.search import Query, Searcher, Selection
from tests.conftest import ROOT
from tests.corners import Corners

COCO = ROOT.parent / "shared" / "coco_mini"
SPLITS = "train2017", "val2017"
LABELS = [COCO / "annotations" / f"instances_{split}.json" for split in SPLITS]
CAPTIONS = [COCO / "annotations" / f"captions_{split}.json" for split in SPLITS]

pytestmark = pytest.mark.skipif(
    not COCO.is_dir(), reason=f"{COCO}, a part of COCO 2017, is not at hand"
)


def configured(store: Path, *annotations: Path) -> Config:
    return Config(
        store=store, dataset={"kind": "coco", "root": COCO, "annotations": list(annotations)}
    )


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    config = configured(tmp_path_factory.mktemp("coco") / "store", *LABELS, *CAPTIONS)
    report = build(config, Corners())
    assert (report.found, report.indexed, report.skipped) == (159, 159, 0)
    return Searcher.open(config)


def contents(files: list[Path]) -> list[dict[str, Any]]:
    return [json.loads(file.read_bytes()) for file in files]


def test_each_of_the_80_categories_passes_the_images_that_the_annotations_name(
    searcher: Searcher,
) -> None:
    wanted: dict[str, set[str]] = {}
    for split, content in zip(SPLITS, contents(LABELS), strict=True):
        names = {one["id"]: one["name"] for one in content["categories"]}
        files = {one["id"]: f"{split}/{one['file_name']}" for one in content["images"]}
        for name in names.values():
            wanted.setdefault(name, set())
        for note in content["annotations"]:
            wanted[names[note["category_id"]]].add(files[note["image_id"]])
    assert len(wanted) == 80
    for name, images in wanted.items():
        answer = searcher.search(Query(image_id=1), Selection(k=200, filter=[f'category="{name}"']))
        assert {hit.image.key for hit in answer.hits} == images, name


def test_every_caption_is_found_by_its_words(searcher: Searcher) -> None:
    for split, content in zip(SPLITS, contents(CAPTIONS), strict=True):
        files = {one["id"]: f"{split}/{one['file_name']}" for one in content["images"]}
        for note in content["annotations"][::20]:
            words = note["caption"].strip().replace('"', " ")
            found = searcher.collection.listed(Selection(k=200), text=f'"{words}"')
            assert files[note["image_id"]] in {image.key for image in found.images}, words


def test_captions_are_added_without_encoding(tmp_path: Path) -> None:
    build(configured(tmp_path / "store", *LABELS), Corners())
    before = Searcher.open(configured(tmp_path / "store", *LABELS))
    assert set(before.collection.find_words("dog").texts) == {"category"}
    report = build(configured(tmp_path / "store", *LABELS, *CAPTIONS), Corners())
    assert (report.encoded, report.indexed) == (0, 159)
    after = Searcher.open(configured(tmp_path / "store", *LABELS, *CAPTIONS))
    assert set(after.collection.find_words("dog").texts) == {"caption", "category"}
