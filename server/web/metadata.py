"""The metadata of an image as its page shows it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from indexer.search import OWN_FIELDS, Searcher
from server.web.facets import Choice, choice

MIN_WORDS = 4
"""Words of the shortest text that is shown as a sentence, such as a caption."""


class Row(NamedTuple):
    """A field with its values in one text."""

    name: str
    text: str

    @property
    def is_link(self) -> bool:
        """Whether the text is a web address."""
        return self.text.startswith(("https://", "http://")) and " " not in self.text


class Described(NamedTuple):
    """The metadata of an image, by how its page shows them."""

    sentences: list[tuple[str, Sequence[str]]]
    """Captions and other texts of several words."""
    choices: list[tuple[str, Sequence[Choice]]]
    """Values that other images share: links to those."""
    rows: list[Row]
    details: list[Row]
    """Fields with a dot in their name, such as ``count.dog``: there is one for each category."""


def described(searcher: Searcher, metadata: Mapping[str, Any]) -> Described:
    """Return an image's metadata by how its page shows them."""
    telling = searcher.collection.telling_fields
    found, choices = Described([], [], [], []), {}
    for name, value in metadata.items():
        field = f"metadata.{name}" if name in OWN_FIELDS else name
        values = value if isinstance(value, list) else [value]
        if field in telling:
            shared = dict.fromkeys(one for one in values if isinstance(one, str | int | float))
            choices[field] = name, [choice(field, one) for one in shared]
        elif values and all(map(_is_sentence, values)):
            found.sentences.append((name, values))
        else:
            rows = found.details if "." in name else found.rows
            rows.append(Row(name, " · ".join(map(str, values))))
    found.choices.extend(choices[field] for field in telling if field in choices)
    return found


def _is_sentence(value: object) -> bool:
    return isinstance(value, str) and len(value.split()) >= MIN_WORDS
