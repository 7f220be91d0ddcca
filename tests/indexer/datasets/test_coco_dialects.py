"""Files in the dialects of COCO, in the structure that their authors publish."""

import gzip
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from indexer.datasets import Coco, Item, Listing
from indexer.errors import DatasetError

URL = "http://images.cocodataset.org/train2017/000000000009.jpg"


def scan(root: Path, file: Path, content: Any, *names: str) -> Listing:
    """Scan a folder with these images and an annotation file beside it."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return Coco(root, file).scan()


def only(listing: Listing) -> Item:
    (item,) = listing.items
    assert listing.unreadable == {}
    assert listing.ignored == {}
    return item


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def test_instances_of_coco(root: Path, tmp_path: Path) -> None:
    content = {
        "info": {"description": "COCO 2017 Dataset", "year": 2017},
        "licenses": [
            {"url": "http://x/2.0/", "id": 3, "name": "Attribution-NonCommercial-NoDerivs License"},
        ],
        "images": [
            {
                "license": 3,
                "file_name": "000000000009.jpg",
                "coco_url": URL,
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-19 20:40:11",
                "flickr_url": "http://farm5.staticflickr.com/4026/4622125393_84c8d9a38a_z.jpg",
                "id": 9,
            }
        ],
        "annotations": [
            {
                "segmentation": [[1.08, 187.69, 612.67, 473.53]],
                "area": 120057.13925,
                "iscrowd": 0,
                "image_id": 9,
                "bbox": [1.08, 187.69, 611.59, 285.84],
                "category_id": 51,
                "id": 1038967,
            },
            {
                "segmentation": {"counts": [272, 2, 4], "size": [480, 640]},
                "area": 44434.751099999994,
                "iscrowd": 1,
                "image_id": 9,
                "bbox": [311.73, 4.31, 319.28, 228.68],
                "category_id": 51,
                "id": 1039564,
            },
            {"area": 3, "iscrowd": 0, "image_id": 9, "category_id": 56, "id": 1058555},
        ],
        "categories": [
            {"supercategory": "kitchen", "id": 51, "name": "bowl"},
            {"supercategory": "food", "id": 56, "name": "broccoli"},
        ],
    }
    file = tmp_path / "annotations" / "instances_train2017.json"
    item = only(scan(root, file, content, "train2017/000000000009.jpg"))
    assert item.key == "train2017/000000000009.jpg"
    assert item.metadata == {
        "coco_id": 9,
        "split": "train2017",
        "width": 640,
        "height": 480,
        "licence": 3,
        "licence_name": "Attribution-NonCommercial-NoDerivs License",
        "captured": "2013-11-19T20:40:11",
        "coco_url": URL,
        "flickr_url": "http://farm5.staticflickr.com/4026/4622125393_84c8d9a38a_z.jpg",
        "category": ["bowl", "broccoli"],
        "supercategory": ["kitchen", "food"],
        "count.bowl": 2,
        "count.broccoli": 1,
        "area.bowl": 0.390811,
        "area.broccoli": 0.00001,
        "iscrowd": True,
    }


def test_lvis_has_addresses_of_two_splits_and_no_file_names(root: Path, tmp_path: Path) -> None:
    content = {
        "info": {"description": "LVIS v1"},
        "licenses": [{"id": 1, "name": "Attribution License", "url": "http://x"}],
        "images": [
            {
                "date_captured": "2013-11-15 02:41:42",
                "neg_category_ids": [279, 899],
                "not_exhaustive_category_ids": [],
                "id": number,
                "license": 1,
                "height": 100,
                "width": 100,
                "flickr_url": "http://farm9.staticflickr.com/1.jpg",
                "coco_url": f"http://images.cocodataset.org/{split}/{number:012d}.jpg",
            }
            for number, split in ((1, "train2017"), (2, "val2017"))
        ],
        "annotations": [
            {"area": 50.5, "id": 1, "segmentation": [[0, 0]], "image_id": 2, "category_id": 279}
        ],
        "categories": [
            {
                "name": "crawfish",
                "instance_count": 10,
                "def": "large edible marine crustaceans",
                "synonyms": ["crawfish", "crayfish"],
                "image_count": 5,
                "id": 279,
                "frequency": "r",
                "synset": "crayfish.n.02",
            }
        ],
    }
    names = ("train2017/000000000001.jpg", "val2017/000000000002.jpg")
    listing = scan(root, tmp_path / "lvis_v1_train.json", content, *names)
    assert [item.key for item in listing.items] == list(names)
    assert [item.metadata["split"] for item in listing.items] == ["train2017", "val2017"]
    assert "category" not in listing.items[0].metadata
    crawfish = listing.items[1].metadata
    assert (crawfish["category"], crawfish["area.crawfish"]) == (["crawfish"], 0.00505)
    assert "iscrowd" not in crawfish
    assert "supercategory" not in crawfish
    assert listing.ignored == {"images without annotations (indexed)": 1}


def test_panoptic_categories_are_those_of_the_segments(root: Path, tmp_path: Path) -> None:
    content = {
        "images": [
            {"file_name": "000000000009.jpg", "id": 9, "width": 10, "height": 10, "coco_url": URL}
        ],
        "annotations": [
            {
                "segments_info": [
                    {"id": 3937500, "category_id": 1, "iscrowd": 0, "bbox": [0], "area": 20},
                    {"id": 4937501, "category_id": 1, "iscrowd": 1, "bbox": [0], "area": 30},
                    {"id": 3937502, "category_id": 200, "iscrowd": 0, "bbox": [0], "area": 1},
                ],
                "file_name": "000000000009.png",
                "image_id": 9,
            }
        ],
        "categories": [
            {"supercategory": "person", "color": [220], "isthing": 1, "id": 1, "name": "person"},
            {
                "supercategory": "textile",
                "color": [1],
                "isthing": 0,
                "id": 200,
                "name": "rug-merged",
            },
        ],
    }
    item = only(scan(root, tmp_path / "panoptic_train2017.json", content, "000000000009.jpg"))
    assert item.key == "000000000009.jpg"
    assert item.metadata["category"] == ["person", "rug-merged"]
    assert (item.metadata["count.person"], item.metadata["area.person"]) == (2, 0.3)
    assert item.metadata["iscrowd"] is True


def test_keypoints(root: Path, tmp_path: Path) -> None:
    content = {
        "images": [{"file_name": "9.jpg", "id": 9}],
        "annotations": [
            {
                "segmentation": [[1, 2, 3]],
                "num_keypoints": 1,
                "area": 10.5,
                "iscrowd": 0,
                "keypoints": [229, 256, 2],
                "image_id": 9,
                "bbox": [1, 2, 3, 4],
                "category_id": 1,
                "id": 1218137,
            }
        ],
        "categories": [
            {
                "supercategory": "person",
                "id": 1,
                "name": "person",
                "keypoints": ["nose"],
                "skeleton": [[16, 14]],
            }
        ],
    }
    item = only(scan(root, tmp_path / "person_keypoints_val2017.json", content, "9.jpg"))
    assert item.metadata == {
        "coco_id": 9,
        "split": "val2017",
        "category": ["person"],
        "supercategory": ["person"],
        "count.person": 1,
        "iscrowd": False,
    }


KARPATHY = {
    "images": [
        {
            "filepath": "val2014",
            "sentids": [770337, 771687],
            "filename": "COCO_val2014_000000391895.jpg",
            "imgid": 0,
            "split": "test",
            "sentences": [
                {
                    "tokens": ["a", "man"],
                    "raw": "A man with a red helmet on a small moped. ",
                    "imgid": 0,
                    "sentid": 770337,
                },
                {"tokens": ["man"], "raw": "Man riding a motor bike.", "imgid": 0, "sentid": 7},
            ],
            "cocoid": 391895,
        }
    ],
    "dataset": "coco",
}


@pytest.mark.parametrize("folder", ["val2014/", ""])
def test_karpathys_splits(root: Path, tmp_path: Path, folder: str) -> None:
    name = f"{folder}COCO_val2014_000000391895.jpg"
    item = only(scan(root, tmp_path / "dataset_coco.json", KARPATHY, name))
    assert item.key == name
    assert item.metadata == {
        "coco_id": 391895,
        "split": "test",
        "caption": ["A man with a red helmet on a small moped.", "Man riding a motor bike."],
    }


@pytest.mark.parametrize(
    "on_disk",
    [
        "images/v1/patch8/objects365_v1_00420917.jpg",
        "patch8/objects365_v1_00420917.jpg",
        "train/patch8/objects365_v1_00420917.jpg",
    ],
)
def test_objects365_in_its_patches(root: Path, tmp_path: Path, on_disk: str) -> None:
    content = {
        "images": [
            {
                "height": 512,
                "id": 420917,
                "license": 5,
                "width": 769,
                "file_name": "images/v1/patch8/objects365_v1_00420917.jpg",
                "url": "http://x/420917.jpg",
            }
        ],
        "annotations": [
            {
                "id": 1,
                "iscrowd": 0,
                "isfake": 0,
                "area": 1581.6,
                "isreflected": 0,
                "bbox": [2, 3, 45, 66],
                "image_id": 420917,
                "category_id": 84,
            }
        ],
        "categories": [{"name": "Scale", "id": 84}],
        "licenses": [{"name": "", "id": 5, "url": ""}],
    }
    item = only(scan(root, tmp_path / "zhiyuan_objv2_train.json", content, on_disk))
    assert item.key == on_disk
    assert item.metadata["split"] == "train"
    assert item.metadata["licence"] == 5
    assert "licence_name" not in item.metadata
    assert item.metadata["count.Scale"] == 1


def test_an_export_of_roboflow_has_a_file_in_each_folder(tmp_path: Path) -> None:
    """Its ids begin with 0 in every file, and category 0 is the one above the others."""
    folders = ("train", "valid", "test")
    for number, folder in enumerate(folders):
        content = {
            "info": {"year": "2024", "description": "Exported from roboflow.com"},
            "licenses": [{"id": 1, "url": "https://x/by/4.0/", "name": "CC BY 4.0"}],
            "categories": [
                {"id": 0, "name": "potholes", "supercategory": "none"},
                {"id": 1, "name": "pothole", "supercategory": "potholes"},
            ],
            "images": [
                {
                    "id": 0,
                    "license": 1,
                    "file_name": "a_jpg.rf.1f0.jpg",
                    "height": 640,
                    "width": 640,
                    "date_captured": "2024-02-04T07:40:55+00:00",
                    "extra": {"name": "a.jpg"},
                }
            ],
            "annotations": [
                {"id": n, "image_id": 0, "category_id": 1, "area": 4096, "iscrowd": 0}
                for n in range(number)
            ],
        }
        file = tmp_path / folder / "_annotations.coco.json"
        scan(tmp_path, file, content, f"{folder}/a_jpg.rf.1f0.jpg")
    files = [tmp_path / folder / "_annotations.coco.json" for folder in folders]
    listing = Coco(tmp_path, *files).scan()
    found = {item.metadata["split"]: item for item in listing.items}
    assert [found[folder].key for folder in folders] == [
        f"{folder}/a_jpg.rf.1f0.jpg" for folder in folders
    ]
    assert [found[folder].metadata.get("count.pothole") for folder in folders] == [None, 1, 2]
    assert found["test"].metadata["category"] == ["pothole"]
    assert found["test"].metadata["supercategory"] == ["potholes"]
    assert found["test"].metadata["licence_name"] == "CC BY 4.0"
    assert found["test"].metadata["captured"] == "2024-02-04T07:40:55+00:00"
    assert listing.report() == ["1 images without annotations (indexed): train/a_jpg.rf.1f0.jpg"]
    alone = Coco(tmp_path / "valid", files[1]).scan()
    assert [(item.key, item.metadata["split"]) for item in alone.items] == [
        ("a_jpg.rf.1f0.jpg", "valid")
    ]


def test_image_info_has_no_annotations_and_none_are_missed(root: Path, tmp_path: Path) -> None:
    """``test-dev`` is a part of ``test2017``, in which its images lie."""
    content = {
        "images": [
            {
                "license": 3,
                "file_name": "000000000019.jpg",
                "coco_url": "http://images.cocodataset.org/test2017/000000000019.jpg",
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-15 01:01:50",
                "id": 19,
            }
        ],
        "categories": [{"supercategory": "person", "id": 1, "name": "person"}],
    }
    file = tmp_path / "image_info_test-dev2017.json"
    item = only(scan(root, file, content, "test2017/000000000019.jpg"))
    assert item.key == "test2017/000000000019.jpg"
    assert (item.metadata["split"], item.metadata["coco_id"]) == ("test2017", 19)


def test_ids_and_numbers_written_as_text(root: Path, tmp_path: Path) -> None:
    content = {
        "images": [
            {"id": "9", "file_name": "a.jpg", "width": "20", "height": "10", "license": "4"},
            {"id": 10, "file_name": "b.jpg", "width": 20.0, "height": 10.0},
            {"id": "x-11", "file_name": "c.jpg"},
        ],
        "annotations": [
            {"id": "1", "image_id": 9, "category_id": "1", "area": "50", "iscrowd": "0"},
            {"id": "2", "image_id": "10", "category_id": 1.0, "area": 50, "iscrowd": False},
            {"id": "3", "image_id": "x-11", "category_id": "2", "area": None, "iscrowd": None},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": "2", "name": "dog"}],
    }
    listing = scan(root, tmp_path / "a.json", content, "a.jpg", "b.jpg", "c.jpg")
    size = {"width": 20, "height": 10}
    cat = {"category": ["cat"], "count.cat": 1, "area.cat": 0.25, "iscrowd": False}
    assert [item.metadata for item in listing.items] == [
        {"coco_id": "9", "licence": 4, **size, **cat},
        {"coco_id": 10, **size, **cat},
        {"coco_id": "x-11", "category": ["dog"], "count.dog": 1},
    ]
    assert listing.ignored == {}


@pytest.mark.parametrize(
    ("name", "on_disk"),
    [
        ("val2017\\9.jpg", "val2017/9.jpg"),
        ("a%20photo%231.jpg", "a photo#1.jpg"),
        ("100%25.jpg", "100%25.jpg"),
        ("https://bucket.example/photos/a%20b.jpg?token=1", "a b.jpg"),
        ("./deep//er/9.jpg", "deep/er/9.jpg"),
        ("train2017/9.jpg", "train2017/9.jpg"),
    ],
)
def test_names_are_written_in_many_ways(
    root: Path, tmp_path: Path, name: str, on_disk: str
) -> None:
    content = {"images": [{"id": 9, "file_name": name}]}
    file = tmp_path / "instances_train2017.json"
    assert only(scan(root, file, content, on_disk)).key == on_disk


@pytest.mark.parametrize(
    ("content", "problem", "advice"),
    [
        (
            b'[{"image_id": 42, "category_id": 18, "bbox": [258.15], "score": 0.236}]',
            "it is a list of bbox, category_id, image_id, score, like the results of a detector",
            "Name the annotation file",
        ),
        (b"[1, 2]", "it is a list, not an object with a list of images", "Name a COCO JSON file"),
        (
            b'<?xml version="1.0"?>\n<annotation><folder>VOC2007</folder></annotation>',
            "it is XML, like the annotations of Pascal VOC",
            "Convert the annotations",
        ),
        (
            struct.pack("<Q", 20) + b"\0" * 4 + b"\n\x12\n\x10\n\x0cimage/height" + b"\0" * 8,
            "it is binary, like the TFRecord files of TensorFlow",
            "Convert the annotations",
        ),
        (gzip.compress(b"{}", mtime=0), "it is compressed by gzip", "gunzip --keep"),
        (
            b'{"version": "5.2.1", "flags": {}, "shapes": [], "imagePath": "a.jpg"}',
            "it has no list of images, but flags, imagePath, shapes, version",
            "Name a COCO JSON file",
        ),
        (
            json.dumps({str(n): {"filename": "a.jpg"} for n in range(9)}).encode(),
            "it has no list of images, but 0, 1, 2, 3, 4, 5, 6, 7, ...",
            "Name a COCO JSON file",
        ),
    ],
)
def test_another_file_is_refused_with_what_it_is_and_what_to_do(
    root: Path, tmp_path: Path, content: bytes, problem: str, advice: str
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        Coco(root, tmp_path / "a.json").scan()
    assert caught.value.message.endswith(f"cannot be used: {problem}.")
    assert advice in (caught.value.hint or "")


def test_the_archive_of_the_annotations_is_refused_with_the_command(
    root: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "annotations_trainval2017.zip", "w") as archive:
        archive.writestr("annotations/instances_val2017.json", "{}")
    with pytest.raises(DatasetError, match="it is a zip archive") as caught:
        Coco(root, tmp_path / "annotations_trainval2017.zip").scan()
    assert f"unzip {tmp_path}/annotations_trainval2017.zip" in (caught.value.hint or "")
