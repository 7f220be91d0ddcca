"""Builds whose items are the boxes of annotations."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import indexer.build.extract
import indexer.build.plan
import indexer.build.rates
from indexer.build import BuildReport, build
from indexer.build.extract import MAX_TOGETHER, Preparation, Prepared, prepared_batches
from indexer.build.plan import plan, preview
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets import Coco, open_dataset
from indexer.encoders.spec import Images, Vectors
from indexer.errors import DatasetError, ImageGone
from indexer.executors import LocalExecutor
from indexer.images import Box
from indexer.maintenance import verify
from indexer.search import ImageRow, Searcher
from indexer.store import Store
from tests.conftest import small_config
from tests.corners import Corners

COLOURS = ("red", "lime", "blue", "white")
"""Of the quarters of a picture of 64 x 32 pixels, row by row."""
QUARTERS = ([0, 0, 32, 16], [32, 0, 32, 16], [0, 16, 32, 16], [32, 16, 32, 16])

Annotate = Callable[..., Config]
"""Writes the annotations, and returns the settings for them."""


def picture(path: Path, *, shift: int = 0, orientation: int = 1) -> None:
    image = Image.new("RGB", (64, 32))
    for number, (x, y, width, height) in enumerate(QUARTERS):
        image.paste(COLOURS[(number + shift) % 4], (x, y, x + width, y + height))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(exist_ok=True)
    image.save(path, exif=exif)


def things(images: int = 3, **first: object) -> list[dict[str, Any]]:
    """A box for each quarter of each picture; what is ``first`` is of the first of them."""
    found = [
        {"id": 10 * image + n, "image_id": image, "category_id": n + 1, "bbox": quarter}
        for image in range(1, images + 1)
        for n, quarter in enumerate(QUARTERS)
    ]
    found[0] |= first
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of three pictures, each with the colours elsewhere."""
    (tmp_path / "coco").mkdir()
    for number in (1, 2, 3):
        picture(tmp_path / "coco" / f"{number}.png", shift=number - 1)
    return tmp_path / "coco"


@pytest.fixture
def annotate(tmp_path: Path, root: Path) -> Annotate:
    def annotate(
        annotations: list[dict[str, Any]] | None = None, folder: str = "", **dataset: object
    ) -> Config:
        images = [
            {"id": n, "file_name": f"{folder}{n}.png", "width": 64, "height": 32} for n in (1, 2, 3)
        ]
        categories = [{"id": n + 1, "name": name} for n, name in enumerate(COLOURS)]
        content = {"images": images, "annotations": annotations or things()}
        (tmp_path / "a.json").write_text(json.dumps(content | {"categories": categories}))
        settings = {"kind": "coco", "root": root, "annotations": tmp_path / "a.json"}
        return small_config(root, tmp_path / "s", dataset=settings | {"items": "boxes"} | dataset)

    return annotate


