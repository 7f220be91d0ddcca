"""Mapped arrays: equal values, no file kept open, damaged files refused."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from indexer.vector_index.mapping import map_array
from tests.conftest import ROOT


def maps(path: Path) -> int:
    """How many times this process has the file mapped."""
    return Path("/proc/self/maps").read_text().count(f"{path}\n")


def open_files(path: Path) -> int:
    folder = Path("/proc/self/fd")
    return sum(os.path.realpath(entry) == str(path) for entry in folder.iterdir())


def test_a_mapped_array_keeps_no_file_open_and_goes_with_its_last_view(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    numbers = np.random.default_rng(0).standard_normal(100_000, np.float32)
    np.save(path, numbers)
    mapped = map_array(path)
    assert (mapped == numbers).all()
    assert not mapped.flags.writeable
    assert (maps(path), open_files(path)) == (1, 0)
    view = mapped.reshape(100, 1000)[:, 3]
    del mapped
    path.unlink()
    assert (view == numbers.reshape(100, 1000)[:, 3]).all()
    del view
    gc.collect()
    assert str(path) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    "how", ["shorter", "longer", "empty", "noise", "objects", "columns", "missing"]
)
def test_what_is_no_array_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(100, dtype=np.float32))
    whole = path.read_bytes()
    if how == "objects":
        np.save(path, np.array([{}], object), allow_pickle=True)
    elif how == "columns":
        np.save(path, np.zeros((3, 4), order="F"))
    elif how == "missing":
        path.unlink()
    else:
        wrong = {"shorter": whole[:-1], "longer": whole + b"\0", "empty": b"", "noise": b"x" * 200}
        path.write_bytes(wrong[how])
    with pytest.raises((OSError, ValueError)):
        map_array(path)


READ_UNTIL_EXIT = """
import sys, threading
from pathlib import Path
from indexer.vector_index.mapping import map_array

mapped, reading = map_array(Path(sys.argv[1])), threading.Event()

def read():
    while True:
        mapped.sum()
        reading.set()

for _ in range(4):
    threading.Thread(target=read, daemon=True).start()
reading.wait()
"""


def test_a_daemon_thread_may_read_until_the_process_has_exited(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.ones(10_000_000, np.float32))
    done = subprocess.run(
        [sys.executable, "-c", READ_UNTIL_EXIT, str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


OPEN = """
import sys
from pathlib import Path
import numpy as np
from indexer.vector_index import ExactIndex, MappedVectors, Part, Shortlist, ShortlistCoder

folder = Path(sys.argv[1])
vectors = MappedVectors(
    [Part(folder / f"{n}.faiss", np.arange(4 * n, 4 * n + 4)) for n in range(100)],
    64, np.empty(0, np.int64),
)
coder = ShortlistCoder.load(folder / "trained")
shortlist = Shortlist(coder, [folder / f"{n}.npy" for n in range(100)], vectors)
print(len(ExactIndex(vectors, shortlist).search(np.ones((1, 64), np.float32), 3)[1][0]))
"""


def test_an_index_of_more_segments_than_files_may_be_open_is_searched(tmp_path: Path) -> None:
    from indexer.vector_index import MappedVectors, Part, ShortlistCoder, flat_file

    generator = np.random.default_rng(0)
    segments = [generator.standard_normal((4, 64), np.float32) for _ in range(100)]
    for number, segment in enumerate(segments):
        (tmp_path / f"{number}.faiss").write_bytes(flat_file(segment))
    parts = [Part(tmp_path / f"{n}.faiss", np.arange(4 * n, 4 * n + 4)) for n in range(100)]
    coder = ShortlistCoder.train(MappedVectors(parts, 64, np.empty(0, np.int64)))
    (tmp_path / "trained").write_bytes(coder.to_bytes())
    for number, segment in enumerate(segments):
        (tmp_path / f"{number}.npy").write_bytes(coder.encode(segment).content)
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 50 && exec "$0" "$@"',
         sys.executable, "-c", OPEN, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("3\n", 0), done.stderr
