"""The wire types of requests: they validate what comes in and make the document."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    Json,
    model_validator,
)

from indexer import search
from server.api.fields import Allowed, Box, Example, Examples, Request

MAX_DIM = 16_384
ALLOWED = "Find only images whose key begins so and whose metadata is so."
CROP = "Search with this region of the upload or of the indexed image."
POSITIVES = (
    "Images the results should be like, too. The query is the mean of what is asked for and the "
    "positives, each times its weight, minus the mean of the negatives, each times its own; up to "
    "64 examples in all."
)
NEGATIVES = "Images the results should not be like."
A_BOX = '{"x": 0.1, "y": 0.2, "width": 0.5, "height": 0.5}'
A_FOLDER = '{"key_prefix": "cats/"}'
SOME_IMAGES = '[{"image_id": 15, "weight": 0.5}]'
AN_IMAGE = Field(description="The image file, such as a JPEG or PNG.")


def _as_text(description: str, example: str, **field: Any) -> Any:
    """Describe a form's field that holds JSON."""
    return Field(description=f"{description} JSON, as text.", examples=[example], **field)


class SearchRequest(Request):
    """What every search can say, whatever it asks with."""

    k: Annotated[int | None, Field(ge=1, description="How many results; search.k if left out.")] = (
        None
    )
    page: Annotated[
        int, Field(ge=1, description="Which page of results, without a limit; 1 is the nearest.")
    ] = 1
    per_page: Annotated[
        int | None, Field(ge=1, description="How many results a page has; another name for k.")
    ] = None
    mode: Annotated[
        Literal["exact", "approximate"] | None,
        Field(description="How to search; search.mode if left out."),
    ] = None
    threshold: Annotated[
        FiniteFloat | None, Field(ge=0, le=2, description="The largest distance of a result.")
    ] = None
    collapse_duplicates: Annotated[
        bool, Field(description="Put near-duplicates of a better result below it.")
    ] = False
    explain: Annotated[
        bool,
        Field(
            description="Tell how many images each stage of the search left, and how far a sample "
            "of the collection is from the query."
        ),
    ] = False

    @model_validator(mode="after")
    def _one_page_size(self) -> "SearchRequest":
        if self.k is not None and self.per_page is not None:
            raise ValueError("give either k or per_page: both say how many results a page has")
        return self

    def selection(self) -> search.Selection:
        """Return which of the neighbours are wanted."""
        allowed: Allowed | None = getattr(self, "allowed", None)
        return search.Selection(
            k=self.k or self.per_page,
            page=self.page,
            mode=self.mode,
            threshold=self.threshold,
            collapse_duplicates=self.collapse_duplicates,
            allowed=search.Allowed(**allowed.model_dump()) if allowed else None,
        )


class SearchUpload(SearchRequest):
    """A search by an uploaded image, and by examples beside it."""

    image: Annotated[bytes, AN_IMAGE]
    crop: Annotated[Json[Box] | None, _as_text(CROP, A_BOX)] = None
    allowed: Annotated[Json[Allowed] | None, _as_text(ALLOWED, A_FOLDER)] = None
    positives: Annotated[Json[Examples], _as_text(POSITIVES, SOME_IMAGES, default_factory=list)]
    negatives: Annotated[Json[Examples], _as_text(NEGATIVES, SOME_IMAGES, default_factory=list)]

    @property
    def kind(self) -> Literal["image"]:
        """What the search asks with, the examples aside."""
        return "image"

    def query(self) -> search.Query:
        """Return what is asked."""
        return search.Query(
            image=self.image,
            crop=_box(self.crop),
            positives=_examples(self.positives),
            negatives=_examples(self.negatives),
        )


