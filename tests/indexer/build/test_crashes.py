"""A build that dies at any write, sync, rename or commit leaves the old version or the new one."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import indexer.store.files
import indexer.store.segments
from indexer.build import BuildReport, build
from indexer.config import Config
from indexer.maintenance import prune, verify
from indexer.search import Searcher
from indexer.store import Store
from indexer.store.catalogue_writer import CatalogueWriter
from indexer.store.live import live_catalogue
from tests.conftest import delete, small_config

pytestmark = pytest.mark.usefixtures("batches_apart")

CRASH_POINTS = {
    "write build.owner",
    "write segments/N/vectors.faiss",
    "write segments/N/ids.npy",
    "write segments/N/.segment.json.tmp",
    "replace segments/N/segment.json",
    "commit",
    "write layers/N.sqlite",
    "write derived/N/.trained.tmp",
    "replace derived/N/trained",
    "write derived/N/.N.npy.tmp",
    "replace derived/N/N.npy",
    "write versions/.N.tmp/.manifest.json.tmp",
    "replace versions/.N.tmp/manifest.json",
    "rename versions/N",
    "write .CURRENT.tmp",
    "replace CURRENT",
    "remove segments/N",
    "remove derived/N",
    "remove versions/N",
    "unlink damage.json",
    "unlink derived/N/N.npy",
    "unlink layers/N.sqlite",
    "unlink build.owner",
    "unlink build.progress",
    "sync file",
    "sync folder",
}
"""Every step of a build that writes to the disk. A step that is missing here fails a test."""


class Dead(BaseException):
    """The process has died; nothing it does from now on reaches the disk."""


class Disk:
    """Counts the steps that reach the disk, and fails at one of them and all that follow."""

    def __init__(self, store: Path, fail_at: int = -1, *, full: bool = False) -> None:
        self.names: list[str] = []
        self._store = store
        self._fail_at = fail_at
        self._full = full
        self._dead = False

    def step(self, what: str, path: Path | None = None) -> None:
        """Record a step, or die instead of taking it."""
        if self._dead:
            raise Dead
        relative = f" {path.relative_to(self._store)}" if path else ""
        self.names.append(re.sub(r"\d{8}", "N", f"{what}{relative}"))
        if len(self.names) == self._fail_at:
            if self._full:
                if what not in ("write", "sync file"):
                    return
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._dead = True
            raise Dead


@contextmanager
def injected(disk: Disk) -> Iterator[None]:
    """Route everything a build writes through ``disk``."""

    def before(what: str, real: Callable[..., Any], target: int = 0) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            disk.step(what, Path(arguments[target]))
            return real(*arguments, **options)

        return wrapper

    def fsync(descriptor: int) -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").is_dir()
        try:
            disk.step("sync folder" if folder else "sync file")
        except Dead:
            if not folder and os.fstat(descriptor).st_size:
                torn = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
                os.ftruncate(torn, os.fstat(torn).st_size // 2)  # what was not synced may be lost
                os.close(torn)
            raise

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path.exists():
            disk.step("unlink", path)
        real_unlink(path, missing_ok=missing_ok)

    @contextmanager
    def transaction(catalogue: CatalogueWriter) -> Iterator[None]:
        with real_transaction(catalogue):
            yield
            disk.step("commit")

    real_unlink, real_transaction = Path.unlink, CatalogueWriter.transaction
    with pytest.MonkeyPatch.context() as patch:
        write_file = before("write", indexer.store.files.write_file)
        patch.setattr(indexer.store.files, "write_file", write_file)
        patch.setattr(indexer.store.segments, "write_file", write_file)
        patch.setattr(Path, "write_text", before("write", Path.write_text))
        patch.setattr(Path, "replace", before("replace", Path.replace, target=1))
        patch.setattr(Path, "rename", before("rename", Path.rename, target=1))
        patch.setattr(Path, "unlink", unlink)
        patch.setattr(shutil, "rmtree", before("remove", shutil.rmtree))
        patch.setattr(os, "fsync", fsync)
        patch.setattr(CatalogueWriter, "transaction", transaction)
        write_layer = before("write", CatalogueWriter.write_layer, target=1)
        patch.setattr(CatalogueWriter, "write_layer", write_layer)
        yield


class Scene:
    """A store with three published versions, and a folder with many changes since."""

    def __init__(self, images: Path, folder: Path) -> None:
        self.images = images
        self.folder = folder
        self.config = self._config("s")
        first, *others = sorted(images.rglob("*.jpg"))
        (images / "late.jpg").write_bytes(first.read_bytes() + b"\0")
        for _ in range(3):
            build(self.config)
            (images / "late.jpg").unlink(missing_ok=True)
            with (images / "more.jpg").open("ab") as file:
                file.write(first.read_bytes())
        self.old = self.answer(self.config)
        others[0].rename(images / "moved.jpg")
        (images / "copy.jpg").write_bytes(others[1].read_bytes())
        (images / "new.jpg").write_bytes(others[2].read_bytes() + b"\0\0")
        (images / "newer.jpg").write_bytes(others[3].read_bytes() + b"\0\0")
        (images / "bad.jpg").write_bytes(b"x")
        delete(first)
        clean = self._config("clean")
        self.clean = build(clean)
        self.new = self.answer(clean)

    def _config(self, store: str) -> Config:
        return small_config(
            self.images,
            self.folder / store,
            encoder={"model": "efficientnet_lite0", "batch_size": 1},
            index={"approximate": "IVF2,SQ8"},
        )

    def answer(self, config: Config) -> list[tuple[str, float]]:
        vector = [1.0] + [0.0] * 1279
        hits = Searcher.open(config).search_vector(vector, k=100).hits
        return sorted((hit.image.key, round(hit.distance, 5)) for hit in hits)

    def content_hashes(self, store: str) -> set[str]:
        """The SHA-256 of every content that a store's catalogue has a vector of."""
        with live_catalogue(Store(self.folder / store).catalogue) as catalogue:
            return {str(row.sha256) for row in catalogue.rows("indexed")}

    def another(self, number: int) -> Config:
        """A copy of the store."""
        shutil.copytree(self.config.store, self.folder / f"s{number}")
        return self._config(f"s{number}")

    def assert_recovers(self, config: Config) -> BuildReport:
        """The old or the new version is published; after another build it is the new one."""
        assert self.answer(config) in (self.old, self.new)
        assert verify(config).problems == []
        report = build(config)
        assert self.answer(config) == self.new
        assert verify(config).problems == []
        assert (report.indexed, report.skipped) == (self.clean.indexed, self.clean.skipped)
        assert build(config).version == report.version
        leftovers = [p.name for p in config.store.rglob("*") if p.name.endswith(".tmp")]
        assert leftovers == []
        return report


