"""Models of facets and fields: what the images can be filtered by, and how many have what."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from indexer import search


class FacetValue(BaseModel):
    """A value of a field, and how many images have it."""

    value: Annotated[
        StrictBool | StrictInt | StrictFloat | StrictStr, Field(description="The value.")
    ]
    count: Annotated[int, Field(description="How many images have it.")]


class Facet(BaseModel):
    """The values of a field, counted in all images that pass the filter."""

    values: Annotated[
        list[FacetValue], Field(description="Up to 100 values, the most frequent first.")
    ]
    others: Annotated[int, Field(description="How many further values there are.")]

    @classmethod
    def of_each(cls, facets: Mapping[str, search.Facet]) -> "dict[str, Facet] | None":
        """Describe facets by field; None if there are none."""
        described = search.facets_to_dict(facets)
        return {name: cls.model_validate(one) for name, one in described.items()} or None


class IndexedField(BaseModel):
    """A field that images can be filtered by."""

    name: Annotated[str, Field(description="Such as category, width or key.")]
    type: Annotated[
        Literal["text", "number", "boolean"],
        Field(description="Of its values. A field with values of two types is listed twice."),
    ]
    images: Annotated[int, Field(description="How many images have such a value.")]

    @classmethod
    def of(cls, field: search.Field) -> "IndexedField":
        """Describe a field."""
        return cls(name=field.name, type=field.kind, images=field.images)
