"""The work of a build for each file does not grow with the number of files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.build import BuildReport, build
from indexer.config import Config
from indexer.maintenance import prune, status, verify
from indexer.search import Query, Searcher, Selection
from tests.conftest import commit_batches_apart, small_config
from tests.corners import Corners, picture
from tests.work import Work, counted

FEW, MANY = 200, 800
GROWTH = 1.3
"""How much more work a file may take among :data:`MANY` than among :data:`FEW`; work that grows
with the number of files would be four times as much."""

KEPT = "kept.png"

pytestmark = pytest.mark.usefixtures("batches_apart")


def write(folder: Path, contents: list[bytes]) -> None:
    """Write files named by number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number:05}.png").write_bytes(content)


def copies(folder: Path, count: int) -> None:
    write(folder, [picture(1)] * count)


def nothing(folder: Path, count: int) -> None:
    pass


def distinct(folder: Path, count: int) -> None:
    write(folder, [picture(number) for number in range(count)])


def other_contents(folder: Path, count: int) -> None:
    write(folder, [picture(count + number) for number in range(count)])
    touch(folder, count)


def two_contents(folder: Path, count: int) -> None:
    write(folder, [picture(number % 2) for number in range(count)])


def two_contents_exchanged(folder: Path, count: int) -> None:
    write(folder, [picture(1 - number % 2) for number in range(count)])
    touch(folder, count)


def broken(folder: Path, count: int) -> None:
    write(folder, [b"broken"] * count)


def dangling(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:05}.png").symlink_to("nowhere")


def folder_for_each(folder: Path, count: int) -> None:
    for number in range(count):
        write(folder / f"{number:05}", [picture(number)])


def touch(folder: Path, count: int) -> None:
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        os.utime(file, ns=(0, number + 1))


def rename(folder: Path, count: int) -> None:
    for file in sorted(folder.glob("*.png")):
        file.rename(file.with_name(f"x{file.name}"))


def move(folder: Path, count: int) -> None:
    rename(folder, count)
    (folder / "below").mkdir()
    for file in folder.glob("*.png"):
        file.rename(folder / "below" / file.name)


def remove(folder: Path, count: int) -> None:
    for file in folder.glob("*.png"):
        file.unlink()
    (folder / "notes.txt").touch()


SCENES: dict[str, tuple[Callable[[Path, int], None], Callable[[Path, int], None], bool]] = {
    # what is indexed before, what then happens, whether it is the same content
    "new files": (nothing, distinct, False),
    "a folder for each file": (nothing, folder_for_each, False),
    "nothing changed": (distinct, nothing, True),
    "copies added": (nothing, copies, True),
    "copies touched": (copies, touch, True),
    "copies renamed": (copies, rename, True),
    "copies moved": (copies, move, True),
    "copies removed": (copies, remove, True),
    "files touched": (distinct, touch, True),
    "files renamed": (distinct, rename, True),
    "files replaced": (distinct, other_contents, False),
    "files removed": (distinct, remove, True),
    "two contents exchanged": (two_contents, two_contents_exchanged, True),
    "broken files": (nothing, broken, True),
    "broken files touched": (broken, touch, True),
    "links that lead nowhere": (nothing, dangling, True),
}


def indexed(folder: Path, count: int, before: Callable[[Path, int], None]) -> Config:
    """Return the settings of an index of some files, and of one picture outside their folder."""
    (folder / "images").mkdir(parents=True)
    (folder / "images" / KEPT).write_bytes(picture(1))
    before(folder / "images" / "many", count)
    config = small_config(folder / "images", folder / "store")
    build(config, Corners())
    return config


def rebuilt(folder: Path, count: int, name: str) -> tuple[Work, BuildReport]:
    """Index a scene of ``count`` files and return the work of the build after the change."""
    before, change, _ = SCENES[name]
    config = indexed(folder, count, before)
    change(folder / "images" / "many", count)
    with counted() as work:
        report = build(config, Corners(), allow_shrink=True)
    assert verify(config).problems == []
    return work.per(count), report


def assert_flat(few: Work, many: Work) -> None:
    """Check that the work for each file has not grown."""
    assert many.sql <= GROWTH * few.sql
    assert many.calls <= GROWTH * few.calls
    assert many.opened <= GROWTH * few.opened + 1


def searched(config: Config, **selection: Any) -> None:
    """Search for the images most like the first one: all are of one picture."""
    Searcher.open(config).search(Query(image_id=1), Selection(**selection))


def counted_values(config: Config) -> None:
    """Count the values of a field in all images."""
    Searcher.open(config).collection.facets(["format", "width"])


def listed(config: Config, count: int) -> None:
    """Read the last page of the list of all images."""
    last = Searcher.open(config).collection.page_by_key("indexed", offset=count - 60, limit=60)
    assert len(last) == 60


READERS: dict[str, tuple[Callable[[Config, int], object], bool]] = {
    # what is done, whether it takes the same work among any number of copies
    "a search": (lambda config, _: searched(config, k=30), True),
    "a page of results": (lambda config, _: searched(config, k=30, page=3), True),
    "near-duplicates": (lambda config, _: searched(config, k=1, collapse_duplicates=True), True),
    "a filter": (lambda config, _: searched(config, filter=[f"key={KEPT}"]), True),
    "facets": (lambda config, _: counted_values(config), True),
    "the end of the list": (listed, False),
    "status": (lambda config, _: status(config), True),
    "verify": (lambda config, _: verify(config), False),
    "prune": (lambda config, _: prune(config, 1), True),
}


@pytest.fixture(scope="module")
def of_copies(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Config]:
    """The settings of indexes of few and of many copies of one picture."""
    folder = tmp_path_factory.mktemp("copies")
    with pytest.MonkeyPatch.context() as patch:
        commit_batches_apart(patch)
        return {count: indexed(folder / str(count), count, copies) for count in (FEW, MANY)}


@pytest.mark.parametrize("name", READERS)
def test_the_work_of_readers_does_not_grow(
    of_copies: dict[int, Config], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Searches read so much of any collection; here few images exceed it, too.
    monkeypatch.setattr("indexer.search.scale.SAMPLED", FEW // 2)
    monkeypatch.setattr("indexer.search.facets.MAX_VALUES", FEW // 20)
    reader, is_constant = READERS[name]
    work = {}
    for count, config in of_copies.items():
        with counted() as work[count]:
            reader(config, count)
    per = {count: 1 if is_constant else count for count in work}
    assert_flat(*(work[count].per(per[count]) for count in (FEW, MANY)))


@pytest.mark.parametrize("name", SCENES)
def test_the_work_of_a_build_for_each_file_does_not_grow(tmp_path: Path, name: str) -> None:
    few, _ = rebuilt(tmp_path / "few", FEW, name)
    many, report = rebuilt(tmp_path / "many", MANY, name)
    assert_flat(few, many)
    assert (report.encoded == 0) == SCENES[name][2]
