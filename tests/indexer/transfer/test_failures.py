"""What can go wrong with a push or a pull, and that it costs nothing but another try."""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import indexer.transfer.moving
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import (
    DiskTooSmall,
    IndexesDiffer,
    ObjectStorageError,
    StoreBusy,
    StoreCorrupt,
)
from indexer.maintenance import prune, verify
from indexer.object_storage import ObjectChanged, ObjectFolder
from indexer.store import Store, open_writer
from indexer.store.lock import locked
from indexer.transfer import pull, push
from tests.processes import started
from tests.stores import commit, damage, publish

HALF = """
import sys, time
import indexer.transfer.moving
from indexer.cli.parser import main
from indexer.machine import leave
from indexer.object_storage import ObjectFolder

indexer.transfer.moving.THREADS = 1
verb, store, address = sys.argv[1:]
move, moved = getattr(ObjectFolder, {"push": "upload", "pull": "download"}[verb]), []

def slow(self, *arguments, **options):
    if len(moved) == 2:
        print("half", flush=True)
        time.sleep(60)
    moved.append(move(self, *arguments, **options))

setattr(ObjectFolder, move.__name__, slow)
leave(main([verb, address, "--store", store]))
"""


@pytest.fixture(autouse=True)
def _one_file_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.transfer.moving, "THREADS", 1)


