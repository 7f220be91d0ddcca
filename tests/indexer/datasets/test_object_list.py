"""Images that a list on a web server names."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import Config, DatasetConfig
from indexer.datasets import open_dataset
from indexer.errors import DatasetError, ImageGone
from indexer.maintenance import status
from indexer.search import Searcher
from tests.conftest import small_config


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def send_head(self):  # type: ignore[no-untyped-def]
        if "forbidden" in self.path:
            self.send_error(403)
            return None
        return super().send_head()


@pytest.fixture
def site(images: Path) -> Iterator[str]:
    """A web server over the six photographs and a list of them."""
    names = [path.relative_to(images).as_posix() for path in sorted(images.rglob("*.jpg"))]
    (images / "photos.txt").write_text("# six photographs\n\n" + "\n".join(names))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(images))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def config(site: str, tmp_path: Path) -> Config:
    dataset = {"kind": "objects", "root": f"{site}/photos.txt"}
    return small_config(tmp_path, tmp_path / "store", dataset=dataset)


def test_what_the_list_names_is_indexed_and_what_is_gone_removed(
    config: Config, images: Path
) -> None:
    report = build(config)
    assert (report.indexed, report.encoded, report.skipped) == (6, 6, 0)
    assert build(config).encoded == 0
    first, *_ = sorted(images.rglob("*.jpg"))
    first.unlink()
    report = build(config)
    assert (report.indexed, report.encoded) == (5, 0)
    shown = Searcher.open(config).collection
    assert shown.image_file(2).data == (images / shown.image(2).key).read_bytes()


def test_keys_are_those_of_a_folder(config: Config, images: Path) -> None:
    keys = [item.key for item in open_dataset(config.dataset).scan().items]
    assert keys == [item.key for item in open_dataset(DatasetConfig(root=images)).scan().items]


def test_names_that_lead_elsewhere_are_not_asked_for(config: Config, images: Path) -> None:
    outside = ["../secret.jpg", "/etc/passwd", "http://127.0.0.1:1/x.jpg"]
    (images / "photos.txt").write_text(
        "\n".join([*outside, "none.jpg", "forbidden.jpg", "none.jpg"])
    )
    listing = open_dataset(config.dataset).scan()
    assert listing.items == []
    led_out = {name for name, why in listing.unreadable.items() if "leads out" in why}
    assert led_out == set(outside)
    assert listing.deleted == {"none.jpg"}
    assert "forbidden.jpg" in listing.unreadable, "unknown, not gone"
    assert listing.ignored == {"listed twice": 1}
    with pytest.raises(ImageGone):
        open_dataset(config.dataset).read("../secret.jpg")


@pytest.mark.parametrize("how", ["no list", "no server"])
def test_a_list_that_cannot_be_read_removes_nothing(config: Config, images: Path, how: str) -> None:
    build(config)
    if how == "no list":
        (images / "photos.txt").unlink()
    else:
        dataset = DatasetConfig(kind="objects", root="http://127.0.0.1:1/photos.txt")
        config = config.model_copy(update={"dataset": dataset})
    with pytest.raises(DatasetError, match="list"):
        build(config)
    assert status(config).counts.indexed == 6
