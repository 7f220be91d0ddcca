"""The wire types of requests: they validate what comes in and make the document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, Json, model_validator

from indexer import search

StrictInt64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Fraction = Annotated[FiniteFloat, Field(ge=0, le=1)]


class Request(BaseModel):
    """Base of requests: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Box(Request):
    """A region of an upright image, in fractions of its width and height."""

    model_config = ConfigDict(strict=True)

    x: Fraction
    y: Fraction
    width: Annotated[FiniteFloat, Field(gt=0, le=1)]
    height: Annotated[FiniteFloat, Field(gt=0, le=1)]


class Example(Request):
    """An indexed image that results should resemble, or should not."""

    model_config = ConfigDict(strict=True)

    image_id: Annotated[int, Field(ge=1, le=2**63 - 1, description="An image of the index.")]
    weight: Annotated[FiniteFloat, Field(gt=0, le=100, description="How much it counts.")] = 1.0


Value = Annotated[str, Field(max_length=1000)] | StrictInt64 | FiniteFloat | bool


class Allowed(Request):
    """Which images may be found; the others are as if they were not there."""

    model_config = ConfigDict(strict=True)

    key_prefix: Annotated[
        str, Field(max_length=1000, description="How their keys begin, such as a folder: cats/")
    ] = ""
    metadata: Annotated[
        dict[str, Value],
        Field(default_factory=dict, max_length=16, description="Values their metadata has."),
    ]


ALLOWED = Field(description="Find only images whose key begins so and whose metadata is so.")
CROP = Field(description="Search with this region of the upload or of the indexed image.")
Examples = Annotated[list[Example], Field(max_length=64)]
POSITIVES: Any = Field(
    default_factory=list,
    description="Images the results should be like, too. The query is the mean of what is asked "
    "for and the positives, each times its weight, minus that of the negatives.",
)
NEGATIVES: Any = Field(default_factory=list, description="Images the results should not be like.")


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
    """A search by an uploaded image. crop, positives and negatives are JSON, as text."""

    image: Annotated[
        bytes,
        Field(
            description="The image file.",
            json_schema_extra={"type": "string", "contentMediaType": "application/octet-stream"},
        ),
    ]
    crop: Annotated[Json[Box] | None, CROP] = None
    allowed: Annotated[Json[Allowed] | None, ALLOWED] = None
    positives: Annotated[Json[Examples], POSITIVES]
    negatives: Annotated[Json[Examples], NEGATIVES]

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
    """A search by an indexed image, by a vector, or by examples alone."""

    model_config = ConfigDict(strict=True)  # JSON has types of its own: "5" is not a number

    image_id: Annotated[
        int | None, Field(ge=1, le=2**63 - 1, description="An image of the index.")
    ] = None
    vector: Annotated[
        list[FiniteFloat] | None,
        Field(description="A feature of the index's encoder; it is divided by its norm."),
    ] = None
    url: Annotated[
        str | None,
        Field(
            max_length=2000,
            description="The https address of an image, where server.allow_url_queries is on.",
        ),
    ] = None
    crop: Annotated[Box | None, CROP] = None
    allowed: Annotated[Allowed | None, ALLOWED] = None
    positives: Annotated[Examples, POSITIVES]
    negatives: Annotated[Examples, NEGATIVES]

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

    queries: Annotated[list[SearchStored], Field(min_length=1, max_length=MAX_BATCH)]

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
            json_schema_extra={
                "items": {"type": "string", "contentMediaType": "application/octet-stream"}
            },
        ),
    ]
    allowed: Annotated[Json[Allowed] | None, ALLOWED] = None

    def searches(self) -> list[SearchUpload]:
        """Return the searches one by one."""
        shared = {name: getattr(self, name) for name in self.model_fields_set - {"image"}}
        return [SearchUpload.model_construct(image=image, **shared) for image in self.image]


class EmbedUpload(Request):
    """An uploaded image whose feature is wanted."""

    image: Annotated[
        bytes,
        Field(
            description="The image file.",
            json_schema_extra={"type": "string", "contentMediaType": "application/octet-stream"},
        ),
    ]
    crop: Annotated[Json[Box] | None, CROP] = None

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


class ThumbnailQuery(FileQuery):
    """The size of a thumbnail."""

    side: Annotated[
        int, Field(ge=16, le=1024, description="Longest side in pixels; never enlarged.")
    ] = 256


def _box(box: Box | None) -> search.Box | None:
    return None if box is None else search.Box(**box.model_dump())


def _examples(examples: list[Example]) -> list[search.Example]:
    return [search.Example(example.image_id, example.weight) for example in examples]
