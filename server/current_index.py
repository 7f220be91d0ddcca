"""The index a server searches: opened when it exists, replaced when a new version is published."""

import logging
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from flask import current_app

from indexer.config import Config
from indexer.errors import LookalikeError, NoPublishedIndex, StoreUnavailable
from indexer.search import PublishedIdentity, Searcher, open_backend

logger = logging.getLogger(__name__)

IMAGES_SECONDS = 10.0
"""How often to look for a few image files, whose disk may be away."""

REMOTE_IMAGES_SECONDS = 600.0
"""The same for images in object storage, where reading them costs money."""

POLL_SECONDS = 1.0
"""How often to check for another version, which reads nine bytes and the status of a file."""

RETRY_SECONDS = 60.0
"""When to try again to load the encoder, and at the latest to open a rejected version."""

REOPEN_SECONDS = 5.0
"""When to try again to open a damaged version, if none is open yet."""


class EncoderLoading(LookalikeError):
    """The encoder is not loaded yet, so that images cannot be encoded."""

    code = "not_ready"

    def __init__(self) -> None:
        super().__init__("The encoder is still loading.", "Try again in a few seconds.")


class EncoderFailed(LookalikeError):
    """Loading the encoder failed in a way that no other error describes."""

    code = "not_ready"

    def __init__(self) -> None:
        super().__init__("The encoder cannot be loaded.", "The server's log says why.")


class Rejected(NamedTuple):
    """A published version that failed its checks, and why."""

    version: str
    error: LookalikeError

    def __str__(self) -> str:
        return f"Version {self.version} is not used: {self.error.message}"


class Images(NamedTuple):
    """Whether the files of the images can be read, None if that is not known yet, and why not."""

    readable: bool | None
    reason: str | None


