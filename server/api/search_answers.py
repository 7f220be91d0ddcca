"""The wire types of answers to searches: they shape them and make the document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from indexer.search import Answer, Distribution, EncoderSpec, Hit, ImageRow
from server.api.bodies import here
from server.api.fields import Allowed, Box, Example
from server.api.requests import SearchStored, SearchUpload
from server.errors import Error

Mode = Literal["exact", "approximate"]
Version = Annotated[str, Field(description="The published version of the index that answered.")]
ImageId = Annotated[int, Field(description="Names one content for good; ids are not reused.")]
Key = Annotated[str, Field(description="Path relative to the image folder.")]
Metadata = Annotated[
    dict[str, Any], Field(description="What the dataset says of it, such as captions.")
]
FileUrl = Annotated[
    str, Field(description="Path of the file below the server's address; may be kept for ever.")
]
ThumbnailUrl = Annotated[
    str, Field(description="Path of a JPEG of up to 256 pixels a side; may be kept for ever.")
]


class Encoder(BaseModel):
    """The encoder that made the vectors. Vectors of different fingerprints cannot be compared."""

    model: Annotated[str, Field(description="Such as vgg16.")]
    layer: Annotated[str, Field(description="Whose activation is the feature, such as fc2.")]
    weights: Annotated[str, Field(description="imagenet, or the name of a file.")]
    dim: Annotated[int, Field(description="How many numbers a vector has.")]
    preprocessing: Annotated[str, Field(description="What happens to the pixels before.")]
    fingerprint: Annotated[
        str, Field(description="16 hexadecimal digits of all that decides which vectors it makes.")
    ]
    random_weights: Annotated[
        bool, Field(description="True for test weights: the neighbours mean nothing.")
    ]

    @classmethod
    def of(cls, spec: EncoderSpec) -> "Encoder":
        """Describe an encoder without the path of its weights."""
        return cls(
            model=spec.model,
            layer=spec.layer,
            weights=spec.weights_name,
            dim=spec.dim,
            preprocessing=spec.preprocessing,
            fingerprint=spec.fingerprint,
            random_weights=spec.is_random,
        )


class Image(BaseModel):
    """An indexed image."""

    image_id: ImageId
    key: Key
    width: Annotated[int, Field(description="In pixels, upright.")]
    height: Annotated[int, Field(description="In pixels, upright.")]
    bytes: Annotated[int, Field(description="Size of the file.")]
    format: Annotated[str, Field(description="Such as JPEG or PNG.")]
    sha256: Annotated[str, Field(description="Of the file, 64 hexadecimal digits.")]
    metadata: Metadata
    url: FileUrl
    thumbnail_url: ThumbnailUrl

    @classmethod
    def of(cls, row: ImageRow) -> "Image":
        """Describe an indexed image's row."""
        return cls.model_validate(
            {
                "image_id": row.id,
                "key": row.key,
                "width": row.width,
                "height": row.height,
                "bytes": row.size,
                "format": row.format,
                "sha256": row.sha256,
                "metadata": row.metadata,
                "url": file_url(row),
                "thumbnail_url": thumbnail_url(row),
            }
        )


class Result(BaseModel):
    """One neighbour of the query."""

    rank: Annotated[int, Field(description="From 1, on all pages together.")]
    image_id: ImageId
    key: Key
    distance: Annotated[float, Field(description="Euclidean distance to the query, 0 to 2.")]
    cosine: Annotated[float, Field(description="Cosine similarity, 1 - distance^2 / 2, -1 to 1.")]
    url: FileUrl
    thumbnail_url: ThumbnailUrl
    metadata: Metadata
    duplicates: Annotated[
        list["Result"], Field(description="Near-duplicates of it, with collapse_duplicates.")
    ]

    @classmethod
    def of(cls, hit: Hit) -> "Result":
        """Describe a hit."""
        return cls(
            rank=hit.rank,
            image_id=hit.image.id,
            key=hit.image.key,
            distance=hit.distance,
            cosine=hit.cosine,
            url=file_url(hit.image),
            thumbnail_url=thumbnail_url(hit.image),
            metadata=dict(hit.image.metadata),
            duplicates=[cls.of(duplicate) for duplicate in hit.duplicates],
        )


