"""Words that are looked for in the texts of metadata, such as captions.

No encoder of texts is involved: a search with words begins with images whose captions have them.

``surf board`` are two words, in any order; ``"surf board"`` is one phrase. Nothing else is syntax.
docs/filters.md describes this for users.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from indexer.errors import InvalidQuery, NoTextMatches
from indexer.store import TextIndex

MAX_LENGTH = 1000
MAX_WORDS = 32
"""How many characters a text to look for may have, and how many words and phrases."""

USED_IMAGES = 20
"""How many images of those that say something a search begins with."""

CAMERA_NOTES = {"captured", "camera", "lens"}
"""Fields that most photographs have, and that say nothing of what is in the picture."""

HINT = 'Write for instance surf board, or "surf board" for words that follow each other.'

_PART = re.compile(r'"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+)')


@dataclass(frozen=True, slots=True)
class WordMatches:
    """What a search with words begins with: images of which a text has all of them."""

    text: str
    """What was asked for."""
    texts: Mapping[str, int]
    """How many texts have the words, by the name of their field."""
    images: int
    """How many images have such a text."""
    used: Sequence[int]
    """The ids of the images whose mean is searched for, the best match first."""

    @property
    def summary(self) -> str:
        """What the results are, in a sentence: not what has the words, but what looks like it."""
        total = sum(self.texts.values())
        captions = self.texts.get("caption", 0)
        counts = {"caption": captions, "other text" if captions else "text": total - captions}
        texts = " and ".join(_counted(count, noun) for noun, count in counts.items() if count)
        said = "says" if total == 1 else f"of {_counted(self.images, 'image')} say"
        like = "them" if len(self.used) == self.images else f"the {len(self.used)} best of them"
        return f"{texts} {said} so; these look like {'it' if self.images == 1 else like}."

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values, named and ordered as in the HTTP API."""
        return {**asdict(self), "summary": self.summary}


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


def find_words(index: TextIndex, text: str) -> WordMatches:
    """Return which images a search with these words begins with.

    Raises :class:`~indexer.errors.NoTextMatches` if there are none, and what :func:`parse_words`
    and :func:`searched_fields` raise.
    """
    found = index.best(parse_words(text), searched_fields(index), USED_IMAGES)
    if not found.images:
        raise NoTextMatches(
            f"No text of an image says {text.strip()}.",
            "Try fewer words, or others. All of them have to be in one text, such as a caption; "
            "what has no words in common with any text is found by an image only.",
        )
    return WordMatches(text, found.texts, found.images, found.best)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
