"""Follow folders of images: what changes in them is in the index a few seconds later."""

import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path

import watchfiles

from indexer.build.pipeline import BuildReport, build
from indexer.build.stored_settings import require_same_network
from indexer.config import Config
from indexer.datasets import Exclusion, Folder, Part, Rules, is_empty, require_folders
from indexer.encoders import Encoder, open_encoder
from indexer.errors import ConfigError, LookalikeError, NoImages, StoreBusy
from indexer.machine import is_network_drive

LOOK_MS = 500
"""How often to look at what has changed."""

POLL_MS = 2_000
"""How long to wait between two scans of a drive that does not report changes."""

SETTLED_S = 0.4
"""A file that has changed within this time is perhaps being written; it waits, and no other."""

EVERY_S = 1.5
"""How often to publish a version, at most: a server has to open each of them."""

BUILD_S = 2.0
"""How long a build should take, so that the first files of many are found while others wait."""

FEW = 16
"""How many files a build takes on, at least."""

MANY = 10_000
"""From so many changes on, a scan is cheaper than looking at each of them."""

SCAN_S = 3600.0
"""How often everything is scanned, as changes may have been missed."""

ASLEEP_S = 30.0
"""If no look has ended for so long, the machine was asleep, and everything is scanned."""

WAIT_S = 1.0
"""How often to look whether a folder that is away is there again."""

RETRY_S, MAX_RETRY_S = 2.0, 60.0
"""When to try again after a failure, at first and at last."""

Tell = Callable[[BuildReport | str], None]


def require_followable(config: Config) -> None:
    """Raise :class:`ConfigError` unless the images are those of folders."""
    if config.dataset.kind != "folder":
        raise ConfigError(
            f"--watch follows folders of images; dataset.kind is {config.dataset.kind}.",
            "Run `lookalike index` from a timer instead, such as cron: it costs what has changed.",
        )


def watch(config: Config, tell: Tell, *, allow_shrink: bool = False, reread: bool = False) -> None:
    """Build the index, then again whenever something changes in the folders, until interrupted.

    ``tell`` gets the report of each build that changed something, and sentences on what is waited
    for. The encoder is loaded once. ``allow_shrink`` and ``reread`` hold for the first build.

    A folder that is away is waited for, and so is another process that writes to the store. Other
    errors of the first build are raised. Later ones are told, and the build is tried again.
    """
    require_followable(config)
    require_folders(config.dataset)
    require_same_network(config)
    encoder = open_encoder(config.encoder)
    follower = Follower(config, encoder, tell, allow_shrink=allow_shrink, reread=reread)
    encoder.load()
    while True:
        follower.follow()
        follower.wait_for_folders()


