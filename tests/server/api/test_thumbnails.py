"""The cache of thumbnails: each is made once, and the size is limited."""

import os
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import Config
from indexer.search import Collection
from server.api.thumbnails import FOLDERS, ThumbnailCache
from server.app import create_app

SHA = "ab" * 32


def test_a_thumbnail_is_made_once(tmp_path: Path) -> None:
    cache = ThumbnailCache(10**6, tmp_path)
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"picture"

    assert [cache.get(SHA, "256", make) for _ in range(3)] == [b"picture"] * 3
    assert cache.get(SHA, 128, make) == b"picture"
    assert len(made) == 2
    assert ThumbnailCache(10**6, tmp_path).get(SHA, "256", lambda: b"other") == b"picture"
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


def test_the_oldest_go_when_there_is_no_room(tmp_path: Path) -> None:
    cache = ThumbnailCache(FOLDERS * 300, tmp_path)
    for number in range(5):
        sha = f"ab{number:062}"
        cache.get(sha, 64, lambda: bytes(100) + b"x" * 0)
        path = tmp_path / "ab" / f"{number:062}-64.jpg"
        if path.exists():
            os.utime(path, (number, number))
    kept = sorted(path.name for path in (tmp_path / "ab").iterdir())
    assert kept == [f"{number:062}-64.jpg" for number in (2, 3, 4)]


def test_an_empty_file_is_not_a_thumbnail(tmp_path: Path) -> None:
    cache = ThumbnailCache(10**6, tmp_path)
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / f"{SHA[2:]}-256.jpg").touch()
    assert cache.get(SHA, "256", lambda: b"picture") == b"picture"
    assert cache.get(SHA, "256", lambda: b"other") == b"picture"


def test_without_a_writable_folder_each_is_made_again_and_it_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    cache = ThumbnailCache(10**6, tmp_path / "file" / "folder")
    for content in (b"one", b"two"):
        assert cache.get(SHA, "256", lambda content=content: content) == content  # type: ignore[misc]
    assert caplog.text.count("Thumbnails are not cached") == 1


def test_none_are_cached_with_a_size_of_0(tmp_path: Path) -> None:
    ThumbnailCache(0, tmp_path).get(SHA, "256", lambda: b"picture")
    assert list(tmp_path.iterdir()) == []


def test_the_server_makes_each_once_and_a_new_content_gets_its_own(
    config: Config, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # an empty cache
    build(config)
    made: list[int] = []
    original = Collection.thumbnail

    def counted(self: Collection, image_id: int, side: int, *, whole: bool) -> bytes:
        made.append(image_id)
        return original(self, image_id, side, whole=whole)

    monkeypatch.setattr(Collection, "thumbnail", counted)
    answers = [
        create_app(config).test_client().get("/api/v1/images/1/thumbnail?side=96") for _ in "ab"
    ]
    assert answers[0].data == answers[1].data
    assert len(made) == 1
