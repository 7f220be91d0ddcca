"""Models of the answers to searches: their JSON and its description in the OpenAPI document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from indexer.search import Answer, Distribution, EncoderSpec, Hit, ImageRow, ListedImages
from server.api.bodies import local_url
from server.api.facet_answers import Facet
from server.api.fields import Allowed, Box, Example
from server.api.requests import SearchStored, SearchUpload
from server.api.word_answers import Words
from server.errors import Error

Mode = Literal["exact", "approximate"]
Version = Annotated[str, Field(description="The version of the index that was searched.")]
ImageId = Annotated[
    int,
    Field(description="Id of the image; it changes when the content changes and is never reused."),
]
Key = Annotated[
    str, Field(description="Path relative to the image folder; of a box, with #box= and its id.")
]
Metadata = Annotated[
    dict[str, Any], Field(description="Metadata from the dataset, such as captions.")
]
FileUrl = Annotated[str, Field(description="URL path of the file; it can be cached for ever.")]
ThumbnailUrl = Annotated[
    str,
    Field(description="URL path of a JPEG of up to 256 pixels a side; it can be cached for ever."),
]


def _is_none(value: object) -> bool:
    return value is None


Region = Annotated[
    Box | None,
    Field(
        description="Where the box is in its picture, if boxes are indexed: the region that was "
        "encoded.",
        exclude_if=_is_none,
    ),
]

Facets = Annotated[
    dict[str, Facet] | None,
    Field(
        description="With facets: by field, the counts of its values in all images that pass the "
        "filter.",
        exclude_if=_is_none,
    ),
]


class Encoder(BaseModel):
    """The encoder that made the vectors. Only vectors of the same fingerprint can be compared."""

    model: Annotated[str, Field(description="Such as vgg16.")]
    layer: Annotated[str, Field(description="Layer whose activation is the feature, such as fc2.")]
    weights: Annotated[str, Field(description="imagenet, or the name of a weights file.")]
    dim: Annotated[int, Field(description="Number of dimensions of a vector.")]
    preprocessing: Annotated[str, Field(description="How pixels are prepared.")]
    fingerprint: Annotated[
        str,
        Field(
            description="16 hexadecimal digits: a digest of the model, weights and preprocessing."
        ),
    ]
    random_weights: Annotated[
        bool, Field(description="True for random test weights: the results mean nothing.")
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
    """An indexed image, or a box in one: width, height, bytes and format are its picture's."""

    image_id: ImageId
    key: Key
    box: Region = None
    width: Annotated[int, Field(description="In pixels, after rotation to upright.")]
    height: Annotated[int, Field(description="In pixels, after rotation to upright.")]
    bytes: Annotated[int, Field(description="Size of the file.")]
    format: Annotated[str, Field(description="Such as JPEG or PNG.")]
    sha256: Annotated[
        str,
        Field(
            description="SHA-256 of the file, 64 hexadecimal digits; of a box, that of its file's "
            "and the region."
        ),
    ]
    metadata: Metadata
    note: Annotated[
        str,
        Field(description="What is wrong with the file, whose picture is whole; usually empty."),
    ]
    url: FileUrl
    thumbnail_url: ThumbnailUrl

    @classmethod
    def of(cls, row: ImageRow) -> "Image":
        """Describe an indexed image's row."""
        return cls.model_validate(
            {
                "image_id": row.id,
                "key": row.key,
                "box": region(row),
                "width": row.width,
                "height": row.height,
                "bytes": row.size,
                "format": row.format,
                "sha256": row.sha256,
                "metadata": row.metadata,
                "note": row.message or "",
                "url": file_url(row),
                "thumbnail_url": thumbnail_url(row),
            }
        )