class SearchStored(SearchRequest):
    """A search by exactly one of image_id, vector and url, or by positives alone.

    Positives and negatives go with each of them, crop with image_id and url.
    """

    model_config = ConfigDict(strict=True)  # JSON has types of its own: "5" is not a number

    image_id: Annotated[
        int | None, Field(ge=1, le=2**63 - 1, description="An image of the index.")
    ] = None
    vector: Annotated[
        Annotated[list[FiniteFloat], Field(max_length=MAX_DIM, fail_fast=True)] | None,
        Field(
            description="A feature of the index's encoder, as many numbers as it has dimensions; "
            "it is divided by its norm."
        ),
    ] = None
    url: Annotated[
        str | None,
        Field(
            max_length=2000,
            description="The https address of an image, where server.allow_url_queries is on.",
        ),
    ] = None
    crop: Annotated[Box | None, Field(description=CROP)] = None
    allowed: Annotated[Allowed | None, Field(description=ALLOWED)] = None
    positives: Annotated[Examples, Field(default_factory=list, description=POSITIVES)]
    negatives: Annotated[Examples, Field(default_factory=list, description=NEGATIVES)]

    @model_validator(mode="after")
    def _one_query(self) -> "SearchStored":
        given = [part for part in (self.image_id, self.vector, self.url) if part is not None]
        if len(given) > 1:
            raise ValueError("give one of image_id, vector and url, not several")
        if not given and not self.positives:
            raise ValueError("give image_id, vector or positives (or upload an image as multipart)")
        return self

    @property
    def kind(self) -> Literal["image", "image_id", "vector", "examples"]:
        """What the search asks with, the examples aside."""
        if self.url is not None:
            return "image"
        if self.image_id is not None:
            return "image_id"
        return "examples" if self.vector is None else "vector"

    def query(self, image: bytes | None = None) -> search.Query:
        """Return what is asked; ``image`` is what the url holds."""
        return search.Query(
            image=image,
            image_id=self.image_id,
            vector=self.vector,
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
            description="The searches; none by url.",
        ),
    ]

    @model_validator(mode="after")
    def _nothing_to_fetch(self) -> "BatchStored":
        if any(query.url is not None for query in self.queries):
            raise ValueError("a batch takes no url; send such searches one by one")
        return self

    def searches(self) -> list[SearchStored]:
        """Return the searches one by one."""
        return self.queries


class BatchUpload(SearchRequest):
    """Several uploaded images, as fields of the same name, and what all searches share."""

    image: Annotated[
        list[bytes],
        Field(
            min_length=1,
            max_length=MAX_BATCH,
            description="The image files, together no larger than one upload may be.",
        ),
    ]
    allowed: Annotated[Json[Allowed] | None, _as_text(ALLOWED, A_FOLDER)] = None

    def searches(self) -> list[SearchUpload]:
        """Return the searches one by one."""
        shared = {name: getattr(self, name) for name in self.model_fields_set - {"image"}}
        return [SearchUpload.model_construct(image=image, **shared) for image in self.image]


class EmbedUpload(Request):
    """An uploaded image whose feature is wanted."""

    image: Annotated[bytes, AN_IMAGE]
    crop: Annotated[
        Json[Box] | None, _as_text("The region of the upload whose feature is wanted.", A_BOX)
    ] = None

    def box(self) -> search.Box | None:
        """Return the region that is wanted, None for the whole image."""
        return _box(self.crop)


class ImagePath(BaseModel):
    """The id in an image's address."""

    image_id: Annotated[int, Field(ge=1, le=2**63 - 1, description="An image of the index.")]


class FileQuery(Request):
    """What makes an image's address one of its content."""

    v: Annotated[
        str | None, Field(description="Start of the content's SHA-256: the answer may be kept.")
    ] = None


SIDES = (96, 128, 256, 320, 480, 1024)
"""The sides of thumbnails: few, so that the cache of them is good for something."""


def _offered(side: int) -> int:
    if side not in SIDES:
        raise ValueError(f"is {side}; thumbnails have {', '.join(map(str, SIDES))} pixels")
    return side


class ThumbnailQuery(FileQuery):
    """The size of a thumbnail."""

    side: Annotated[
        int,
        AfterValidator(_offered),
        Field(
            description="Longest side in pixels, one of these; never enlarged.",
            json_schema_extra={"enum": [*SIDES]},
        ),
    ] = 256


def _box(box: Box | None) -> search.Box | None:
    return None if box is None else search.Box(**box.model_dump())


def _examples(examples: list[Example]) -> list[search.Example]:
    return [search.Example(example.image_id, example.weight) for example in examples]
