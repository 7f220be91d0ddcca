"""Words that are looked for in the texts of metadata, such as captions.

``surf board`` are two words, in any order; ``"surf board"`` is one phrase. Nothing else is syntax.
docs/filters.md describes this for users.
"""

import re
import unicodedata
from collections.abc import Sequence

from indexer.errors import InvalidQuery
from indexer.store import TextIndex

MAX_LENGTH = 1000
MAX_WORDS = 32
"""How many characters a text to look for may have, and how many words and phrases."""

HINT = 'Write for instance surf board, or "surf board" for words that follow each other.'

_PART = re.compile(r'"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+)')


def parse_words(text: str) -> list[str]:
    """Return the words and phrases of a text, all of which have to be in what is looked for.

    Raises :class:`~indexer.errors.InvalidQuery` if there are none or too many.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidQuery(
            f"The text has {len(text):,} characters; the limit is {MAX_LENGTH:,}.",
            "A few words find more.",
        )
    parts = [match["phrase"] or match["word"] or "" for match in _PART.finditer(text)]
    phrases = list(filter(has_word, parts))
    if not phrases:
        raise InvalidQuery(f"There is no word in {text!r} to look for.", HINT)
    if len(phrases) > MAX_WORDS:
        raise InvalidQuery(
            f"The text has {len(phrases)} words; the limit is {MAX_WORDS}.",
            "A few words find more.",
        )
    return phrases


def has_word(text: str) -> bool:
    """Tell whether a text has a letter or a digit: only words of these are in the index."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def searched_fields(index: TextIndex) -> Sequence[str]:
    """Return the names of the fields whose texts are searched for words, at least one.

    Raises :class:`~indexer.errors.InvalidQuery` if there is none, and what
    :meth:`~indexer.store.TextIndex.require` raises.
    """
    index.require()
    if not index.fields:
        raise InvalidQuery(
            "No image has a text that could be searched for words.",
            "Such texts come with the images, as captions of COCO do: docs/coco.md.",
        )
    return index.fields
