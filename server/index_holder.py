"""The one index a server answers from, opened when it is first there."""

import logging
import threading

from flask import current_app

from indexer.config import Config
from indexer.errors import LookalikeError
from indexer.search import Searcher

logger = logging.getLogger(__name__)


class EncoderLoading(LookalikeError):
    """The encoder is on its way; a query by image waits for it."""

    code = "not_ready"

    def __init__(self) -> None:
        super().__init__("The encoder is still loading.", "Try again in a few seconds.")


class IndexHolder:
    """Holds the :class:`Searcher` and knows whether it is ready. Safe between threads."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._searcher: Searcher | None = None
        self._encoder_problem: LookalikeError | None = None

    @property
    def is_open(self) -> bool:
        """True once the index has been opened."""
        return self._searcher is not None

    def searcher(self) -> Searcher:
        """Return the opened index; open it first if it has come into being meanwhile.

        Raises :class:`~indexer.errors.NoPublishedIndex` or another error of opening.
        """
        with self._lock:
            if self._searcher is None:
                self._searcher = Searcher.open(self.config)
                threading.Thread(target=self._load_encoder, daemon=True, name="encoder").start()
            return self._searcher

    def not_ready(self) -> LookalikeError | None:
        """Return why queries by image cannot be answered yet, or None if they can."""
        try:
            loaded = self.searcher().encoder_is_loaded
        except LookalikeError as error:
            return error
        return None if loaded else self._encoder_problem or EncoderLoading()

    def _load_encoder(self) -> None:
        """Load the encoder beside the first requests, most of which do not need it."""
        assert self._searcher is not None
        try:
            self._searcher.load_encoder()
        except LookalikeError as error:
            logger.error("%s %s", error.message, error.hint)
            self._encoder_problem = error
        except Exception:
            logger.exception("The encoder cannot be loaded")
            self._encoder_problem = LookalikeError("The encoder cannot be loaded.")


def index_holder() -> IndexHolder:
    """Return the index holder of the application that handles the request."""
    holder: IndexHolder = current_app.extensions["lookalike"]
    return holder