def interrupt(verb: str, store: Path, address: str, with_signal: signal.Signals) -> int:
    """Send a signal to a push or a pull that has moved two files; return its exit status."""
    with started([sys.executable, "-c", HALF, verb, str(store), address]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(with_signal)
        process.communicate(timeout=60)
    return process.returncode


def another(store: Store, *keys: str) -> Store:
    """Fill another store with these images and publish it."""
    with open_writer(store) as writer:
        commit(writer, keys)
        publish(writer)
    return store


def publish_more(store: Store, *keys: str) -> None:
    with open_writer(store) as writer:
        commit(writer, keys)
        publish(writer)


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_push_that_is_killed_changes_nothing_and_is_gone_on_with(
    published: Store, copy: Config, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    config = Config(store=published.folder)
    address = f"file://{tmp_path}/copy"
    if kind == "s3":
        address = f"{request.getfixturevalue('bucket')}/killed"
    assert interrupt("push", config.store, address, signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(ObjectStorageError, match="There is no index at"):
        pull(copy, address)
    assert not copy.store.exists()
    push(config, address)
    assert pull(copy, address).version == "00000001"
    publish_more(published, *map(str, range(40)))
    interrupt("push", config.store, address, signal.SIGKILL)
    assert pull(copy, address).files == 0, "the old version is there until the last step"
    push(config, address)
    assert pull(copy, address).version == "00000002"
    assert verify(copy).problems == []


def test_a_segment_that_an_interrupted_push_has_sent_is_not_sent_again(
    published: Store, folder_address: str
) -> None:
    config, segment = Config(store=published.folder), published.segments / "00000001"
    folder = ObjectFolder(folder_address)
    for name in ("vectors.faiss", "ids.npy", "segment.json"):
        folder.upload(segment / name, f"segments/00000001/{name}", lambda _: None, is_new=True)
    assert push(config, folder_address).files == 5, "eight, but for those of the segment"


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_pull_that_is_killed_changes_nothing_and_is_gone_on_with(
    published: Store, copy: Config, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    config = Config(store=published.folder)
    address = f"file://{tmp_path}/copy"
    if kind == "s3":
        address = f"{request.getfixturevalue('bucket')}/pulled"
    push(config, address)
    assert interrupt("pull", copy.store, address, signal.SIGKILL) == -signal.SIGKILL
    assert Store(copy.store).current() is None
    assert pull(copy, address).files == 3, "two of five were there"
    publish_more(published, "e")
    push(config, address)
    interrupt("pull", copy.store, address, signal.SIGKILL)
    assert Store(copy.store).current() == "00000001"
    assert verify(copy).problems == []
    assert pull(copy, address).version == "00000002"
    assert verify(copy).problems == []


def test_a_build_may_follow_a_pull_that_was_killed(
    published: Store, copy: Config, folder_address: str
) -> None:
    push(Config(store=published.folder), folder_address)
    interrupt("pull", copy.store, folder_address, signal.SIGKILL)
    publish_more(Store(copy.store), "x")
    assert verify(copy).problems == []
    with pytest.raises(IndexesDiffer, match="has another version 00000001"):
        pull(copy, folder_address)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_ctrl_c_ends_either(published: Store, copy: Config, folder_address: str, verb: str) -> None:
    store = published.folder
    if verb == "pull":
        push(Config(store=store), folder_address)
        store = copy.store
    assert interrupt(verb, store, folder_address, signal.SIGINT) == 130


def test_a_damaged_object_is_not_taken_over(published: Store, copy: Config, tmp_path: Path) -> None:
    config, address = Config(store=published.folder), f"file://{tmp_path}/copy"
    push(config, address)
    vectors = tmp_path / "copy" / "segments" / "00000002" / "vectors.faiss"
    damage(vectors)
    with pytest.raises(StoreCorrupt, match="SHA-256 does not match") as caught:
        pull(copy, address)
    assert "remove" in caught.value.hint
    assert Store(copy.store).current() is None
    assert not (copy.store / "segments" / "00000002" / "vectors.faiss").exists()
    vectors.unlink()
    assert push(config, address).files == 2, "the file and the marker that names it"
    assert pull(copy, address).version == "00000001"


@pytest.mark.parametrize("record", ["CURRENT", "versions/00000001/manifest.json",
                                    "segments/00000001/segment.json"])  # fmt: skip
@pytest.mark.parametrize("content", [b"", b"{}", b"../../etc", None])
def test_damaged_records_of_a_copy_are_errors(
    published: Store, copy: Config, tmp_path: Path, record: str, content: bytes | None
) -> None:
    address = f"file://{tmp_path}/copy"
    push(Config(store=published.folder), address)
    path = tmp_path / "copy" / record
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((StoreCorrupt, ObjectStorageError)) as caught:
        pull(copy, address)
    assert "push" in caught.value.hint.lower()
    assert Store(copy.store).current() is None


def test_damage_here_is_not_pushed(published: Store, folder_address: str) -> None:
    damage(published.segments / "00000001" / "vectors.faiss")
    with pytest.raises(StoreCorrupt, match="SHA-256 does not match"):
        push(Config(store=published.folder), folder_address)
    assert "CURRENT" not in ObjectFolder(folder_address).list()


def test_a_pull_repairs_what_verify_has_found(
    published: Store, copy: Config, folder_address: str
) -> None:
    push(Config(store=published.folder), folder_address)
    pull(copy, folder_address)
    damage(copy.store / "segments" / "00000001" / "vectors.faiss")
    damage(copy.store / "layers" / "00000001.sqlite")
    assert len(verify(copy).problems) == 2
    assert pull(copy, folder_address).files == 2
    assert verify(copy).problems == []
    assert not Store(copy.store).damage.exists()


def test_of_two_pushes_at_the_same_time_one_is_refused(
    published: Store, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, other = Config(store=published.folder), Config(store=tmp_path / "other")
    push(config, address)
    pull(other, address)
    publish_more(published, "mine")
    publish_more(Store(other.store), "e", "theirs")
    replace = ObjectFolder.replace

    def replace_second(self: ObjectFolder, *arguments: Any) -> None:
        monkeypatch.undo()
        ObjectFolder(address).replace("CURRENT", b"00000001 \n", self.tag("CURRENT"))
        replace(self, *arguments)

    monkeypatch.setattr(ObjectFolder, "replace", replace_second)
    with pytest.raises(ObjectChanged, match="written by somebody else"):
        push(config, address)
    assert pull(Config(store=tmp_path / "reader"), address).version == "00000001"
    push(config, address)
    with pytest.raises(IndexesDiffer, match="holds a version 00000002 that is not one of"):
        push(other, address)
    with pytest.raises(IndexesDiffer, match="has another version 00000002"):
        pull(other, address)


def test_a_file_that_two_pushes_send_at_the_same_time_is_not_overwritten(
    published: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, name = f"{bucket}/two", "segments/00000001/ids.npy"
    config = Config(store=published.folder)
    listing = ObjectFolder.list

    def list_and_lose(self: ObjectFolder) -> Any:
        found = listing(self)
        self.replace(name, b"theirs", None)
        return found

    monkeypatch.setattr(ObjectFolder, "list", list_and_lose)
    with pytest.raises(ObjectChanged, match=name):
        push(config, address)
    assert ObjectFolder(address).read(name, 100) == b"theirs"


def test_another_index_is_not_mixed_with_the_one_that_is_there(
    published: Store, copy: Config, folder_address: str, tmp_path: Path
) -> None:
    push(Config(store=published.folder), folder_address)
    other = another(Store(tmp_path / "other"), "x", "y")
    with pytest.raises(IndexesDiffer, match="that is not one of"):
        push(Config(store=other.folder), folder_address)
    publish_more(other, "z")
    prune(Config(store=other.folder), 1)
    with pytest.raises(IndexesDiffer, match="holds another index: its segments/"):
        push(Config(store=other.folder), folder_address)
    with pytest.raises(IndexesDiffer, match=r"holds another index|newer than"):
        pull(Config(store=other.folder), folder_address)
    assert pull(copy, folder_address).version == "00000001"


def test_what_only_this_store_has_is_not_lost(
    published: Store, copy: Config, folder_address: str
) -> None:
    config = Config(store=published.folder)
    push(config, folder_address)
    pull(copy, folder_address)
    with open_writer(Store(copy.store)) as writer:
        commit(writer, ["e"])
    with pytest.raises(IndexesDiffer, match="is not published"):
        pull(copy, folder_address)
    publish_more(published, "e")
    with pytest.raises(IndexesDiffer, match="newer than version 00000001"):
        pull(config, folder_address)
    assert Store(config.store).current() == "00000002"


def test_a_store_that_is_written_is_not_pulled_into(
    published: Store, copy: Config, folder_address: str
) -> None:
    push(Config(store=published.folder), folder_address)
    with locked(Store(copy.store)), pytest.raises(StoreBusy):
        pull(copy, folder_address)


def test_a_full_disk_is_noticed_before_and_while_files_are_fetched(
    published: Store, copy: Config, folder_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(Config(store=published.folder), folder_address)
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(published.folder)
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
        with pytest.raises(DiskTooSmall, match=r"0\.0 MB are free"):
            pull(copy, folder_address)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.local.LocalFileSystem.get_file", full)
        with pytest.raises(OSError, match="No space left"):
            pull(copy, folder_address)
    assert pull(copy, folder_address).version == "00000001"


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("move", [push, pull])
def test_a_bucket_that_does_not_exist_is_named(
    published: Store, move: Callable[[Config, str], object]
) -> None:
    with pytest.raises(ObjectStorageError, match="s3://no-such-bucket") as caught:
        move(Config(store=published.folder), "s3://no-such-bucket/index")
    assert caught.value.hint


def test_without_credentials_the_hint_says_where_they_go(
    published: Store,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    assert main(["push", f"{bucket}/x", "--store", str(published.folder)]) == 1
    assert "AWS_ACCESS_KEY_ID" in capsys.readouterr().err


def test_without_a_network_the_address_is_named(
    published: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    with pytest.raises(ObjectStorageError, match=f"{bucket}/x.* cannot be reached"):
        push(Config(store=published.folder), f"{bucket}/x")


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_without_the_extra_the_error_names_it(published: Store, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from indexer.cli.parser import main\n"
        f"sys.exit(main(['push', 's3://bucket/x', '--store', {str(published.folder)!r}]))"
    )
    with started([sys.executable, "-c", code]) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pip install 'lookalike[s3]'" in errors
