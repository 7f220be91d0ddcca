"""Files of the store are durable where the file system lets them be."""

import errno
import os
import stat
from pathlib import Path

import pytest

from indexer.store import Store, open_writer
from indexer.store.files import _warn_of_unsynced_folders
from tests.stores import commit, publish


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
@pytest.mark.parametrize("what", ["folders", "files"])
def test_only_folders_need_not_be_synced_and_only_where_they_cannot(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    what: str,
) -> None:
    """CIFS and some file systems of FUSE answer EINVAL or ENOTSUP for a folder."""
    synced: list[int] = []
    is_what = stat.S_ISDIR if what == "folders" else stat.S_ISREG

    def fsync(descriptor: int) -> None:
        if is_what(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        synced.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    _warn_of_unsynced_folders.cache_clear()
    store = Store(tmp_path / "store")
    if what == "files" or code == errno.EIO:
        with pytest.raises(OSError, match=os.strerror(code)):
            build_of(store, "a")
        assert store.current() is None
        return
    build_of(store, "a")
    build_of(store, "b")
    assert store.open_published().problems() == []
    assert caplog.text.count("cannot sync folders") == 1
    assert len(synced) >= 12, "files are synced as ever"


def build_of(store: Store, key: str) -> None:
    with open_writer(store) as writer:
        commit(writer, [key])
        publish(writer)