class Query(BaseModel):
    """The query as it was understood."""

    kind: Annotated[
        Literal["image", "image_id", "vector", "examples"],
        Field(description="What was searched with; an image from a url is an image."),
    ]
    image_id: Annotated[int | None, Field(description="The indexed image.")] = None
    url: Annotated[str | None, Field(description="Where the image was fetched from.")] = None
    crop: Annotated[Box | None, Field(description="The region that was searched with.")] = None
    allowed: Annotated[Allowed | None, Field(description="Which images could be found.")] = None
    positives: Annotated[list[Example], Field(description="What results should be like, too.")]
    negatives: Annotated[list[Example], Field(description="What results should not be like.")]
    k: Annotated[int, Field(description="How many results a page has, at most.")]
    page: Annotated[int, Field(description="Which page this is, from 1.")]
    threshold: Annotated[float | None, Field(description="The largest distance of a result.")]
    collapse_duplicates: Annotated[
        bool, Field(description="Whether near-duplicates are below the best of them.")
    ]

    @classmethod
    def of(cls, request: SearchUpload | SearchStored, answer: Answer) -> "Query":
        """Describe a request with the defaults that were filled in."""
        given = request.model_dump(include=set(cls.model_fields) - {"k", "page"})
        return cls(kind=request.kind, **given, k=answer.k, page=answer.page)


class Histogram(BaseModel):
    """How far a fixed sample of the collection is from the query."""

    edges: Annotated[list[float], Field(description="Distances, one more than counts.")]
    counts: Annotated[list[int], Field(description="Images between two neighbouring edges.")]

    @classmethod
    def of(cls, distribution: Distribution) -> "Histogram":
        """Describe a distribution."""
        return cls(edges=list(distribution.edges), counts=list(distribution.counts))


class Timings(BaseModel):
    """Milliseconds spent in each step."""

    decode: Annotated[float, Field(description="Making pixels of the file.")]
    encode: Annotated[float, Field(description="Making a vector of the pixels, waiting included.")]
    search: Annotated[float, Field(description="Finding neighbours; 0 if none were wanted.")] = 0.0
    total: Annotated[float, Field(description="All of it.")]


class Stage(BaseModel):
    """One stage of a search."""

    name: Annotated[str, Field(description="What happened to the images.")]
    images: Annotated[int, Field(description="How many were left.")]


def _is_none(value: object) -> bool:
    return value is None


class SearchAnswer(BaseModel):
    """The neighbours of a query, nearest first."""

    version: Version
    encoder: Encoder
    mode: Annotated[Mode, Field(description="How the index was searched.")]
    query: Query
    timings_ms: Timings
    results: Annotated[list[Result], Field(description="The page's results, nearest first.")]
    more: Annotated[bool, Field(description="True if there is another page.")]
    stages: Annotated[
        list[Stage] | None,
        Field(
            description="With explain: how many images each stage of the search left.",
            exclude_if=_is_none,
        ),
    ] = None
    distribution: Annotated[
        Histogram | None,
        Field(
            description="With explain: how far a sample of the collection is from the query.",
            exclude_if=_is_none,
        ),
    ] = None

    @classmethod
    def of(
        cls, answer: Answer, query: Query, distribution: Distribution | None = None
    ) -> "SearchAnswer":
        """Describe an answer; with a distribution it is explained."""
        return cls(
            version=answer.version,
            encoder=Encoder.of(answer.encoder),
            mode=answer.mode,
            query=query,
            timings_ms=Timings.model_validate(answer.timings_ms),
            results=[Result.of(hit) for hit in answer.hits],
            more=answer.more,
            stages=[Stage(name=s.name, images=s.rows) for s in answer.stages]
            if distribution
            else None,
            distribution=Histogram.of(distribution) if distribution else None,
        )


class Embedding(BaseModel):
    """The feature of an image."""

    encoder: Encoder
    vector: Annotated[list[float], Field(description="As many as encoder.dim; its norm is 1.")]
    timings_ms: Timings

    @classmethod
    def of(
        cls, spec: EncoderSpec, vector: list[float], timings_ms: Mapping[str, float]
    ) -> "Embedding":
        """Describe a feature, the encoder that made it and the time that took."""
        timings = Timings.model_validate(timings_ms)
        return cls(encoder=Encoder.of(spec), vector=vector, timings_ms=timings)


class BatchAnswer(BaseModel):
    """What each search was answered with, in the order of the searches."""

    answers: Annotated[
        list[SearchAnswer | Error], Field(description="An error where a search failed.")
    ]


def file_url(row: ImageRow) -> str:
    """Return the address of an indexed image's file, with its content's digest.

    Ids begin at 1 in every store: without the digest a browser that keeps pictures would show
    those of another store that was served from the same address.
    """
    return here(f"/api/v1/images/{row.id}/file?v={content_version(row)}")


def thumbnail_url(row: ImageRow) -> str:
    """Return the address of an indexed image's thumbnail, with its content's digest."""
    return here(f"/api/v1/images/{row.id}/thumbnail?v={content_version(row)}")


def content_version(row: ImageRow) -> str:
    """Return the short digest that addresses carry."""
    return str(row.sha256)[:12]
