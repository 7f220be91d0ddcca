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
        given = image.get("file_name") if isinstance(image, dict) else None
        name = given.rpartition("/")[2] if isinstance(given, str) else ""
        if name and "gone" not in name and "\0" not in name and name.isprintable():
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
    listing = dataset.scan()
    assert {item.key: item.metadata for item in listing.items} == {
        "a.jpg": {
            "coco_id": 7,
            "width": 4,
            "height": 3,
            "licence": 1,
            "category": ["cat", "dog"],
            "supercategory": ["animal"],
            "count.cat": 2,
            "count.dog": 1,
            "caption": ["A cat.", "Two cats, a dog."],
        },
        "b.jpg": {"coco_id": "8"},
    }
    assert listing.ignored == {
        "annotations of no category in the list": 1,
        "annotations of no image in the list": 1,
        "images without annotations (indexed)": 1,
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
    assert listing.ignored == {"listed twice": 1, "images that are not on disk": 1}
    assert "1 images that are not on disk: gone.jpg" in listing.report()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "invalid JSON"),
        ('{"images": ' + "[" * 100_000, "nested too deeply"),
        ("[]", "it is a list, not an object"),
        ("{}", "it has no list of images, but nothing"),
        ('{"images": null}', "it has no list of images, but images"),
        ('{"shapes": [], "imagePath": "a.jpg"}', "no list of images, but imagePath, shapes"),
        ("5", "it is no JSON object"),
        ('{"images": {}}', "it has no list of images"),
        ('{"images": "a.jpg"}', "it has no list of images"),
        ('{"images": [{"id": 1}]}', "none of its images has a file_name"),
        ('{"images": ["a.jpg", null]}', "none of its images has a file_name"),
        ('{"images": [], "annotations": {"1": 2}}', "it has no list of annotations"),
        ('{"images": [], "categories": "cat"}', "it has no list of categories"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_windows_is_read(tmp_path: Path, encoding: str) -> None:
    content = {"images": IMAGES, "annotations": [{"image_id": 7, "caption": "é 😀"}]}
    dataset = annotated(tmp_path, **content)
    text = json.dumps(content, ensure_ascii=False)
    (tmp_path / "coco.json").write_bytes(text.encode(encoding))
    assert dataset.scan().items[0].metadata["caption"] == ["é 😀"]


def test_utf_16_without_a_mark_is_refused_with_advice(tmp_path: Path) -> None:
    dataset = annotated(tmp_path, images=IMAGES)
    (tmp_path / "coco.json").write_bytes(json.dumps({"images": IMAGES}).encode("utf-16-le"))
    with pytest.raises(DatasetError, match="without a byte order mark; save it as UTF-8"):
        dataset.scan()


def test_one_bad_record_costs_that_record_counted_and_named(tmp_path: Path) -> None:
    """Half an emoji, as of a tool that truncates, costs this character."""
    dataset = annotated(
        tmp_path,
        images=[
            *IMAGES,
            {"id": 9},
            "c.jpg",
            {"id": 10, "file_name": 5},
            {"id": 11, "file_name": ""},
            {"id": 12, "file_name": "a\ud83d.jpg"},
            {"file_name": "no_id.jpg"},
            {"id": [1], "file_name": "bad_id.jpg"},
        ],
        categories=[
            {"id": 1, "name": "cat"},
            {"id": 2},
            {"name": "dog"},
            None,
            {"id": 3, "name": 3},
        ],
        annotations=[
            {"image_id": 7, "caption": "so cute \ud83d"},
            {"image_id": 7, "caption": ["a list"]},
            {"image_id": 7, "caption": None, "category_id": None},
            {"image_id": 99, "caption": "lost"},
            {"image_id": None, "caption": "lost"},
            {"image_id": [7], "caption": "lost"},
            "nothing",
            {"image_id": "8", "category_id": 1},
            {"image_id": "8", "category_id": 2},
            {"image_id": "8", "category_id": {"id": 1}},
        ],
    )
    listing = dataset.scan()
    assert {item.key: item.metadata for item in listing.items} == {
        "a.jpg": {
            "coco_id": 7,
            "width": 4,
            "height": 3,
            "licence": 1,
            "caption": ["so cute \ufffd"],
        },
        "b.jpg": {"coco_id": "8", "category": ["cat"], "count.cat": 1},
        "no_id.jpg": {},
        "bad_id.jpg": {},
    }
    assert listing.unreadable == {
        **{f"coco.json: images[{n}]": "it has no file_name" for n in (2, 3, 4, 5)},
        "a\ufffd.jpg": "No such file or directory",
    }
    assert listing.ignored == {
        "values that COCO does not have there": 6,
        "categories without id and name": 4,
        "annotations of no image in the list": 4,
        "annotations of no category in the list": 1,
        "images without annotations (indexed)": 2,
        "images that are not on disk": 1,
        "texts with half a character or a zero byte, which became U+FFFD": 2,
    }
    assert (
        "4 annotations of no image in the list: coco.json: annotations[3], "
        "coco.json: annotations[4], coco.json: annotations[5], ..."
    ) in listing.report()
    assert listing.examples["values that COCO does not have there"] == [
        "coco.json: categories[4].name",
        "coco.json: images[4].file_name",
        "coco.json: images[8].id",
    ]


DAM = {
    "category": ["dam", "river"],
    "count.dam": 1,
    "count.river": 1,
    "caption": ["a dam", "a lake"],
}


def test_what_is_said_of_a_file_under_two_ids_is_merged(tmp_path: Path) -> None:
    """As in annotation files that were merged."""
    dataset = annotated(
        tmp_path,
        images=[
            {"id": 1, "file_name": "a.jpg"},
            {"id": 70001, "file_name": "./a.jpg"},
            {"id": 1, "file_name": "a.jpg"},
            {"id": 2, "file_name": "b.jpg"},
        ],
        categories=[{"id": 1, "name": "dam"}, {"id": 2, "name": "river"}],
        annotations=[
            {"image_id": 1, "category_id": 1},
            {"image_id": 70001, "category_id": 2, "caption": "a dam"},
            {"image_id": 1, "caption": "a lake"},
        ],
    )
    listing = dataset.scan()
    assert {item.key: item.metadata for item in listing.items} == {
        "a.jpg": {"coco_id": 1, **DAM},
        "b.jpg": {"coco_id": 2},
    }
    assert listing.ignored == {"listed twice": 2, "images without annotations (indexed)": 1}
    assert listing.report() == [
        "2 listed twice: a.jpg (coco.json: images[1]), a.jpg (coco.json: images[2])",
        "1 images without annotations (indexed): b.jpg",
    ]


def test_an_id_that_means_two_images_or_two_categories_is_reported(tmp_path: Path) -> None:
    dataset = annotated(
        tmp_path,
        images=[{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}],
        categories=[{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}],
        annotations=[{"image_id": 1, "category_id": 1}],
    )
    listing = dataset.scan()
    assert [item.metadata["category"] for item in listing.items] == [["cat"], ["cat"]]
    assert listing.ignored == {
        "images with the id of another one": 1,
        "categories with the id of another one": 1,
    }


def test_ids_are_the_same_as_numbers_and_as_text(tmp_path: Path) -> None:
    huge = 2**70
    dataset = annotated(
        tmp_path,
        images=[
            {"id": 1, "file_name": "a.jpg"},
            {"id": "2", "file_name": "b.jpg"},
            {"id": 3.0, "file_name": "c.jpg"},
            {"id": huge, "file_name": "d.jpg"},
        ],
        categories=[{"id": "1", "name": "cat"}],
        annotations=[{"image_id": n, "category_id": 1} for n in ("1", 2, 3, huge)],
    )
    listing = dataset.scan()
    assert [item.metadata["category"] for item in listing.items] == [["cat"]] * 4
    assert listing.items[3].metadata["coco_id"] == str(huge)
    assert listing.ignored == {}


@pytest.mark.parametrize("on_disk", ["val2017/1.jpg", "1.jpg"])
def test_files_of_lvis_are_found_by_their_address(tmp_path: Path, on_disk: str) -> None:
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    (tmp_path / "images" / on_disk).write_bytes(b"x")
    images = [
        {"id": 1, "coco_url": "http://images.cocodataset.org/val2017/1.jpg"},
        {"id": 2, "coco_url": "http://images.cocodataset.org/val2017/gone%202.jpg"},
        {"id": 3, "coco_url": "http://[x/gone.jpg"},
        {"id": 4, "coco_url": "http://x/../../etc/passwd"},
        {"id": 5, "coco_url": 5},
    ]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images}))
    listing = Coco(tmp_path / "images", tmp_path / "coco.json").scan()
    assert [(item.key, item.metadata["split"]) for item in listing.items] == [(on_disk, "val2017")]
    assert sorted(listing.unreadable) == [
        "coco.json: images[2]",
        "coco.json: images[4]",
        "passwd",
        "val2017/gone 2.jpg",
    ]


