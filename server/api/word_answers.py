"""The model of what a search with words begins with."""

from typing import Annotated

from pydantic import BaseModel, Field

from indexer import search


class Words(BaseModel):
    """The images whose captions or other texts have the words; the mean of some was searched for.

    No encoder of texts is involved: results are images that look like these, with captions or not.
    """

    text: Annotated[str, Field(description="What was asked for.")]
    texts: Annotated[
        dict[str, int],
        Field(description="How many texts have all the words, by their field, such as caption."),
    ]
    images: Annotated[int, Field(description="How many images have such a text.")]
    used: Annotated[
        list[int],
        Field(description="Ids of the images whose mean was searched for, the best match first."),
    ]
    summary: Annotated[
        str,
        Field(description="Such as: 12 captions of 5 images say so; these look like them."),
    ]

    @classmethod
    def of(cls, words: search.WordMatches | None) -> "Words | None":
        """Describe what has the words; None for a search without words."""
        return None if words is None else cls.model_validate(words.to_dict())
