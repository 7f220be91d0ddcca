"""The one index a server answers from: opened when it is first there, exchanged when it changes."""

import logging
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from flask import current_app

from indexer.config import Config
from indexer.errors import LookalikeError
from indexer.search import Searcher

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often to look whether another version was published: reading a nine-byte file."""

RETRY_SECONDS = 60.0
"""When to look again at a version that was refused: the trouble may have passed."""


class EncoderLoading(LookalikeError):
    """The encoder is on its way; until then no image can be searched with."""

    code = "not_ready"

    def __init__(self) -> None:
        super().__init__("The encoder is still loading.", "Try again in a few seconds.")


class Rejected(NamedTuple):
    """A published version that failed its checks, and why."""

    version: str
    error: LookalikeError

    def __str__(self) -> str:
        return f"Version {self.version} is not used: {self.error.message}"


class IndexHolder:
    """Holds the :class:`Searcher` and knows whether it is ready. Safe between threads.

    A request takes the searcher once and keeps it to its end; a reload exchanges one reference, so
    that the request finishes on the version it began with.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._searcher: Searcher | None = None
        self._encoder_problem: LookalikeError | None = None
        self._again = 0.0
        self.rejected: Rejected | None = None
        """The published version, if it failed its checks and an older one goes on answering."""

    @property
    def is_open(self) -> bool:
        """True once the index has been opened."""
        return self._searcher is not None

    def searcher(self) -> Searcher:
        """Return the opened index; open it first if it has come into being meanwhile.

        Raises :class:`~indexer.errors.NoPublishedIndex` or another error of opening.
        """
        searcher = self._searcher
        return searcher or self._open_first()

    def not_ready(self) -> LookalikeError | None:
        """Return why queries by image cannot be answered yet, or None if they can."""
        try:
            loaded = self.searcher().encoder_is_loaded
        except LookalikeError as error:
            return error
        return None if loaded else self._encoder_problem or EncoderLoading()

    def check_encoder(self, searcher: Searcher) -> None:
        """Raise why queries by image cannot be answered yet; to wait would take a thread each."""
        if not searcher.encoder_is_loaded:
            raise self._encoder_problem or EncoderLoading()

    def refresh(self) -> None:
        """Exchange the index if another version is published and passes its checks.

        It is opened, checked and given its encoder beside the old one, which answers meanwhile.
        """
        old = self._searcher
        try:
            version = Searcher.published_version(self.config)
        except LookalikeError as error:
            self._reject("unknown", error)
            return
        if old is None or version is None or version == old.info.version:
            self.rejected = None if old and version == old.info.version else self.rejected
            return
        if self.rejected and self.rejected.version == version and time.monotonic() < self._again:
            return
        try:
            new = self._open()
            new.check()
            new.reuse_encoder(old)
            if old.encoder_is_loaded:
                new.load_encoder()
        except LookalikeError as error:
            self._reject(version, error)
            return
        except Exception as error:  # noqa: BLE001 -- whatever it is, the old version stays
            self._reject(version, LookalikeError(f"It cannot be opened: {error!r}."))
            return
        self._searcher, self.rejected = new, None
        logger.warning("Now answering from version %s instead of %s.", version, old.info.version)
        if not new.encoder_is_loaded:
            self._load_encoder(new)

    def _reject(self, version: str, error: LookalikeError) -> None:
        """Note and log, once, why a published version is not used."""
        self._again = time.monotonic() + RETRY_SECONDS
        rejected = Rejected(version, error)
        if str(rejected) != str(self.rejected):
            logger.error("%s %s", rejected, error.hint)
        self.rejected = rejected

    def _open(self) -> Searcher:
        """Open the published version for queries of strangers."""
        return Searcher.open(self.config, self.config.server.max_pixels)

    def _open_first(self) -> Searcher:
        with self._lock:
            if self._searcher is None:
                self._searcher = searcher = self._open()
                threading.Thread(
                    target=self._load_encoder, args=(searcher,), daemon=True, name="encoder"
                ).start()
                threading.Thread(
                    target=_watch, args=(weakref.ref(self),), daemon=True, name="reload"
                ).start()
            return self._searcher

    def _load_encoder(self, searcher: Searcher) -> None:
        """Load the encoder beside the first requests, most of which do not need it."""
        self._encoder_problem = None
        try:
            searcher.load_encoder()
        except LookalikeError as error:
            logger.error("%s %s", error.message, error.hint)
            self._encoder_problem = error
        except Exception:
            if _is_ending():
                return  # which has taken the encoder's threads away
            logger.exception("The encoder cannot be loaded")
            self._encoder_problem = LookalikeError("The encoder cannot be loaded.")


def _is_ending() -> bool:
    """Tell whether the process is about to end: no work can be given to threads any more."""
    try:
        ThreadPoolExecutor(1).submit(int)
    except RuntimeError:
        return True
    return False


def _watch(reference: "weakref.ref[IndexHolder]") -> None:
    """Refresh a holder for as long as there is one."""
    while (holder := reference()) is not None:
        try:
            holder.refresh()
        except Exception:
            logger.exception("Looking for a new version failed")
        del holder
        time.sleep(POLL_SECONDS)


def index_holder() -> IndexHolder:
    """Return the index holder of the application that handles the request."""
    holder: IndexHolder = current_app.extensions["lookalike"]
    return holder