class Follower:
    """Keeps an index like its folders."""

    def __init__(
        self,
        config: Config,
        encoder: Encoder,
        tell: Tell,
        *,
        allow_shrink: bool = False,
        reread: bool = False,
    ) -> None:
        self._config = config
        self._encoder = encoder
        self._roots = config.dataset.roots
        rules = Rules(Exclusion(config.dataset.exclude), config.dataset.follow_links)
        self._folder = Folder(*self._roots, rules=rules)
        self._polling = any(map(is_network_drive, self._roots))
        self._tell = tell
        self._first: dict[str, bool] = {"allow_shrink": allow_shrink, "reread": reread}
        self._pending = Pending()
        self._version: str | None = None
        self._told = ""
        self._retry_s = RETRY_S
        self._due = self._scan_due = 0.0
        self._at_once = FEW

    def follow(self) -> None:
        """Build whenever something has changed. Return when one of the folders is away."""
        self._pending.everything = True
        for changes in self._looks():
            self._pending.add(changes)
            if time.monotonic() > self._scan_due:
                self._pending.everything = True
            if time.monotonic() > self._due:
                self._build()

    def wait_for_folders(self) -> None:
        """Return when all folders are there."""
        away = None
        while missing := [root for root in self._roots if not _is_there(root)]:
            away = missing[0]
            self._tell_once(
                f"The image folder {away} is away or empty. Its images stay in the index; "
                "waiting for it."
            )
            time.sleep(WAIT_S)
        if away:
            self._tell_once(f"The image folder {away} is there again.")

    def _looks(self) -> Generator[set[str]]:
        """Yield the paths that have changed, twice a second, until a folder is another one."""
        before = list(map(_identity, self._roots))
        looks = watchfiles.watch(
            *self._roots,
            watch_filter=None,
            debounce=LOOK_MS,
            step=LOOK_MS // 5,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            force_polling=self._polling or None,  # None: as WATCHFILES_FORCE_POLLING says
            poll_delay_ms=POLL_MS,
            ignore_permission_denied=True,
        )
        with closing(looks):
            while None not in before:
                began = time.time()
                try:
                    changes = next(looks)
                except FileNotFoundError:
                    return
                except OSError as error:
                    raise _cannot_watch(error) from None
                if list(map(_identity, self._roots)) != before:
                    return
                if time.time() - began > ASLEEP_S:
                    self._pending.everything = True
                yield {path for change, path in changes if not _is_same_folder(change, path)}

    def _build(self) -> None:
        """Index what has changed and is not being written any more."""
        paths = self._pending.take(self._at_once)
        part: Part | None = None
        if paths is not None:
            part = self._look_at(paths)
            if part is not None and not part.keys:
                return
        try:
            began = time.monotonic()
            report = build(self._config, self._encoder, part=part, **self._first)
        except NoImages as error:
            self._failed(paths, error)
        except (LookalikeError, OSError) as error:
            if self._version is None and not isinstance(error, StoreBusy):
                raise
            self._failed(paths, error)
        else:
            self._due = began + EVERY_S
            self._done(report, everything=part is None)

    def _look_at(self, paths: set[str]) -> Part | None:
        """Return what there is at these paths; None if everything must be scanned.

        That is so also if a table describes the images, which is read as a whole.
        """
        part = self._folder.scan_part(paths)
        is_described = self._config.dataset.metadata is not None
        return None if part and part.keys and is_described else part

    def _done(self, report: BuildReport, *, everything: bool) -> None:
        self._first = {}
        self._told, self._retry_s = "", RETRY_S
        if report.encoded:
            self._at_once = max(FEW, int(report.encoded / report.seconds * BUILD_S))
        if everything:
            self._scan_due = time.monotonic() + SCAN_S
        before, self._version = self._version, report.version
        if before != report.version:
            self._tell(report)
        if before is None:
            how = ", a network drive, by polling" if self._polling else ""
            self._tell(f"Following {self._folder.source}{how}. Ctrl-C ends it.")

    def _failed(self, paths: set[str] | None, error: LookalikeError | OSError) -> None:
        """Try again later, ever more rarely; but another build ends, and images may come."""
        self._pending.put_back(paths)
        self._due = time.monotonic() + self._retry_s
        if not isinstance(error, StoreBusy | NoImages):
            self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)
        why = f"{error.message} {error.hint}" if isinstance(error, LookalikeError) else str(error)
        self._tell_once(f"Waiting: {why.strip()}")

    def _tell_once(self, what: str) -> None:
        if what != self._told:
            self._tell(what)
        self._told = what


class Pending:
    """What has changed and is not in the index yet."""

    def __init__(self) -> None:
        self.everything = False
        """Whether it may be anything, so that all has to be scanned."""
        self._seen: dict[str, tuple[tuple[int, int] | None, float]] = {}
        """The state of each path, and since when it is known to be that."""

    def add(self, paths: Iterable[str]) -> None:
        """Add paths that have changed."""
        for path in paths:
            if path not in self._seen:
                self._seen[path] = (_state(path), time.monotonic())

    def take(self, most: int) -> set[str] | None:
        """Return paths that nobody is writing to, and forget them; None for everything.

        They are up to ``most`` files and, if these are all, the paths with nothing there: a file
        may have been moved, and is recognised as long as its old name is in the index.
        """
        if self.everything or len(self._seen) >= MANY:
            self._seen.clear()
            self.everything = False
            return None
        files, missing, now = set[str](), set[str](), time.monotonic()
        for path, (before, since) in self._seen.items():
            if (state := _state(path)) != before:
                self._seen[path] = (state, now)
            elif now - since >= SETTLED_S:
                (missing if state is None else files).add(path)
        settled = files | missing if len(files) <= most else {*sorted(files)[:most]}
        for path in settled:
            del self._seen[path]
        return settled

    def put_back(self, paths: set[str] | None) -> None:
        """Add what :meth:`take` has returned again."""
        if paths is None:
            self.everything = True
        else:
            self.add(paths)


def _state(path: str) -> tuple[int, int] | None:
    """Return what differs while a file is being written; None of what is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 -- there may be thousands
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one that is mounted in its place; None: no folder."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_there(folder: Path) -> bool:
    """Tell whether a folder is there, and no mount point without its disk."""
    try:
        return not is_empty(folder)
    except OSError:
        return False


def _is_same_folder(change: watchfiles.Change, path: str) -> bool:
    """Tell whether only the time of a folder has changed: what is in it is reported by itself."""
    return change is watchfiles.Change.modified and os.path.isdir(path)  # noqa: PTH112


def _cannot_watch(error: OSError) -> ConfigError:
    return ConfigError(
        f"The system cannot watch the folders: {error}.",
        "If they hold too many folders for it, raise its limit (Linux: sysctl "
        "fs.inotify.max_user_watches=1000000), or set WATCHFILES_FORCE_POLLING=true.",
    )
