"""Images that lie elsewhere than where they were indexed, as in a container."""

import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from indexer.build import build
from indexer.config import Config, load_config
from indexer.errors import ImageGone
from indexer.search import Searcher

FLAGS = {"encoder": {"model": "efficientnet_lite0"}}


def serving(store: Path, root: object, folder: Path) -> Config:
    """Return the settings of a server, whose file says where the images are."""
    file = folder / "server.yaml"
    file.write_text(json.dumps({"store": str(store), "dataset": {"kind": "folder", "root": root}}))
    return load_config(file)


def read_all(config: Config) -> int:
    """Read every image, which is compared with its digest; return how many there are."""
    collection = Searcher.open(config).collection
    for image_id in collection.ids:
        collection.image_file(int(image_id))
    return len(collection.ids)


def make(kind: str, host: Path, photos: list[Path]) -> dict[str, object]:
    """Make a source of six images in a folder and return its settings."""
    one, two = host / "one", host / "two"
    one.mkdir(parents=True)
    two.mkdir()
    for number, photo in enumerate(photos[::40]):
        shutil.copy(photo, (one if number < 3 else two) / f"{number}.jpg")
    match kind:
        case "folder":
            return {"root": str(host)}
        case "folders":
            return {"root": [str(one), str(two)]}
        case "list":
            lines = [str(path.relative_to(host)) for path in host.rglob("*.jpg")]
            (host / "list.txt").write_text("\n".join(lines))
            return {"kind": "list", "root": str(host / "list.txt")}
        case "coco":
            names = [str(path.relative_to(host)) for path in host.rglob("*.jpg")]
            content = {"images": [{"id": n, "file_name": name} for n, name in enumerate(names)]}
            (host / "coco.json").write_text(json.dumps(content))
            settings = {"kind": "coco", "root": str(host)}
            return {**settings, "annotations": str(host / "coco.json")}
    if kind.startswith("parquet"):
        for folder in (one, two):
            values = [{"bytes": path.read_bytes(), "path": path.name} for path in folder.iterdir()]
            parquet.write_table(pa.table({"image": values}), host / f"{folder.name}.parquet")
        names = ("one.parquet", "two.parquet")
        several = [str(host / name) for name in names] if kind == "parquets" else str(host)
        return {"kind": "parquet", "root": several}
    for folder in (one, two):
        with tarfile.open(host / f"{folder.name}.tar", "w") as archive:
            archive.add(folder, "images")
    if kind == "tar":
        return {"kind": "tar", "root": str(host)}
    return {"kind": "tar", "root": [str(host / "one.tar"), str(host / "two.tar")]}


@pytest.mark.parametrize(
    ("kind", "root"),
    [
        ("folder", "{}"),
        ("folders", ["{}/one", "{}/two"]),
        ("folders renamed", ["{}/first", "{}/second"]),
        ("list", "{}/list.txt"),
        ("list", "{}"),
        ("coco", "{}"),
        ("tar", "{}"),
        ("tars", ["{}/one.tar", "{}/two.tar"]),
        ("tars", "{}"),
        ("tars renamed", ["{}/first.tar", "{}/second.tar"]),
        ("parquet", "{}"),
        ("parquets renamed", ["{}/first.parquet", "{}/second.parquet"]),
    ],
)
def test_the_settings_say_where_the_images_are_now(
    tmp_path: Path, photos: list[Path], kind: str, root: str | list[str]
) -> None:
    """Whatever the kind that the settings name, as the ones in a container say folder."""
    host, there = tmp_path / "host", tmp_path / "container" / "images"
    dataset = make(kind.split()[0], host, photos)
    built = load_config(None, {"dataset": dataset, "store": str(tmp_path / "store"), **FLAGS})
    assert build(built).indexed == 6
    there.parent.mkdir()
    host.rename(there)
    with pytest.raises(ImageGone):
        read_all(built)
    if kind.endswith("renamed"):
        ending = {"tars": ".tar", "parquets": ".parquet"}.get(kind.split()[0], "")
        for old, new in (("one", "first"), ("two", "second")):
            (there / f"{old}{ending}").rename(there / f"{new}{ending}")
    placed = root.format(there) if isinstance(root, str) else [r.format(there) for r in root]
    assert read_all(serving(tmp_path / "store", placed, tmp_path)) == 6


def test_settings_for_other_images_do_no_harm(images: Path, config: Config, tmp_path: Path) -> None:
    """As those of config.yaml, if images of another folder were indexed by naming it."""
    build(config)
    other = tmp_path / "other"
    for photo in images.rglob("*.jpg"):
        same_name = other / photo.relative_to(images)
        same_name.parent.mkdir(parents=True, exist_ok=True)
        same_name.write_bytes(b"somebody else's")
    for root in (str(other), str(tmp_path / "nowhere"), [str(other), str(tmp_path / "nowhere")]):
        assert read_all(serving(config.store, root, tmp_path)) == 6


def test_a_changed_file_is_named_wherever_it_is(
    images: Path, config: Config, tmp_path: Path
) -> None:
    build(config)
    shutil.copytree(images, tmp_path / "there")
    shutil.rmtree(images)
    first = sorted((tmp_path / "there").rglob("*.jpg"))[0]
    first.write_bytes(b"x")
    collection = Searcher.open(serving(config.store, str(tmp_path / "there"), tmp_path)).collection
    with pytest.raises(ImageGone, match="has changed since it was indexed"):
        collection.image_file(1)
    assert collection.files_problem() is None, "others are there"
