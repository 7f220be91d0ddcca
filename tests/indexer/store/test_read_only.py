"""A read-only store, as a container may mount it: reading works as usual."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.store import Store, open_writer
from tests.conftest import ROOT, Reindex
from tests.stores import commit, damage

MOUNT = 'mount --bind "$0" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
"""Runs a command for which the folder $0 is mounted read-only as $1."""

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def view(tmp_path: Path) -> Path:
    """The mount point of the store."""
    (tmp_path / "view").mkdir()
    return tmp_path / "view"


@pytest.fixture
def read_only(tmp_path: Path, view: Path) -> Run:
    """Run Python with the folder ``store`` mounted read-only as ``view``."""

    def run(*arguments: str, command: str = sys.executable) -> Done:
        mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT]
        return subprocess.run(
            [*mounted, str(tmp_path / "store"), str(view), command, *arguments],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    (tmp_path / "store").mkdir()
    if shutil.which("unshare") is None or run(command="true").returncode:
        pytest.skip("here nobody may mount a folder read-only (unshare --map-root-user --mount)")
    assert run(str(view / "file"), command="touch").returncode
    return run


def test_status_plan_and_verify_work_as_usual(
    read_only: Run, view: Path, images: Path, reindex: Reindex
) -> None:
    reindex()
    shutil.copy(next(images.rglob("*.jpg")), images / "new.jpg")
    seen = read_only("-m", "indexer", "status", "--store", str(view))
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "found      6 = indexed 6 + skipped 0" in seen.stdout
    assert "last run   found 6 = indexed 6 + skipped 0" in seen.stdout
    seen = read_only(
        "-m", "indexer", "build", "--dry-run", "--json", "--images", str(images),
        "--encoder", "efficientnet_lite0", "--store", str(view),
    )  # fmt: skip
    assert (seen.returncode, seen.stderr) == (0, "")
    assert json.loads(seen.stdout) == {
        "new": ["new.jpg"], "changed": [], "retried": [], "removed": [], "checked": [],
    }  # fmt: skip
    seen = read_only("-m", "indexer", "verify", "--store", str(view))
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "is sound: 6 images" in seen.stdout


def test_verify_reports_damage_and_that_it_cannot_be_recorded(
    read_only: Run, view: Path, published: Store
) -> None:
    damage(published.segments / "00000002" / "vectors.faiss")
    seen = read_only("-m", "indexer", "verify", "--store", str(view))
    assert (seen.returncode, seen.stderr) == (1, "")
    assert "00000002/vectors.faiss is damaged" in seen.stdout
    assert "could not be noted for the next build" in seen.stdout
    assert "Read-only file system" in seen.stdout
    assert not published.damage.exists()


COMMIT_AND_DIE = """
import os, sys
from pathlib import Path
from indexer.store import Store, open_writer
from tests.stores import commit

with open_writer(Store(Path(sys.argv[1]))) as writer:
    commit(writer, ["late"])
    os._exit(0)
"""

COUNT = """
import sys
from pathlib import Path
from indexer.errors import LookalikeError
from indexer.store import Store, live_catalogue

try:
    with live_catalogue(Store(Path(sys.argv[1])).catalogue) as catalogue:
        print(catalogue.counts().found)
except LookalikeError as error:
    print(error.code, error.hint)
"""


def test_the_last_commit_of_a_killed_build_is_counted(
    read_only: Run, view: Path, published: Store
) -> None:
    """The commit is in SQLite's log beside the catalogue."""
    assert read_only("-c", COUNT, str(view)).stdout == "4\n"
    subprocess.run(
        [sys.executable, "-c", COMMIT_AND_DIE, str(published.folder)], cwd=ROOT, check=True
    )
    assert read_only("-c", COUNT, str(view)).stdout == "5\n"


def test_a_log_that_cannot_be_read_is_an_error(
    read_only: Run, view: Path, published: Store
) -> None:
    subprocess.run(
        [sys.executable, "-c", COMMIT_AND_DIE, str(published.folder)], cwd=ROOT, check=True
    )
    Path(f"{published.catalogue}-shm").unlink()
    assert read_only("-c", COUNT, str(view)).stdout == (
        "store_unavailable Do this, or run a build, where the store may be written.\n"
    )
    with open_writer(published) as writer:
        commit(writer, ["later"])
    assert read_only("-c", COUNT, str(view)).stdout == "6\n"


READ_WHILE_WRITTEN = """
import sys
from pathlib import Path
from indexer.errors import StoreBusy
from indexer.store import Store, live_catalogue, open_writer
from tests.stores import commit

store, view = map(Path, sys.argv[1:])
try:
    with live_catalogue(Store(view).catalogue) as catalogue:
        with open_writer(Store(store)) as writer:
            commit(writer, ["late"])
        print(catalogue.counts().found)
except StoreBusy as error:
    print(error.code)
"""


def test_a_build_that_begins_meanwhile_is_noticed(
    read_only: Run, view: Path, published: Store
) -> None:
    seen = read_only("-c", READ_WHILE_WRITTEN, str(published.folder), str(view))
    assert seen.stdout.endswith("store_busy\n"), seen.stderr
