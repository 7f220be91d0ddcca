"""Boxes of COCO's annotations as items."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.config import DatasetConfig
from indexer.datasets import Boxes, Coco, Item, Listing, open_dataset
from indexer.errors import DatasetError
from indexer.images import Box
from indexer.text import normal_forms

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 18, "name": "dog", "supercategory": "none"},
]
FILE = "train2017/000000000009.jpg"
Scan = Callable[..., Listing]


def record(number: int = 9, **values: object) -> dict[str, Any]:
    url = f"http://images.cocodataset.org/train2017/{number:012d}.jpg"
    name = f"{number:012d}.jpg"
    return {"id": number, "file_name": name, "coco_url": url, "width": 200, "height": 100} | values


def box(number: object, *bbox: object, **values: object) -> dict[str, Any]:
    return {"id": number, "image_id": 9, "category_id": 1, "bbox": list(bbox)} | values


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*things: object, name: str = "instances_train2017.json", **content: object) -> Path:
        default = {"images": [record()], "annotations": things, "categories": CATEGORIES}
        (tmp_path / name).write_text(json.dumps(default | content))
        return tmp_path / name

    return write


@pytest.fixture
def scan(tmp_path: Path, write: Callable[..., Path]) -> Scan:
    """Scans one file with these annotations."""
    (tmp_path / "train2017").mkdir()
    (tmp_path / FILE).write_bytes(b"x")

    def scan(*things: object, boxes: Boxes | None = None, **content: object) -> Listing:
        return Coco(tmp_path, write(*things, **content), boxes=boxes or Boxes()).scan()

    return scan


def only(listing: Listing) -> Item:
    (item,) = listing.items
    return item


def test_each_box_is_an_item_of_its_file(scan: Scan, tmp_path: Path) -> None:
    found = scan(
        box(441444, 20, 10, 100, 50, area=2000, iscrowd=0),
        box(7, 0, 0, 200, 100, category_id=18),
        images=[record(license=4)],
    )
    first, second = found.items
    assert (first.key, first.file, first.size) == (f"{FILE}#box=441444", FILE, 1)
    assert first.box == Box(0.1, 0.1, 0.5, 0.5)
    assert first.metadata == {
        "coco_id": 9, "split": "train2017", "licence": 4, "annotation_id": 441444,
        "category": "person", "supercategory": "person", "area": 0.1, "iscrowd": False,
    }  # fmt: skip
    assert (second.box, second.metadata["category"]) == (Box(0, 0, 1, 1), "dog")
    assert "supercategory" not in second.metadata
    assert Coco(tmp_path, boxes=Boxes()).read(first.file) == b"x"
    assert found.ignored == {}


def test_a_box_ends_where_the_picture_does(scan: Scan) -> None:
    assert only(scan(box(1, -20, 90, 40, 50))).box == Box(0, 0.9, 0.1, 0.1)


def test_a_margin_is_a_share_of_the_box_within_the_picture(scan: Scan) -> None:
    found = scan(box(1, 100, 0, 40, 50), boxes=Boxes(margin=0.5))
    assert only(found).box == Box(0.4, 0, 0.4, 0.75)


@pytest.mark.parametrize(("side", "count"), [(15.9, 0), (16, 1)])
def test_small_boxes_are_passed_over_and_named(scan: Scan, side: float, count: int) -> None:
    """What counts is the side of the box in the picture, without its margin."""
    boxes = Boxes(margin=1, min_side=16)
    found = scan(box(1, 0, 0, 50, 50), box(2, 200 - side, 0, 50, 50), boxes=boxes)
    assert len(found.items) == 1 + count
    if not count:
        assert found.examples["boxes smaller than 16 pixels"] == [f"{FILE}#box=2"]


@pytest.mark.parametrize("bbox", [(0, 0, 0, 10), (5, 5, -2, 3), (200, 0, 9, 9), (0, -9, 9, 9)])
def test_a_box_outside_of_the_picture_is_passed_over(scan: Scan, bbox: tuple[int, ...]) -> None:
    found = scan(box(1, 0, 0, 9, 9), box(2, *bbox))
    assert len(found.items) == 1
    assert found.ignored == {"boxes that are empty or outside of their picture": 1}


@pytest.mark.parametrize(
    ("bbox", "heading"),
    [
        ([1, 2, 3], "boxes that are not four numbers"),
        ([1, 2, 3, "x"], "values that COCO does not have there"),
        (None, None),
    ],
)
def test_what_is_no_box_is_counted(scan: Scan, bbox: object, heading: str | None) -> None:
    found = scan(box(1, 0, 0, 9, 9), {**box(2), "bbox": bbox})
    assert len(found.items) == 1
    assert list(found.ignored) == ([heading] if heading else [])


def test_boxes_need_the_size_of_the_picture(scan: Scan) -> None:
    images = [record(), {"id": 8, "file_name": "000000000009.jpg.png"}]
    found = scan(box(1, 0, 0, 9, 9), box(2, 0, 0, 9, 9, image_id=8), images=images)
    assert only(found).key == f"{FILE}#box=1"
    assert found.ignored["images with boxes, but without width and height"] == 1


def test_the_tiniest_box_of_an_enormous_picture_is_not_empty(scan: Scan) -> None:
    found = scan(box(1, 2e9, 2e9, 1, 1), images=[record(width=2**31 - 1, height=2**31 - 1)])
    region = only(found).box
    assert region is not None
    assert min(region.width, region.height) > 0


def test_images_without_boxes_are_no_items(scan: Scan) -> None:
    found = scan(box(1, 0, 0, 9, 9), images=[record(), record(8)])
    assert [item.key for item in found.items] == [f"{FILE}#box=1"]
    assert found.examples["images without boxes"] == ["train2017/000000000008.jpg"]
    assert found.unreadable == {}


def test_all_boxes_of_a_missing_file_are_unreadable(scan: Scan) -> None:
    boxes = [box(n, 0, 0, 9, 9, image_id=8) for n in (1, 2)]
    found = scan(*boxes, images=[record(8)])
    keys = {f"train2017/000000000008.jpg#box={n}" for n in (1, 2)}
    assert found.unreadable.keys() == found.deleted == keys
    assert found.ignored == {"images that are not on disk": 1}


def test_a_missing_file_is_known_under_its_other_spellings(scan: Scan) -> None:
    composed, decomposed = normal_forms("é.jpg")
    found = scan(box(1, 0, 0, 9, 9), images=[record(file_name=composed, coco_url=None)])
    (key,) = found.unreadable
    assert key == f"train2017/{composed}#box=1"
    known = f"train2017/{decomposed}#box=1"
    found.use_known_names({known})
    assert found.unreadable.keys() == found.deleted == {known}


def test_two_boxes_with_one_id_are_not_mixed_up(scan: Scan) -> None:
    found = scan(box(1, 0, 0, 9, 9), box(1, 0, 0, 20, 20, category_id=18))
    assert only(found).metadata["category"] == "person"
    assert found.ignored == {"boxes with the id of another one in the picture": 1}


def test_boxes_without_ids_are_numbered_in_their_picture(scan: Scan) -> None:
    found = scan(box(None, 0, 0, 9, 9), box(None, 0, 0, 20, 20), box("a/b#box=c", 0, 0, 9, 9))
    assert [item.key.removeprefix(FILE) for item in found.items] == [
        "#box=a%2Fb%23box%3Dc",
        "#box=n1",
        "#box=n2",
    ]
    assert {item.file for item in found.items} == {FILE}


def test_a_box_without_a_category_is_one_too(scan: Scan) -> None:
    found = scan(box(1, 0, 0, 9, 9, category_id=None), box(2, 0, 0, 9, 9, category_id=99))
    assert "category" not in only(found).metadata
    assert found.ignored == {"annotations of no category in the list": 1}


def test_segments_of_panoptic_files_have_boxes(scan: Scan) -> None:
    segments = [{"id": n, "category_id": 1, "bbox": [0, 0, n, n]} for n in (20, 30)]
    found = scan({"image_id": 9, "segments_info": segments})
    assert [item.box for item in found.items] == [Box(0, 0, 0.1, 0.2), Box(0, 0, 0.15, 0.3)]


def test_the_same_boxes_in_two_files_count_once(
    scan: Scan, write: Callable[..., Path], tmp_path: Path
) -> None:
    scan(box(1, 0, 0, 9, 9), box(2, 0, 0, 9, 9))
    keypoints = write(
        box(1, 0, 0, 9, 9), box(2, 0, 0, 30, 9), box(3, 0, 0, 9, 9), name="k_train2017.json"
    )
    found = Coco(tmp_path, tmp_path / "instances_train2017.json", keypoints, boxes=Boxes()).scan()
    assert [item.key.removeprefix(FILE) for item in found.items] == ["#box=1", "#box=2", "#box=3"]
    assert found.examples == {"boxes with the id of another one in the picture": [f"{FILE}#box=2"]}


def test_the_revision_of_a_box_differs_if_the_box_does(scan: Scan) -> None:
    before = only(scan(box(1, 0, 0, 9, 9)))
    assert only(scan(box(1, 0, 0, 9, 9), boxes=Boxes(margin=0.1))).revision != before.revision
    assert only(scan(box(1, 0, 0, 9, 8))).revision != before.revision
    assert only(scan(box(1, 0, 0, 9, 9, category_id=18))).revision == before.revision


def test_files_without_boxes_are_refused(scan: Scan) -> None:
    with pytest.raises(DatasetError, match=r"no boxes to index in .*: 1 images without boxes\."):
        scan({"id": 1, "image_id": 9, "caption": "A man."})


def test_the_settings_ask_for_boxes(tmp_path: Path, scan: Scan) -> None:
    scan(box(1, 0, 0, 16, 16), box(2, 0, 0, 15, 16))
    config = DatasetConfig(
        kind="coco", root=tmp_path, annotations=tmp_path / "instances_train2017.json", items="boxes"
    )
    assert [item.key for item in open_dataset(config).scan().items] == [f"{FILE}#box=1"]
    images = config.model_copy(update={"items": "images"})
    assert [item.key for item in open_dataset(images).scan().items] == [FILE]