class CurrentIndex:
    """Opens and replaces the :class:`Searcher`, and reports readiness. Safe between threads.

    A request gets the searcher once and uses it to its end. A new version replaces one reference,
    so a request finishes on the version it began with.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._backend = open_backend(config)
        self._lock = threading.Lock()
        self._searcher: Searcher | None = None
        self._identity: PublishedIdentity | None = None
        """Of the version that is open."""
        self._rejected_identity: PublishedIdentity | None = None
        self._opening_error: LookalikeError | None = None
        """Why the first version could not be opened, which is not tried before ``_reopen_at``."""
        self._reopen_at = 0.0
        self._is_watched = False
        self._images_problem: LookalikeError | None = None
        self._images_are_known = False
        self._looking_since: float | None = None
        self._encoder_problem: LookalikeError | None = None
        """Why the encoder could not be loaded; it is tried again after ``_reload_at``."""
        self._reload_at = 0.0
        self._retry_at = 0.0
        self._retry_s = POLL_SECONDS
        """How long to wait before the rejected version is tried again: it may be being copied."""
        self.rejected: Rejected | None = None
        """The published version, if it failed its checks and an older one stays in use."""

    @property
    def opened(self) -> Searcher | None:
        """The index, or None if it has not been opened."""
        return self._searcher

    def searcher(self) -> Searcher:
        """Return the opened index; open it if that has not been done.

        Raises :class:`~indexer.errors.NoPublishedIndex` or another error of opening.
        """
        return self._searcher or self._open_first()

    def readiness_error(self) -> LookalikeError | None:
        """Return why images cannot be searched with yet, or None if they can."""
        try:
            searcher = self.searcher()
        except LookalikeError as error:
            return error
        if problem := searcher.problem():
            return problem
        return None if searcher.encoder_is_loaded else self._why_not_loaded()

    def check_encoder(self, searcher: Searcher) -> None:
        """Raise an error if the encoder is not loaded; waiting would occupy a thread."""
        if not searcher.encoder_is_loaded:
            raise self._why_not_loaded()

    def images(self) -> Images:
        """Return whether the files of the images can be read."""
        since, problem = self._looking_since, self._images_problem
        if since is not None and time.monotonic() - since > IMAGES_SECONDS:
            return Images(readable=False, reason="Their disk does not answer.")
        if not self._images_are_known:
            return Images(readable=None, reason=None)
        return Images(readable=problem is None, reason=problem.message if problem else None)

    @property
    def images_seconds(self) -> float:
        """How long to wait between two looks for the images."""
        searcher = self._searcher
        if searcher is None:
            return POLL_SECONDS
        return REMOTE_IMAGES_SECONDS if searcher.collection.files_are_remote else IMAGES_SECONDS

    def look_for_images(self) -> None:
        """Find out whether the files of the images can be read; log it when that changes."""
        searcher = self._searcher
        if searcher is None:
            return
        self._looking_since = time.monotonic()
        try:
            problem = searcher.collection.files_problem()
        except OSError as error:  # the catalogue, not an image
            problem = StoreUnavailable(f"The catalogue cannot be read: {error.strerror}.")
        finally:
            self._looking_since = None
        if problem and not self._images_problem:
            logger.warning(
                "The images are not where the index expects them; searches work. %s "
                "lookalike serve --images PATH, or dataset.root, says where they are now.",
                problem.message,
            )
        elif self._images_problem and not problem:
            logger.warning("The images can be read again.")
        self._images_problem, self._images_are_known = problem, True

    def refresh(self) -> None:
        """Replace the index if another version is published and passes its checks.

        The old one answers until the new one is open, checked and has its encoder. If none is open
        yet, the published version is opened.
        """
        old = self._searcher
        if old is None:
            with suppress(LookalikeError):  # which every request is answered with
                self.searcher()
            return
        try:
            published = Searcher.published_identity(self.config)
        except LookalikeError as error:
            self._reject(None, error)
            return
        if published is None:
            self._reject(None, _absent(self.config))
            return
        if published == self._identity:
            self.rejected = self._rejected_identity = None
            return
        if published == self._rejected_identity and time.monotonic() < self._retry_at:
            return
        try:
            new = self._open()
            new.check()
            new.reuse_encoder(old)
            if old.encoder_is_loaded:
                new.load_encoder()
        except LookalikeError as error:
            self._reject(published, error)
            return
        except Exception as error:  # noqa: BLE001 -- the old version stays in use
            self._reject(published, LookalikeError(f"It cannot be opened: {error!r}."))
            return
        self._searcher, self._identity = new, published
        self.rejected = self._rejected_identity = None
        logger.warning(
            "Now answering from version %s instead of %s.", new.info.version, old.info.version
        )
        if not new.encoder_is_loaded:
            self._encoder_problem = None
            self._load_encoder(new)

    def reload_encoder(self) -> None:
        """Try again to load the encoder if that failed a while ago."""
        searcher = self._searcher
        if searcher and self._encoder_problem and time.monotonic() >= self._reload_at:
            self._load_encoder(searcher)

    def _reject(self, identity: PublishedIdentity | None, error: LookalikeError) -> None:
        """Note and log, once, why a published version is not used."""
        is_known = identity == self._rejected_identity
        self._retry_s = min(2 * self._retry_s, RETRY_SECONDS) if is_known else POLL_SECONDS
        self._retry_at, self._rejected_identity = time.monotonic() + self._retry_s, identity
        rejected = Rejected(identity.version if identity else "unknown", error.fresh())
        if str(rejected) != str(self.rejected):
            logger.error("%s %s", rejected, error.hint)
        self.rejected = rejected

    def _open(self) -> Searcher:
        """Open the published version, with the limit of pixels for uploads."""
        return Searcher.open(self.config, self.config.server.max_pixels, self._backend)

    def _open_first(self) -> Searcher:
        with self._lock:
            if not self._is_watched:
                self._is_watched = True
                for name, work in (("reload", _watch), ("images", _watch_images)):
                    threading.Thread(
                        target=work, args=(weakref.ref(self),), daemon=True, name=name
                    ).start()
            if self._searcher is None:
                self._searcher = searcher = self._try_to_open()
                threading.Thread(
                    target=self._load_encoder, args=(searcher,), daemon=True, name="encoder"
                ).start()
            return self._searcher

    def _try_to_open(self) -> Searcher:
        """Open the published version, unless that failed a short time ago."""
        if self._opening_error and time.monotonic() < self._reopen_at:
            raise self._opening_error.fresh()
        try:
            # Before opening: should another version be published meanwhile, it is noticed.
            self._identity = Searcher.published_identity(self.config)
            return self._open()
        except NoPublishedIndex:
            raise  # which takes no time, and passes as soon as there is one
        except OSError as error:
            problem: LookalikeError = StoreUnavailable(str(error))
        except LookalikeError as error:
            problem = error
        self._opening_error = problem.fresh()
        self._reopen_at = time.monotonic() + REOPEN_SECONDS
        raise problem

    def _why_not_loaded(self) -> LookalikeError:
        """Return an error to raise: the reason why the encoder is not loaded."""
        problem = self._encoder_problem
        return problem.fresh() if problem else EncoderLoading()

    def _load_encoder(self, searcher: Searcher) -> None:
        """Load the encoder while the first requests, most of which do not need it, are answered."""
        problem: LookalikeError | None = None
        try:
            searcher.load_encoder()
        except LookalikeError as error:
            problem = error.fresh()
            if str(problem) != str(self._encoder_problem):  # not again each time it is tried
                logger.error("%s %s", error.message, error.hint)
        except Exception:
            if _is_shutting_down():
                return  # the encoder cannot start threads any more
            logger.exception("The encoder cannot be loaded")
            problem = EncoderFailed()
        self._reload_at = time.monotonic() + RETRY_SECONDS
        self._encoder_problem = problem


def _absent(config: Config) -> StoreUnavailable:
    """Return why nothing newer is opened: the store was removed, or its disk is away."""
    return StoreUnavailable(
        f"There is no index in {config.store} at the moment.",
        "The version that is open answers until there is one.",
    )


def _is_shutting_down() -> bool:
    """Tell whether the interpreter is shutting down: thread pools then accept no work."""
    try:
        ThreadPoolExecutor(1).submit(int)
    except RuntimeError:
        return True
    return False


def _watch(reference: "weakref.ref[CurrentIndex]") -> None:
    """Check for new versions, and for a missing encoder, until the application is gone."""
    while (index := reference()) is not None:
        try:
            index.refresh()
            index.reload_encoder()
        except Exception:
            logger.exception("Checking for a new version failed")
        del index
        time.sleep(POLL_SECONDS)


def _watch_images(reference: "weakref.ref[CurrentIndex]") -> None:
    """Look for image files, in a thread of its own: a disk can hang."""
    while (index := reference()) is not None:
        seconds = index.images_seconds
        try:
            index.look_for_images()
        except Exception:
            logger.exception("Looking for the images failed")
        del index
        time.sleep(seconds)


def current_index() -> CurrentIndex:
    """Return the current index of the application that handles the request."""
    found: CurrentIndex = current_app.extensions["current_index"]
    return found
