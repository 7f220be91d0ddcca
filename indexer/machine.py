"""The resources of the machine that this process may use, and the folders of the user."""

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

MEMORY_FOLDER = "/dev/shm"  # noqa: S108 -- files there are made under names of their own
"""A folder in memory, for what must work where no folder on a disk can be written."""

NETWORK_FILE_SYSTEMS = frozenset(
    (
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "glusterfs", "lustre",
        "davfs", "vboxsf", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs",
        "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.gvfsd-fuse", "fuse.davfs2",
    )
)  # fmt: skip
ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}
"""Of paths in /proc/mounts: https://man7.org/linux/man-pages/man5/fstab.5.html."""

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

CLOSED_PIPE = 141
"""The exit code if nobody reads the output any more: 128 and the number of SIGPIPE."""


def limit_spinning() -> None:
    """Keep idle threads of OpenMP and OpenBLAS from spinning. Call it before NumPy is imported.

    In both libraries a thread that waits for work keeps its core busy for a while, which slows the
    other library, and other processes on the same cores, several times.
    """
    for name, value in {
        "OPENBLAS_THREAD_TIMEOUT": "4",  # 2^4 loops, not 2^28
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "1000",
    }.items():
        os.environ.setdefault(name, value)


def isolate_imports() -> None:
    """Keep Python processes that this one starts from importing out of the current folder.

    Python looks there first when it starts one, :mod:`multiprocessing`'s included: a file
    ``random.py`` among somebody's images would replace the standard library's module.
    """
    os.environ.setdefault("PYTHONSAFEPATH", "1")


def use_utf8() -> None:
    """Make Python read the names of files as UTF-8, by starting this process again if necessary.

    Python decodes them as the locale says: without UTF-8 the same file would have another key. See
    https://docs.python.org/3/library/os.html#utf8-mode. What cannot be printed is escaped.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """End this process; after an interrupt, without waiting for threads that encode.

    Such threads cannot be stopped. Otherwise Python would wait for those of a pool, whose batch
    takes seconds.
    """
    if code != INTERRUPTED:
        raise SystemExit(code)
    atexit._run_exitfuncs()  # noqa: SLF001 -- nothing else runs them before os._exit
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def available_cores() -> int:
    """Return how many cores this process may use, as limited by ``taskset`` or a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def may_have_gpu() -> bool:
    """Tell from the device files whether there may be a GPU, without importing a framework."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def is_network_drive(folder: Path) -> bool:
    """Tell whether a folder is on a network drive, or one of another system, as Linux says.

    Such drives report no changes that other machines make. Elsewhere nothing is known: False.
    """
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    return _file_system(os.path.realpath(folder), mounts) in NETWORK_FILE_SYSTEMS


def _file_system(path: str, mounts: str) -> str:
    """Return the type of the file system that a path lies on, of those that are mounted."""
    longest, found = "", ""
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        for code, character in ESCAPES.items():
            place = place.replace(code, character)
        below = f"{path}/".startswith(f"{place.rstrip('/')}/")
        if below and len(place) >= len(longest):  # the last one at a place covers the others
            longest, found = place, kind
    return found


class NoHome(OSError):
    """The user has no home folder: ``HOME`` is not set, and the user id is unknown.

    That is usual in containers and services that run under an arbitrary user id.
    """

    def __init__(self, variable: str) -> None:
        super().__init__(f"This user has no home folder; set HOME or {variable}.")


def user_data_folder() -> Path:
    """Return where a user keeps data for good: ``~/.local/share/lookalike``, or as XDG says.

    Raises :class:`NoHome`.
    """
    return user_folder("XDG_DATA_HOME", ".local/share") / "lookalike"


def user_cache_folder() -> Path:
    """Return where a user keeps what can be made again: ``~/.cache/lookalike``, or as XDG says.

    Raises :class:`NoHome`.
    """
    return user_folder("XDG_CACHE_HOME", ".cache") / "lookalike"


def user_folder(variable: str, below_home: str) -> Path:
    """Return the folder that a variable names, by default one in the user's home folder.

    Raises :class:`NoHome`.
    """
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / below_home
    except RuntimeError:
        raise NoHome(variable) from None


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, which is created if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@cache
def scratch_folder() -> Path:
    """Return an empty folder of this process, which is removed when the process ends.

    It is in the system's folder for temporary files or, where that cannot be written, in memory.
    Raises :class:`OSError` if neither can be written.
    """
    process = os.getpid()
    try:
        folder = Path(tempfile.mkdtemp(prefix="lookalike-"))
    except FileNotFoundError:
        folder = Path(tempfile.mkdtemp(prefix="lookalike-", dir=MEMORY_FOLDER))

    def remove() -> None:
        if os.getpid() == process:  # not when a process ends that this one has forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