@pytest.fixture
def reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of the folder is read; servers of other tests may look at theirs."""
    counts, read = Counter[str](), Coco.read

    def counted(coco: Coco, key: str) -> bytes:
        if coco._root == root:
            counts[key] += 1
        return read(coco, key)

    monkeypatch.setattr(Coco, "read", counted)
    return counts


def rows(config: Config) -> dict[str, ImageRow]:
    found = Store(config.store).open_published().catalogue.rows("indexed")
    return {row.key: row for row in found}


def counts(report: BuildReport) -> tuple[int, int, int, int]:
    assert report.found == report.indexed + report.skipped
    return report.indexed, report.skipped, report.encoded, report.recognised


def test_every_box_has_its_own_vector_and_each_file_is_read_once(
    annotate: Annotate, reads: Counter[str]
) -> None:
    config = annotate()
    assert counts(build(config, Corners())) == (12, 0, 12, 0)
    assert reads == {"1.png": 1, "2.png": 1, "3.png": 1}
    found = rows(config)
    row = found["1.png#box=12"]
    assert (row.box, row.width, row.height) == (Box(0, 0.5, 0.5, 0.5), 64, 32)
    assert row.metadata == {"coco_id": 1, "annotation_id": 12, "category": "blue"}
    searcher = Searcher.open(config)
    same = {hit.image.key for hit in searcher.search_id(row.id, k=4).hits if hit.distance < 1e-3}
    assert same == {"1.png#box=12", "2.png#box=21", "3.png#box=30"}, "the blue ones"
    assert verify(config).problems == []


def test_a_box_is_that_of_the_stored_pixels_where_exif_turns_them(
    annotate: Annotate, root: Path
) -> None:
    picture(root / "1.png", orientation=6)
    config = annotate()
    build(config, Corners())
    found = rows(config)
    assert (found["1.png#box=12"].width, found["1.png#box=12"].height) == (32, 64)
    assert found["1.png#box=12"].box == Box(0, 0, 0.5, 0.5)
    near = Searcher.open(config).search_id(found["1.png#box=12"].id, k=3).hits
    assert {hit.image.key for hit in near} == {"1.png#box=12", "2.png#box=21", "3.png#box=30"}


def test_a_changed_box_is_encoded_again_and_a_changed_category_is_not(
    annotate: Annotate, reads: Counter[str]
) -> None:
    config = annotate()
    build(config, Corners())
    before = rows(config)
    reads.clear()
    annotate(things(category_id=4))
    assert counts(build(config, Corners())) == (12, 0, 0, 0)
    assert not reads
    assert rows(config)["1.png#box=10"].metadata["category"] == "white"
    annotate(things(bbox=[0, 0, 64, 32]))
    assert preview(config)["changed"] == ["1.png#box=10"]
    assert counts(build(config, Corners())) == (12, 0, 1, 0)
    assert reads == {"1.png": 1}
    after = rows(config)
    changed = {key for key in after if after[key].id != before[key].id}
    assert changed == {"1.png#box=10"}
    assert after["1.png#box=10"].box == Box(0, 0, 1, 1)


def test_boxes_come_and_go(annotate: Annotate) -> None:
    config = annotate()
    build(config, Corners())
    annotate([thing for thing in things() if thing["id"] not in (10, 21)])
    assert build(config, Corners()).removed == 2
    annotate()
    assert counts(build(config, Corners())) == (12, 0, 2, 0)


def test_boxes_of_moved_and_copied_files_are_recognised(annotate: Annotate, root: Path) -> None:
    config = annotate()
    build(config, Corners())
    ids = {row.id for row in rows(config).values()}
    (root / "moved").mkdir()
    for number in (1, 2, 3):
        (root / f"{number}.png").rename(root / "moved" / f"{number}.png")
    annotate(folder="moved/")
    assert counts(build(config, Corners())) == (12, 0, 0, 12)
    assert {row.id for row in rows(config).values()} == ids
    shutil.copy(root / "moved/1.png", root / "moved/2.png")
    assert counts(build(config, Corners())) == (12, 0, 0, 4)
    (moved, *_) = rows(config).values()
    assert moved.key == "moved/1.png#box=10"
    assert Searcher.open(config).collection.image_file(moved.id).data


def test_another_margin_encodes_all_boxes_again(annotate: Annotate) -> None:
    config = annotate()
    build(config, Corners())
    config = annotate(box_margin=0.25)
    assert len(preview(config)["changed"]) == 12
    assert counts(build(config, Corners())) == (12, 0, 12, 0)
    assert rows(config)["1.png#box=10"].box == Box(0, 0, 0.625, 0.625)


def test_boxes_of_a_file_that_cannot_be_read_stay(annotate: Annotate, root: Path) -> None:
    config = annotate()
    build(config, Corners())
    picture(root / "1.png", shift=3)
    content = (root / "1.png").read_bytes()
    (root / "1.png").unlink()
    (root / "1.png").mkdir()
    report = build(config, Corners())
    assert (report.unavailable, report.indexed) == (4, 12)
    (root / "1.png").rmdir()
    (root / "1.png").write_bytes(content)
    assert counts(build(config, Corners())) == (12, 0, 4, 0)


def test_boxes_of_a_damaged_or_deleted_file_are_skipped(annotate: Annotate, root: Path) -> None:
    config = annotate()
    build(config, Corners())
    (root / "1.png").write_bytes((root / "1.png").read_bytes()[:90])
    assert counts(build(config, Corners(), allow_shrink=True)) == (8, 4, 0, 0)
    (root / "2.png").unlink()
    report = build(config, Corners(), allow_shrink=True)
    assert counts(report) == (4, 8, 0, 0)
    assert report.reasons == {"invalid_image": 4, "unreadable": 4}


def test_an_interrupted_build_goes_on_within_a_file(
    annotate: Annotate, batches_apart: None
) -> None:
    class Interrupted(Corners):
        batch_size = 3
        begun = 0

        def encode(self, images: Images) -> Vectors:
            self.begun += 1
            if self.begun == 4:
                raise KeyboardInterrupt
            return super().encode(images)

    config = annotate()
    with pytest.raises(KeyboardInterrupt):
        build(config, Interrupted())
    report = build(config, Corners())
    assert report.indexed == 12
    assert 3 <= report.encoded < 12
    assert verify(config).problems == []


@pytest.mark.parametrize("processes", [False, True])
def test_a_file_with_many_boxes_is_prepared_in_parts(
    annotate: Annotate, reads: Counter[str], processes: bool
) -> None:
    """Results of several boxes come back from processes like those of one."""
    count = 2 * MAX_TOGETHER + 1
    config = annotate(
        [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": [0, 0, 16 + n % 48, 16]}
            for n in range(count)
        ]
    )
    dataset = open_dataset(config.dataset)
    items = dataset.scan().items
    executor = LocalExecutor(1, processes=processes)
    batches = prepared_batches(Preparation(dataset, 10**6), items, 50, executor)
    outcomes = [outcome for batch in batches for outcome in batch]
    assert [outcome.item.key for outcome in outcomes] == [item.key for item in items]
    for outcome in outcomes[:: MAX_TOGETHER // 2]:
        assert isinstance(outcome, Prepared)
        assert outcome.box == outcome.item.box
        assert outcome.pixels.shape == (224, 224, 3)
        assert np.array_equal(outcome.pixels[0, 0], (255, 0, 0))
    if not processes:
        assert reads == {"1.png": 3}


def test_what_is_ahead_does_not_grow_with_the_boxes_of_a_file(
    annotate: Annotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = list[int]()

    class Executor(LocalExecutor):
        def run(self, make: Any, tasks: Any, *, ahead: int) -> Any:
            taken.append(ahead)
            return super().run(make, tasks, ahead=ahead)

    dataset = open_dataset(annotate().dataset)
    preparation, items = Preparation(dataset, 10**6), dataset.scan().items
    monkeypatch.setattr(indexer.build.extract, "AHEAD", 100)
    for some in (items, items[::4]):
        assert list(prepared_batches(preparation, some, 4, Executor(1)))
    assert taken == [25, 100]


@pytest.mark.parametrize(("before", "now"), [("images", "boxes"), ("boxes", "images")])
def test_a_store_of_images_does_not_become_one_of_boxes(
    annotate: Annotate, before: str, now: str
) -> None:
    build(annotate(items=before), Corners())
    message = f"holds {before}, and dataset.items says {now}"
    with pytest.raises(DatasetError, match=message) as error:
        build(annotate(items=now), Corners())
    assert f"--items {before}" in str(error.value.hint)


def test_files_of_boxes_are_those_that_were_indexed(annotate: Annotate, root: Path) -> None:
    config = annotate()
    build(config, Corners())
    collection, box = Searcher.open(config).collection, rows(config)["2.png#box=20"]
    assert collection.image_file(box.id).data == (root / "2.png").read_bytes()
    picture(root / "2.png")
    with pytest.raises(ImageGone, match=r"2\.png has changed since it was indexed"):
        collection.image_file(box.id)


def test_the_plan_counts_boxes_and_the_files_to_read(
    annotate: Annotate, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.plan, "open_encoder", lambda _: Corners())
    monkeypatch.setattr(indexer.build.rates, "SAMPLE_SECONDS", 0.1)
    found = plan(annotate())
    assert (found.images, found.files) == (12, 3)
    assert found.image_bytes == sum(file.stat().st_size for file in root.iterdir())
    assert found.summary.startswith("12 boxes in 3 images to encode")
    assert "COCO's train2017 (860,001 boxes) would take" in found.summary


def test_the_command_line_asks_for_boxes(
    annotate: Annotate, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotate()
    options = [str(root), "--annotations", str(tmp_path / "a.json"), "--items", "boxes"]
    assert main(["index", *options, "--dry-run", "--store", str(tmp_path / "s")]) == 0
    assert "+ 1.png#box=10" in capsys.readouterr().out