@pytest.mark.parametrize("kind", ["number", "null"])
def test_a_value_that_json_has_not_is_not_stored(
    tmp_path: Path, photos: list[Path], kind: str
) -> None:
    """Also in fields that are not used, such as an area of NaN."""
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(photos[0], folder / "a.jpg")
    value = "1e999" if kind == "number" else "NaN"
    text = '{"images": [{"id": 1, "file_name": "a.jpg", "width": %s}], "annotations": '
    text += '[{"image_id": 1, "area": %s, "caption": "a"}, {"image_id": %s, "caption": "b"}]}'
    (tmp_path / "coco.json").write_text(text.replace("%s", value))
    listing = Coco(folder, tmp_path / "coco.json").scan()
    assert [item.metadata for item in listing.items] == [{"coco_id": 1, "caption": ["a"]}]
    assert listing.ignored["annotations of no image in the list"] == 1
    assert "1 annotations of no image in the list: coco.json: annotations[1]" in listing.report()


def test_only_what_json_has_not_is_replaced(tmp_path: Path) -> None:
    """Not what looks like it in a text."""
    dataset = annotated(tmp_path, images=IMAGES)
    captions = [
        rb"NaN, -Infinity and \"NaN\"",
        rb"\\ud83d is no half",
        rb"a whole \ud83d\ude00",
        rb"\u00e9 \ud83d half",
        rb"\ude00\ud83d halves \\\\",
    ]
    said = [b'{"image_id": 7, "area": -Infinity, "caption": "%s"}' % text for text in captions]
    text = b'{"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": [%s]}' % b",".join(said)
    (tmp_path / "coco.json").write_bytes(text)
    listing = dataset.scan()
    assert listing.items[0].metadata["caption"] == [
        'NaN, -Infinity and "NaN"',
        r"\ud83d is no half",
        "a whole 😀",
        "é \ufffd half",
        "\ufffd\ufffd halves \\\\",
    ]
    assert listing.ignored == {
        "NaN or infinity, which became null": 5,
        "texts with half a character or a zero byte, which became U+FFFD": 2,
    }
    first = text.index(b"-Infinity")
    assert listing.examples["NaN or infinity, which became null"][0] == f"coco.json: byte {first}"


def test_a_zero_byte_in_a_name_of_a_category_or_licence_is_replaced(tmp_path: Path) -> None:
    dataset = annotated(
        tmp_path,
        licenses=[{"id": 1, "name": "by\0"}],
        images=[{"id": 1, "file_name": "a.jpg", "license": 1}],
        categories=[{"id": 1, "name": "c\0at", "supercategory": "\0"}],
        annotations=[{"image_id": 1, "category_id": 1}],
    )
    listing = dataset.scan()
    assert listing.items[0].metadata == {
        "coco_id": 1,
        "licence": 1,
        "licence_name": "by\ufffd",
        "category": ["c\ufffdat"],
        "supercategory": ["\ufffd"],
        "count.c\ufffdat": 1,
    }
    assert listing.ignored.total() == 2


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
        return [caption for hit in hits for caption in hit.image.metadata["caption"]]

    describe("before")
    assert build(config).encoded == 2
    assert captions() == ["before", "before"]
    assert build(config).version == "00000001"
    describe("after")
    report = build(config)
    assert (report.encoded, report.version) == (0, "00000002")
    assert captions() == ["after", "after"]
    assert build(config).version == "00000002"