class Result(BaseModel):
    """One result of a search."""

    rank: Annotated[int, Field(description="From 1, counted over all pages.")]
    image_id: ImageId
    key: Key
    box: Region = None
    distance: Annotated[float, Field(description="Euclidean distance to the query, 0 to 2.")]
    cosine: Annotated[float, Field(description="Cosine similarity, 1 - distance^2 / 2, -1 to 1.")]
    percentile: Annotated[
        float | None,
        Field(
            description="How many percent of the pairs of indexed images that chance picks are "
            "nearer than this distance; null if there are no two images."
        ),
    ]
    share_alike: Annotated[
        float | None,
        Field(
            description="The share, 0 to 1, of the pairs at this distance that share a value of "
            "label_field; null where too few pairs were seen."
        ),
    ]
    url: FileUrl
    thumbnail_url: ThumbnailUrl
    metadata: Metadata
    duplicates: Annotated[
        list["Result"],
        Field(
            description="With collapse_duplicates: its near-duplicates, and other boxes in its "
            "picture."
        ),
    ]

    @classmethod
    def of(cls, hit: Hit) -> "Result":
        """Describe a hit."""
        return cls(
            rank=hit.rank,
            image_id=hit.image.id,
            key=hit.image.key,
            box=region(hit.image),
            distance=hit.distance,
            cosine=hit.cosine,
            percentile=hit.percentile,
            share_alike=hit.share_alike,
            url=file_url(hit.image),
            thumbnail_url=thumbnail_url(hit.image),
            metadata=dict(hit.image.metadata),
            duplicates=[cls.of(duplicate) for duplicate in hit.duplicates],
        )


class Query(BaseModel):
    """The query as the server understood it."""

    kind: Annotated[
        Literal["image", "image_id", "vector", "text", "examples"],
        Field(description="What the query was; image also for an image from a URL."),
    ]
    image_id: Annotated[int | None, Field(description="The indexed image.")] = None
    text: Annotated[str | None, Field(description="The words.")] = None
    url: Annotated[str | None, Field(description="Where the image was fetched from.")] = None
    crop: Annotated[Box | None, Field(description="The region that was searched with.")] = None
    allowed: Annotated[Allowed | None, Field(description="Which images could be found.")] = None
    filter: Annotated[list[str], Field(description="The clauses that all results pass.")]
    positives: Annotated[list[Example], Field(description="What results should be like, too.")]
    negatives: Annotated[list[Example], Field(description="What results should not be like.")]
    k: Annotated[int, Field(description="How many results a page has, at most.")]
    page: Annotated[int, Field(description="Which page this is, from 1.")]
    threshold: Annotated[float | None, Field(description="Largest distance of a result.")]
    collapse_duplicates: Annotated[
        bool, Field(description="Whether near-duplicates are grouped under the nearest of them.")
    ]

    note: Annotated[
        str,
        Field(
            description="What is wrong with the file of the image, such as a missing end marker; "
            "empty if nothing is. Its picture is whole all the same."
        ),
    ]

    @classmethod
    def of(cls, request: SearchUpload | SearchStored, answer: Answer) -> "Query":
        """Describe a request, with defaults for missing fields."""
        given = request.model_dump(include=set(cls.model_fields) - {"k", "page"})
        return cls(kind=answer.query.kind, **given, k=answer.k, page=answer.page, note=answer.note)


class Histogram(BaseModel):
    """Distances of a fixed sample of the collection to the query."""

    edges: Annotated[list[float], Field(description="Edges of the bins, one more than counts.")]
    counts: Annotated[list[int], Field(description="Number of images in each bin.")]

    @classmethod
    def of(cls, distribution: Distribution) -> "Histogram":
        """Describe a distribution."""
        return cls(edges=list(distribution.edges), counts=list(distribution.counts))


class Timings(BaseModel):
    """Milliseconds spent in each step."""

    decode: Annotated[float, Field(description="Decoding the file.")]
    encode: Annotated[
        float, Field(description="Encoding the pixels, including the wait for the encoder.")
    ]
    search: Annotated[float, Field(description="Searching the index; 0 without a search.")] = 0.0
    total: Annotated[float, Field(description="The whole search.")]


class Stage(BaseModel):
    """One stage of a search."""

    name: Annotated[str, Field(description="What the stage does.")]
    images: Annotated[int, Field(description="How many images it kept.")]


