"""Models that requests consist of; answers repeat them."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, WithJsonSchema

from indexer.search import MAX_CLAUSES, MAX_FACETS

MAX_TEXT = 1000


def _check_text(value: str) -> str:
    """Refuse a lone surrogate, which JSON can express and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("contains a surrogate without its other half") from None
    return value


def _check_value(value: object) -> object:
    """Refuse values that metadata cannot have."""
    number = isinstance(value, int) and -(2**63) <= value < 2**63
    number |= isinstance(value, float) and math.isfinite(value)
    if number or (
        isinstance(value, str) and len(value) <= MAX_TEXT and _check_text(value) == value
    ):
        return value
    raise ValueError(
        f"must be text of up to {MAX_TEXT:,} characters, a finite number (an integer of up to 64 "
        "bits), true or false"
    )


# Validation of a list stops at the first wrong item: an error for each costs more than a search.
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_check_text)]
Value = Annotated[
    Any,
    AfterValidator(_check_value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": MAX_TEXT},
                {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
                {"type": "number"},
                {"type": "boolean"},
            ]
        }
    ),
]


class Request(BaseModel):
    """Base of requests: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Box(Request):
    """A region of an upright image, in fractions of its width and height."""

    model_config = ConfigDict(strict=True)

    x: Annotated[FiniteFloat, Field(ge=0, le=1, description="Left edge, 0 to 1.")]
    y: Annotated[FiniteFloat, Field(ge=0, le=1, description="Top edge, 0 to 1.")]
    width: Annotated[FiniteFloat, Field(gt=0, le=1, description="Up to 1 - x.")]
    height: Annotated[FiniteFloat, Field(gt=0, le=1, description="Up to 1 - y.")]


class Example(Request):
    """An indexed image that results should resemble, or should not resemble."""

    model_config = ConfigDict(strict=True)

    image_id: Annotated[int, Field(ge=1, le=2**63 - 1, description="An image of the index.")]
    weight: Annotated[
        FiniteFloat, Field(gt=0, le=100, description="Factor by which its vector is multiplied.")
    ] = 1.0


class Allowed(Request):
    """A filter: which images can be results."""

    model_config = ConfigDict(strict=True)

    key_prefix: Annotated[
        Text, Field(description="Prefix of their keys, such as a folder: cats/")
    ] = ""
    metadata: Annotated[
        dict[Text, Value],
        Field(
            default_factory=dict,
            max_length=16,
            description="Names and values that their metadata must have.",
        ),
    ]


Examples = Annotated[list[Example], Field(max_length=64, fail_fast=True)]
Filter = Annotated[list[Text], Field(max_length=MAX_CLAUSES, fail_fast=True)]
Facets = Annotated[list[Text], Field(max_length=MAX_FACETS, fail_fast=True)]
FacetList = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_check_text)]
"""Names of fields with commas between them, as in a form or a URL."""
