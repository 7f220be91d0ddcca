"""The wire types that requests are made of, and that answers repeat."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, WithJsonSchema

MAX_TEXT = 1000


def _text(value: str) -> str:
    """Refuse half a character, which JSON can write and nothing can store."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character: a surrogate without its other half") from None
    return value


def _plain(value: object) -> object:
    """Refuse what no metadata can be compared with."""
    number = isinstance(value, int) and -(2**63) <= value < 2**63
    number |= isinstance(value, float) and math.isfinite(value)
    if number or (isinstance(value, str) and len(value) <= MAX_TEXT and _text(value) == value):
        return value
    raise ValueError(
        f"is neither text of up to {MAX_TEXT:,} characters nor a finite number (whole ones of up "
        "to 64 bits) nor true or false"
    )


# Lists stop at the first item that is wrong: errors without end take more than any search.
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_text)]
Value = Annotated[
    Any,
    AfterValidator(_plain),
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
    """Base of requests: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Box(Request):
    """A region of an upright image, in fractions of its width and height."""

    model_config = ConfigDict(strict=True)

    x: Annotated[FiniteFloat, Field(ge=0, le=1, description="Its left edge, 0 to 1.")]
    y: Annotated[FiniteFloat, Field(ge=0, le=1, description="Its upper edge, 0 to 1.")]
    width: Annotated[FiniteFloat, Field(gt=0, le=1, description="Up to 1 - x.")]
    height: Annotated[FiniteFloat, Field(gt=0, le=1, description="Up to 1 - y.")]


class Example(Request):
    """An indexed image that results should resemble, or should not."""

    model_config = ConfigDict(strict=True)

    image_id: Annotated[int, Field(ge=1, le=2**63 - 1, description="An image of the index.")]
    weight: Annotated[
        FiniteFloat, Field(gt=0, le=100, description="How much it counts beside the others.")
    ] = 1.0


class Allowed(Request):
    """Which images may be found; the others are as if they were not there."""

    model_config = ConfigDict(strict=True)

    key_prefix: Annotated[
        Text, Field(description="How their keys begin, such as a folder: cats/")
    ] = ""
    metadata: Annotated[
        dict[Text, Value],
        Field(default_factory=dict, max_length=16, description="Values their metadata has."),
    ]


Examples = Annotated[list[Example], Field(max_length=64, fail_fast=True)]