class SearchAnswer(BaseModel):
    """The results of a search, nearest first."""

    version: Version
    encoder: Encoder
    mode: Annotated[Mode, Field(description="How the index was searched.")]
    query: Query
    timings_ms: Timings
    results: Annotated[list[Result], Field(description="The page's results, nearest first.")]
    more: Annotated[bool, Field(description="True if there is another page.")]
    no_match: Annotated[
        bool,
        Field(
            description="True if probably nothing matches the query: even the best result, besides "
            "the query's own image, is farther away than 99 % of the images are from another one."
        ),
    ]
    label_field: Annotated[
        str | None,
        Field(
            description="The field whose values share_alike goes by: the most telling one; null if "
            "there is none."
        ),
    ]
    facets: Facets = None
    words: Annotated[
        Words | None,
        Field(description="With text: what has the words.", exclude_if=_is_none),
    ] = None
    stages: Annotated[
        list[Stage] | None,
        Field(
            description="With explain: how many images each stage of the search kept.",
            exclude_if=_is_none,
        ),
    ] = None
    distribution: Annotated[
        Histogram | None,
        Field(
            description="With explain: distances of a sample of the collection to the query.",
            exclude_if=_is_none,
        ),
    ] = None

    @classmethod
    def of(
        cls, answer: Answer, query: Query, distribution: Distribution | None = None
    ) -> "SearchAnswer":
        """Describe an answer; a distribution adds the fields of ``explain``."""
        return cls(
            version=answer.version,
            encoder=Encoder.of(answer.encoder),
            mode=answer.mode,
            query=query,
            timings_ms=Timings.model_validate(answer.timings_ms),
            results=[Result.of(hit) for hit in answer.hits],
            more=answer.more,
            no_match=answer.no_match,
            label_field=answer.label_field,
            facets=Facet.of_each(answer.facets),
            words=Words.of(answer.words),
            stages=[Stage(name=s.name, images=s.rows) for s in answer.stages]
            if distribution
            else None,
            distribution=Histogram.of(distribution) if distribution else None,
        )


class ImageList(BaseModel):
    """A page of the images that pass a filter, in the order of their ids."""

    version: Version
    total: Annotated[int, Field(description="How many images pass the filter.")]
    page: Annotated[int, Field(description="Which page this is, from 1.")]
    images: Annotated[list[Image], Field(description="The page's images.")]
    more: Annotated[bool, Field(description="True if there is another page.")]
    facets: Facets = None

    @classmethod
    def of(cls, version: str, found: ListedImages) -> "ImageList":
        """Describe a page of images."""
        return cls(
            version=version,
            total=found.total,
            page=found.page,
            images=[Image.of(row) for row in found.images],
            more=found.more,
            facets=Facet.of_each(found.facets),
        )


class Embedding(BaseModel):
    """The feature of an image."""

    encoder: Encoder
    vector: Annotated[list[float], Field(description="encoder.dim numbers; its norm is 1.")]
    timings_ms: Timings

    @classmethod
    def of(
        cls, spec: EncoderSpec, vector: list[float], timings_ms: Mapping[str, float]
    ) -> "Embedding":
        """Describe a feature, its encoder and its timings."""
        timings = Timings.model_validate(timings_ms)
        return cls(encoder=Encoder.of(spec), vector=vector, timings_ms=timings)


class BatchAnswer(BaseModel):
    """The answer to each search, in the order of the searches."""

    answers: Annotated[
        list[SearchAnswer | Error], Field(description="An error where a search failed.")
    ]


def region(row: ImageRow) -> Box | None:
    """Return where a box is in its picture; None for an image."""
    return Box(**row.box._asdict()) if row.box else None


def file_url(row: ImageRow) -> str:
    """Return the URL path of an indexed image's file, or a box's, with the content's version.

    Ids begin at 1 in every store: without the version a browser could show cached images of another
    store that was served at the same address.
    """
    return local_url(f"/api/v1/images/{row.id}/file?v={content_version(row)}")


def thumbnail_url(row: ImageRow) -> str:
    """Return the URL path of an indexed image's thumbnail, with the content's version."""
    return local_url(f"/api/v1/images/{row.id}/thumbnail?v={content_version(row)}")


def content_version(row: ImageRow) -> str:
    """Return the version of an image's content in URLs: the first digits of its SHA-256."""
    return str(row.sha256)[:12]