@pytest.fixture
def scene(images: Path, tmp_path: Path) -> Scene:
    return Scene(images, tmp_path)


def steps(scene: Scene) -> list[str]:
    """The steps of an undisturbed build, in order."""
    config = scene.another(0)
    disk = Disk(config.store)
    with injected(disk):
        build(config)
    assert scene.answer(config) == scene.new
    return disk.names


def test_a_build_that_dies_leaves_the_old_version_or_the_new_one(scene: Scene) -> None:
    names = steps(scene)
    assert set(names) <= CRASH_POINTS, "a step that is not in the list"
    for number in range(1, len(names) + 1):
        config = scene.another(number)
        with injected(Disk(config.store, number)), pytest.raises(Dead):
            build(config)
        # Batches of one: what was committed before is not encoded again.
        left = scene.content_hashes("clean") - scene.content_hashes(config.store.name)
        assert scene.assert_recovers(config).encoded == len(left), names[number - 1]
        shutil.rmtree(config.store)


def test_the_crash_points_are_all_reached(scene: Scene, images: Path) -> None:
    """Together with the steps of a build that repairs damage, and of pruning."""
    names = set(steps(scene))
    config = scene.another(1)
    for part in Store(config.store).derived.rglob("*.npy"):
        part.write_bytes(part.read_bytes()[::-1])
    verify(config)
    disk = Disk(config.store)
    with injected(disk):
        build(config)
        prune(config, 1)
    assert names | set(disk.names) == CRASH_POINTS


def test_a_full_disk_is_an_error_and_loses_nothing(scene: Scene) -> None:
    names = steps(scene)
    writes = [n for n, name in enumerate(names, 1) if name.split()[0] == "write"]
    for number in writes:
        config = scene.another(number)
        with (
            injected(Disk(config.store, number, full=True)),
            pytest.raises(OSError, match="No space left"),
        ):
            build(config)
        scene.assert_recovers(config)
        shutil.rmtree(config.store)
