"""What this process may use of the machine, and what the ones it starts import."""

import subprocess
import sys
from pathlib import Path

import pytest

from indexer.machine import _file_system
from tests.conftest import ROOT

SCRIPT = """\
import multiprocessing
from indexer.machine import isolate_imports

if __name__ == "__main__":
    if {isolated}:
        isolate_imports()
    process = multiprocessing.get_context("spawn").Process(target=print, args=("done",))
    process.start()
    process.join()
    raise SystemExit(process.exitcode)
"""


@pytest.mark.parametrize("isolated", [True, False])
def test_a_process_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, isolated: bool
) -> None:
    """The second case shows that it would without the call."""
    folder, script = tmp_path / "photos", tmp_path / "bin" / "start"
    folder.mkdir()
    (folder / "pickle.py").write_text("raise SystemExit('imported from the current folder')")
    script.parent.mkdir()
    script.write_text(SCRIPT.format(isolated=isolated))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout == "done\n") is isolated
    assert ("current folder" in done.stderr) is not isolated


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
nas:/photos /mnt/nas nfs4 rw 0 0
//nas/more /mnt/my\\040nas cifs rw 0 0
/dev/sdb1 /mnt/nas/disk ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas2", "ext4"),
        ("/mnt/nas/a", "nfs4"),
        ("/mnt/my nas/a", "cifs"),
        ("/mnt/nas/disk/a", "ext4"),
    ],
)
def test_the_file_system_that_a_folder_lies_on(path: str, kind: str) -> None:
    assert _file_system(path, MOUNTS) == kind
