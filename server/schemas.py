"""The wire types of answers: they shape them and make the document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from indexer.search import Answer, Distribution, EncoderSpec, Hit, ImageRow, IndexInfo
from server.codes import Error
from server.index_holder import Refused as RefusedVersion
from server.requests import Allowed, Box, Example, SearchStored, SearchUpload


class Encoder(BaseModel):
    """The encoder that made the vectors. Vectors of different fingerprints cannot be compared."""

    model: str
    layer: str
    weights: str
    dim: int
    preprocessing: str
    fingerprint: str
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

    image_id: int
    key: Annotated[str, Field(description="Path relative to the image folder.")]
    width: int
    height: int
    bytes: int
    format: str
    sha256: str
    metadata: dict[str, Any]
    url: str
    thumbnail_url: str

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

    rank: int
    image_id: int
    key: str
    distance: Annotated[float, Field(description="Euclidean distance to the query, 0 to 2.")]
    cosine: Annotated[float, Field(description="1 - distance^2 / 2.")]
    url: str
    thumbnail_url: str
    metadata: dict[str, Any]
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

    kind: Literal["image", "image_id", "vector", "examples"]
    image_id: int | None = None
    url: str | None = None
    crop: Box | None = None
    allowed: Allowed | None = None
    positives: list[Example] = []
    negatives: list[Example] = []
    k: int
    page: int
    threshold: float | None = None
    collapse_duplicates: bool = False

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

    decode: float
    encode: float
    search: float = 0.0
    total: float


class Stage(BaseModel):
    """One stage of a search."""

    name: str
    images: int


def _is_none(value: object) -> bool:
    return value is None


class SearchAnswer(BaseModel):
    """The neighbours of a query, nearest first."""

    version: Annotated[str, Field(description="The published version that answered.")]
    encoder: Encoder
    mode: Literal["exact", "approximate"]
    query: Query
    timings_ms: Timings
    results: list[Result]
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
    vector: Annotated[list[float], Field(description="Its norm is 1.")]
    timings_ms: Timings

    @classmethod
    def of(
        cls, spec: EncoderSpec, vector: list[float], timings_ms: Mapping[str, float]
    ) -> "Embedding":
        """Describe a feature, the encoder that made it and the time that took."""
        timings = Timings.model_validate(timings_ms)
        return cls(encoder=Encoder.of(spec), vector=vector, timings_ms=timings)


class RecallPoint(BaseModel):
    """Recall@30 of approximate search, against exact search."""

    nprobe: Annotated[int, Field(description="Inverted lists visited per query.")]
    stored: Annotated[float, Field(description="Searching with images of the index.")]
    changed: Annotated[float, Field(description="Searching with vectors that are not in it.")]
    recall: Annotated[float, Field(description="The lower of the two.")]


class Index(BaseModel):
    """What the index consists of. found = indexed + skipped."""

    version: str
    created: str
    encoder: Encoder
    found: int
    indexed: int
    skipped: int
    modes: list[Literal["exact", "approximate"]]
    approximate: Annotated[str | None, Field(description="FAISS factory string, if there is one.")]
    nprobe: Annotated[int | None, Field(description="Inverted lists visited per query.")]
    recall: Annotated[list[RecallPoint], Field(description="Measured when the index was built.")]

    @classmethod
    def of(cls, info: IndexInfo) -> "Index":
        """Describe an opened index."""
        return cls(
            version=info.version,
            created=info.created.isoformat(),
            encoder=Encoder.of(info.encoder),
            **info.counts.model_dump(),
            modes=info.modes,
            approximate=info.approximate,
            nprobe=info.chosen.nprobe if info.chosen else None,
            recall=[RecallPoint.model_validate(point.model_dump()) for point in info.recall],
        )


class Health(BaseModel):
    """The process serves requests."""

    status: Literal["ok"]


class Refused(BaseModel):
    """A published version that failed its checks."""

    version: str
    reason: str


class Ready(BaseModel):
    """Every kind of query can be answered, from this version."""

    status: Literal["ready"]
    version: str
    refused: Annotated[
        Refused | None, Field(description="A newer version that failed its checks and is not used.")
    ]

    @classmethod
    def of(cls, info: IndexInfo, refused: RefusedVersion | None) -> "Ready":
        """Describe the version that answers, and the one that does not."""
        found = Refused(**refused._asdict()) if refused else None
        return cls(status="ready", version=info.version, refused=found)


class BatchAnswer(BaseModel):
    """What each search was answered with, in the order of the searches."""

    answers: list[SearchAnswer | Error]


def file_url(row: ImageRow) -> str:
    """Return the address of an indexed image's file, with its content's digest.

    Ids begin at 1 in every store: without the digest a browser that keeps pictures would show
    those of another store that was served from the same address.
    """
    return f"/api/v1/images/{row.id}/file?v={content_version(row)}"


def thumbnail_url(row: ImageRow) -> str:
    """Return the address of an indexed image's thumbnail, with its content's digest."""
    return f"/api/v1/images/{row.id}/thumbnail?v={content_version(row)}"


def content_version(row: ImageRow) -> str:
    """Return the short digest that addresses carry."""
    return str(row.sha256)[:12]
