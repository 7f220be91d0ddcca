"""Several annotation files and splits of COCO, and what loading a large file costs."""

import io
import json
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.build import build
from indexer.datasets import Coco, Listing
from indexer.datasets.coco import formats
from indexer.search import Searcher
from tests.conftest import small_config

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
]
Write = Callable[..., Path]


def record(number: int, split: str = "train2017") -> dict[str, Any]:
    name = f"{number:012d}.jpg"
    url = f"http://images.cocodataset.org/{split}/{name}"
    return {"id": number, "file_name": name, "coco_url": url, "width": 10, "height": 10}


def thing(number: int, image: int, category: int, area: float = 1) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "area": area, "iscrowd": 0}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, **content: Any) -> Path:
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    return write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of images 1 and 2 of train2017 and 3 of val2017."""
    for name in ("train2017/000000000001", "train2017/000000000002", "val2017/000000000003"):
        path = tmp_path / "coco" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "coco"


@pytest.fixture
def instances(write: Write) -> Path:
    things = [thing(1, 1, 1, 5), thing(2, 1, 1, 9), thing(3, 1, 18), thing(4, 2, 18)]
    images = [record(1), record(2)]
    name = "instances_train2017.json"
    return write(name, images=images, annotations=things, categories=CATEGORIES)


@pytest.fixture
def captions(write: Write) -> Path:
    said = [(1, "A man."), (1, "A dog."), (1, "A dog."), (2, "A dog alone.")]
    annotations = [{"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(said)]
    images = [record(1), record(2)]
    return write("captions_train2017.json", images=images, annotations=annotations)


def metadata(listing: Listing) -> dict[str, Any]:
    return {item.key: item.metadata for item in listing.items}


@pytest.mark.parametrize("order", [1, -1])
def test_instances_and_captions_of_a_split_are_merged(
    root: Path, instances: Path, captions: Path, order: int
) -> None:
    listing = Coco(root, *[instances, captions][::order]).scan()
    found = metadata(listing)
    assert list(found) == ["train2017/000000000001.jpg", "train2017/000000000002.jpg"]
    assert found["train2017/000000000001.jpg"] == {
        "coco_id": 1,
        "split": "train2017",
        "width": 10,
        "height": 10,
        "coco_url": "http://images.cocodataset.org/train2017/000000000001.jpg",
        "category": ["person", "dog"],
        "supercategory": ["person", "animal"],
        "count.person": 2,
        "count.dog": 1,
        "area.person": 0.09,
        "area.dog": 0.01,
        "iscrowd": False,
        "caption": ["A man.", "A dog.", "A dog."],
    }
    assert found["train2017/000000000002.jpg"]["caption"] == ["A dog alone."]
    assert listing.ignored == {}


def test_splits_have_the_keys_of_their_folders(root: Path, instances: Path, write: Write) -> None:
    """Also if they use the same numbers for images and annotations."""
    val = write(
        "instances_val2017.json",
        images=[{**record(1, "val2017"), "file_name": "000000000003.jpg"}],
        annotations=[thing(1, 1, 18)],
        categories=CATEGORIES,
    )
    listing = Coco(root, instances, val).scan()
    assert [(key, values["split"]) for key, values in metadata(listing).items()] == [
        ("train2017/000000000001.jpg", "train2017"),
        ("train2017/000000000002.jpg", "train2017"),
        ("val2017/000000000003.jpg", "val2017"),
    ]
    assert listing.items[0].metadata["count.person"] == 2
    assert listing.items[2].metadata["category"] == ["dog"]
    assert listing.ignored == {}
    assert Coco(root, instances, val).read("val2017/000000000003.jpg") == b"x"


def test_the_folder_of_one_split_is_a_root_as_well(
    root: Path, instances: Path, captions: Path
) -> None:
    listing = Coco(root / "train2017", instances, captions).scan()
    assert list(metadata(listing)) == ["000000000001.jpg", "000000000002.jpg"]
    assert listing.items[0].metadata["split"] == "train2017"


def test_what_two_files_say_of_the_same_things_counts_once(
    root: Path, instances: Path, captions: Path, write: Write
) -> None:
    """The persons of ``person_keypoints`` are those of ``instances``."""
    keypoints = write(
        "person_keypoints_train2017.json",
        images=[record(1), record(2)],
        annotations=[thing(1, 1, 1, 5), thing(2, 1, 1, 9)],
        categories=CATEGORIES[:1],
    )
    alone = metadata(Coco(root, instances, captions).scan())
    files = [instances, keypoints, captions, instances, captions]
    assert metadata(Coco(root, *files).scan()) == alone


def test_an_annotation_that_is_listed_twice_counts_once(root: Path, write: Write) -> None:
    """An id alone says nothing: some tools begin with 1 in every image."""
    things = [thing(1, 1, 1), thing(1, 1, 1), thing(1, 2, 1), thing(1, 1, 18), thing(2, 1, 1)]
    no_id = {"image_id": 2, "category_id": 1}
    file = write(
        "train2017.json",
        images=[record(1), record(2)],
        annotations=[*things, no_id, no_id],
        categories=CATEGORIES,
    )
    listing = Coco(root, file).scan()
    counts = [values.get("count.person") for values in metadata(listing).values()]
    assert counts == [2, 3]
    assert listing.report() == ["1 annotations listed twice: train2017.json: annotations[1]"]


def test_what_cannot_be_used_is_counted_and_named_with_its_file(
    root: Path, instances: Path, write: Write
) -> None:
    (root / "train2017" / "000000000002.jpg").unlink()
    (root / "labels").mkdir()
    shutil.copy(instances, root / "labels" / instances.name)
    bad = write(
        "instances_train2017.json",
        images=[
            {**record(1), "date_captured": "last summer", "width": 2**63, "height": [5]},
            {"id": 5},
            record(7),
        ],
        annotations=[thing(1, 99, 1), {**thing(2, 1, 1), "area": -1}],
        categories=CATEGORIES,
    )
    listing = Coco(root, bad, root / "labels" / instances.name).scan()
    prefix = f"{bad.parent.name}/instances_train2017.json"
    assert listing.unreadable == {
        f"{prefix}: images[1]": "it has no file_name",
        "train2017/000000000002.jpg": "No such file or directory",
        "train2017/000000000007.jpg": "No such file or directory",
    }
    assert listing.deleted == {"train2017/000000000002.jpg", "train2017/000000000007.jpg"}
    places = ("images[0].width", "images[0].height", "annotations[1].area")
    assert listing.report() == [
        "3 values that COCO does not have there: "
        + ", ".join(f"{prefix}: {place}" for place in places),
        f"1 dates that are not in ISO 8601: {prefix}: images[0]",
        f"1 annotations of no image in the list: {prefix}: annotations[0]",
        "2 images that are not on disk: train2017/000000000007.jpg, train2017/000000000002.jpg",
    ]


def test_a_split_whose_disk_is_away_is_not_deleted(root: Path, instances: Path) -> None:
    (root / "train2017").rename(root.parent / "away")
    (root / "train2017").symlink_to(root.parent / "nowhere")
    listing = Coco(root, instances).scan()
    assert list(listing.doubtful) == ["train2017/000000000001.jpg", "train2017/000000000002.jpg"]
    assert listing.deleted == set()


def test_captions_added_to_an_index_encode_nothing(
    root: Path, instances: Path, captions: Path, photos: list[Path], tmp_path: Path
) -> None:
    for number, photo in zip((1, 2), photos, strict=False):
        shutil.copy(photo, root / "train2017" / f"{number:012d}.jpg")

    def indexed(*files: Path) -> tuple[int, list[Any]]:
        names = [str(file) for file in files]
        dataset = {"kind": "coco", "root": str(root), "annotations": names}
        config = small_config(root, tmp_path / "store", dataset=dataset)
        encoded = build(config).encoded
        hits = Searcher.open(config).search_id(1).hits
        return encoded, [hit.image.metadata.get("caption") for hit in hits]

    assert indexed(instances) == (2, [None, None])
    assert indexed(instances, captions) == (0, [["A man.", "A dog.", "A dog."], ["A dog alone."]])


@pytest.mark.parametrize("broken", [False, True])
def test_a_file_is_loaded_with_twice_its_size_and_without_its_polygons(
    root: Path, write: Write, *, broken: bool
) -> None:
    """Also one with numbers that JSON has not, as Python writes them."""
    polygons = [[round(n * 1.37, 2) for n in range(60)]]
    area = float("nan") if broken else 1.5
    file = write(
        "instances_train2017.json",
        images=[record(number) for number in range(500)],
        annotations=[
            {"segmentation": polygons, **thing(n, n % 500, 1, area), "bbox": [1.5, 2.5, 3.5, 4.5]}
            for n in range(8000)
        ],
        categories=CATEGORIES,
    )
    tracemalloc.start()
    try:
        listing = Coco(root, file).scan()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing.items) == 2
    assert listing.items[0].metadata["count.person"] == 16
    assert ("area.person" in listing.items[0].metadata) == (not broken)
    assert peak < 2.2 * file.stat().st_size


def test_loading_shows_its_progress_on_a_terminal_only(
    root: Path, instances: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(formats, "BAR_DELAY_S", 0)
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        Coco(root, instances).scan()
        bar = "Reading instances_train2017.json: annotations:   0%"
        assert (bar in stream.getvalue()) == shown
