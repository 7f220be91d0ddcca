"""Models of requests: they validate the fields and describe them in the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    Json,
    WithJsonSchema,
    model_validator,
)

from indexer import search
from server.api.fields import (
    Allowed,
    Box,
    Example,
    Examples,
    FacetList,
    Facets,
    Filter,
    Request,
    Text,
)

MAX_DIM = 16_384
MAX_PER_PAGE = 1000
FILTER = (
    "Search only images that pass all of these clauses, such as category=dog, category!=person, "
    "width>=640, licence=4..5, key^=val2017/ or caption~surfboard; docs/filters.md describes them."
)
FACETS = (
    "Fields whose values are counted in all images that pass the filter, such as category,licence."
)
ALLOWED = "Search only images with this key prefix and these metadata values."
CROP = "Search with this region of the upload or of the indexed image."
POSITIVES = (
    "Further images that results should resemble. The search uses the mean of the query and the "
    "positives, minus the mean of the negatives. Each example is multiplied by its weight; the "
    "means divide by counts, not by weights. Up to 64 examples in all."
)
NEGATIVES = "Images that results should not resemble."
BOX_EXAMPLE = '{"x": 0.1, "y": 0.2, "width": 0.5, "height": 0.5}'
FOLDER_EXAMPLE = '{"key_prefix": "cats/"}'
IMAGES_EXAMPLE = '[{"image_id": 15, "weight": 0.5}]'
TEXT = (
    "Search with the mean of the 20 images whose captions or other texts have all these words and "
    "match best. Words in double quotes must follow each other. Images without captions are found, "
    "too: what counts is how they look."
)
IMAGE = "The image file, such as a JPEG or PNG."
BINARY = WithJsonSchema({"type": "string", "format": "binary"})


def _json_field(description: str, example: str, **field: Any) -> Any:
    """Return the field of a form whose text is JSON."""
    return Field(description=f"{description} JSON, as text.", examples=[example], **field)


class SearchRequest(Request):
    """Fields of every search, whatever its query."""

    k: Annotated[
        int | None, Field(ge=1, description="How many results; the default is search.k.")
    ] = None
    page: Annotated[
        int, Field(ge=1, description="Which page of results, from 1; there is no limit.")
    ] = 1
    per_page: Annotated[
        int | None, Field(ge=1, description="How many results a page has: the same as k.")
    ] = None
    mode: Annotated[
        Literal["exact", "approximate"] | None,
        Field(description="How to search; the default is search.mode."),
    ] = None
    threshold: Annotated[
        FiniteFloat | None, Field(ge=0, le=2, description="Largest distance of a result.")
    ] = None
    collapse_duplicates: Annotated[
        bool,
        Field(description="Group near-duplicates, and boxes in one picture, under the nearest."),
    ] = False
    filter: Annotated[Filter, Field(default_factory=list, description=FILTER)]
    explain: Annotated[
        bool,
        Field(
            description="Add to the answer how many images each stage of the search kept, and the "
            "distances of a sample of the collection to the query."
        ),
    ] = False

    @model_validator(mode="after")
    def _check_one_page_size(self) -> "SearchRequest":
        if self.k is not None and self.per_page is not None:
            raise ValueError(
                "give k or per_page, not both: each is the number of results of a page"
            )
        return self

    def selection(self) -> search.Selection:
        """Return which results are wanted."""
        allowed: Allowed | None = getattr(self, "allowed", None)
        return search.Selection(
            k=self.k or self.per_page,
            page=self.page,
            mode=self.mode,
            threshold=self.threshold,
            collapse_duplicates=self.collapse_duplicates,
            allowed=search.Allowed(**allowed.model_dump()) if allowed else None,
            filter=self.filter,
            facets=_names(getattr(self, "facets", [])),
        )


class SearchUpload(SearchRequest):
    """A search by an uploaded image or by words, and optionally by examples."""

    image: Annotated[bytes | None, BINARY, Field(default_factory=lambda: None, description=IMAGE)]
    text: Annotated[Text | None, Field(description=TEXT)] = None
    crop: Annotated[Json[Box] | None, _json_field(CROP, BOX_EXAMPLE)] = None
    allowed: Annotated[Json[Allowed] | None, _json_field(ALLOWED, FOLDER_EXAMPLE)] = None
    facets: Annotated[FacetList, Field(description=FACETS)] = ""
    positives: Annotated[
        Json[Examples], _json_field(POSITIVES, IMAGES_EXAMPLE, default_factory=list)
    ]
    negatives: Annotated[
        Json[Examples], _json_field(NEGATIVES, IMAGES_EXAMPLE, default_factory=list)
    ]

    @model_validator(mode="after")
    def _check_one_query(self) -> "SearchUpload":
        if (self.image is None) == (self.text is None):
            raise ValueError("give an image or a text, and not both")
        return self

    def query(self) -> search.Query:
        """Return the query."""
        return search.Query(
            image=self.image,
            text=self.text,
            crop=_box(self.crop),
            positives=_examples(self.positives),
            negatives=_examples(self.negatives),
        )


class SearchStored(SearchRequest):
    """A search by exactly one of image_id, vector, text and url, or by positives alone.

    Positives and negatives can be added to each of them, crop to image_id and url.
    """

    model_config = ConfigDict(strict=True)  # JSON has types: "5" is not a number

    image_id: Annotated[
        int | None, Field(ge=1, le=2**63 - 1, description="An image of the index.")
    ] = None
    vector: Annotated[
        Annotated[list[FiniteFloat], Field(max_length=MAX_DIM, fail_fast=True)] | None,
        Field(
            description="A feature from the index's encoder, encoder.dim numbers; the server "
            "normalises it."
        ),
    ] = None
    text: Annotated[Text | None, Field(description=TEXT)] = None
    url: Annotated[
        str | None,
        Field(
            max_length=2000,
            description="The https URL of an image; only with server.allow_url_queries.",
        ),
    ] = None
    crop: Annotated[Box | None, Field(description=CROP)] = None
    allowed: Annotated[Allowed | None, Field(description=ALLOWED)] = None
    facets: Annotated[Facets, Field(default_factory=list, description=FACETS)]
    positives: Annotated[Examples, Field(default_factory=list, description=POSITIVES)]
    negatives: Annotated[Examples, Field(default_factory=list, description=NEGATIVES)]

    @model_validator(mode="after")
    def _check_one_query(self) -> "SearchStored":
        parts = (self.image_id, self.vector, self.text, self.url)
        given = sum(part is not None for part in parts)
        if given > 1:
            raise ValueError("give only one of image_id, vector, text and url")
        if not given and not self.positives:
            raise ValueError(
                "give image_id, vector, text or positives (or upload an image as multipart)"
            )
        return self

    def query(self, image: bytes | None = None) -> search.Query:
        """Return the query; ``image`` is the file fetched from ``url``."""
        return search.Query(
            image=image,
            image_id=self.image_id,
            vector=self.vector,
            text=self.text,
            crop=_box(self.crop),
            positives=_examples(self.positives),
            negatives=_examples(self.negatives),
        )


MAX_BATCH = 100


class BatchStored(Request):
    """Several searches at once."""

    queries: Annotated[
        list[SearchStored],
        Field(
            min_length=1,
            max_length=MAX_BATCH,
            fail_fast=True,
            description="The searches; none of them by url.",
        ),
    ]

    @model_validator(mode="after")
    def _check_no_urls(self) -> "BatchStored":
        if any(query.url is not None for query in self.queries):
            raise ValueError("a batch cannot have url; send searches by url one by one")
        return self

    def searches(self) -> list[SearchStored]:
        """Return the searches one by one."""
        return self.queries


class BatchUpload(SearchRequest):
    """Several uploaded images in fields of the same name; the other fields hold for each."""

    image: Annotated[
        list[bytes],
        Field(
            min_length=1,
            max_length=MAX_BATCH,
            description="The image files, together no larger than the limit of one upload.",
        ),
    ]
    allowed: Annotated[Json[Allowed] | None, _json_field(ALLOWED, FOLDER_EXAMPLE)] = None
    facets: Annotated[FacetList, Field(description=FACETS)] = ""

    def searches(self) -> list[SearchUpload]:
        """Return the searches one by one."""
        shared = {name: getattr(self, name) for name in self.model_fields_set - {"image"}}
        return [SearchUpload.model_construct(image=image, **shared) for image in self.image]


class EmbedUpload(Request):
    """An uploaded image to be encoded."""

    image: Annotated[bytes, Field(description=IMAGE)]
    crop: Annotated[
        Json[Box] | None, _json_field("Encode only this region of the upload.", BOX_EXAMPLE)
    ] = None

    def box(self) -> search.Box | None:
        """Return the region to encode, None for the whole image."""
        return _box(self.crop)


class ImagesQuery(Request):
    """Which images to list."""

    filter: Annotated[Filter, Field(default_factory=list, description=FILTER)]
    text: Annotated[
        Text | None,
        Field(
            description="List only images of which a text, such as a caption, has all these words. "
            "Words in double quotes must follow each other."
        ),
    ] = None
    facets: Annotated[FacetList, Field(description=FACETS)] = ""
    page: Annotated[int, Field(ge=1, le=2**31, description="Which page, from 1.")] = 1
    per_page: Annotated[
        int, Field(ge=1, le=MAX_PER_PAGE, description="How many images a page has.")
    ] = 100

    def selection(self) -> search.Selection:
        """Return which images are wanted."""
        return search.Selection(
            k=self.per_page, page=self.page, filter=self.filter, facets=_names(self.facets)
        )


class MarksQuery(Request):
    """What the images of the map are marked by."""

    field: Annotated[Text, Field(description="The field whose values are told apart.")] = ""
    filter: Annotated[Filter, Field(default_factory=list, description=FILTER)]

    def selection(self) -> search.Selection:
        """Return which images are not hidden, and the field that is counted."""
        return search.Selection(filter=self.filter, facets=[self.field] if self.field else ())


class ImagePath(BaseModel):
    """The id in the URL of an image."""

    image_id: Annotated[int, Field(ge=1, le=2**63 - 1, description="An image of the index.")]


class WhyPath(BaseModel):
    """The ids in the URL of an explanation."""

    image_id: Annotated[int, Field(ge=1, le=2**63 - 1, description="An image of the index.")]
    other_id: Annotated[int, Field(ge=1, le=2**63 - 1, description="Another one.")]


class WhyQuery(Request):
    """How to explain a similarity."""

    method: Annotated[
        Literal["contributions", "occlusion"] | None,
        Field(
            description="occlusion covers each cell in turn, which takes fifty times as long as "
            "contributions. An encoder whose feature is no mean over a grid can do nothing else."
        ),
    ] = None

    @property
    def by_covering(self) -> bool:
        """Whether occlusion is asked for."""
        return self.method == "occlusion"


class FileQuery(Request):
    """The content version in the URL of an image's file."""

    v: Annotated[
        str | None,
        Field(
            description="First 12 digits of the content's SHA-256; then the answer can be cached "
            "for ever."
        ),
    ] = None


SIDES = (96, 128, 256, 320, 480, 1024, 2048)
"""Sizes of thumbnails in pixels: only a few, so that most are in the cache."""


def _check_side(side: int) -> int:
    if side not in SIDES:
        raise ValueError(f"is {side}; it must be one of {', '.join(map(str, SIDES))}")
    return side


class ThumbnailQuery(FileQuery):
    """The size of a thumbnail, and what it shows."""

    whole: Annotated[
        bool, Field(description="Of a box, show all of its picture; of an image, no difference.")
    ] = False
    side: Annotated[
        int,
        AfterValidator(_check_side),
        Field(
            description="Longest side in pixels; small images are not enlarged.",
            json_schema_extra={"enum": [*SIDES]},
        ),
    ] = 256


def _names(facets: str | list[str]) -> list[str]:
    """Return the names of fields, which a form or a URL has in one text."""
    if isinstance(facets, str):
        return search.parse_names(facets) if facets else []
    return facets


def _box(box: Box | None) -> search.Box | None:
    return None if box is None else search.Box(**box.model_dump())


def _examples(examples: list[Example]) -> list[search.Example]:
    return [search.Example(example.image_id, example.weight) for example in examples]
