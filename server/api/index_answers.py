"""Models of the answers about the index and the server's health."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from indexer.search import Field as IndexField
from indexer.search import IndexInfo, Promise
from server.api.facet_answers import IndexedField
from server.api.search_answers import Encoder, Mode, Version
from server.current_index import Images, Rejected
from server.errors import public_text

NProbe = Annotated[int, Field(description="Inverted lists visited per query.")]
Reranked = Annotated[int, Field(description="Candidates whose exact distances are computed.")]
Milliseconds = Annotated[float, Field(description="Median time of one query in the measurement.")]


class RecallPoint(BaseModel):
    """Recall@30 of one setting: the share of the true 30 nearest images it finds, 0 to 1."""

    nprobe: NProbe
    reranked: Reranked
    stored: Annotated[
        float,
        Field(description="Mean over stored images as queries, each left out of its own results."),
    ]
    changed: Annotated[
        float, Field(description="Mean over perturbed mixtures of neighbours as queries.")
    ]
    recall: Annotated[
        float,
        Field(description="Lower end of the 95 % confidence interval over both kinds of queries."),
    ]
    ms: Milliseconds


class ApproximateSearch(BaseModel):
    """The recall that approximate search promises, and how it was measured."""

    wanted: Annotated[float, Field(description="The setting index.recall.")]
    promised: Annotated[
        float,
        Field(
            description="Recall@30 of the setting in use; below wanted if no setting reaches it."
        ),
    ]
    nprobe: NProbe
    reranked: Reranked
    ms: Milliseconds
    exact_ms: Annotated[float, Field(description="Median time of one query by exact search.")]
    measured_on: Annotated[
        int, Field(description="Number of images at the time of the measurement.")
    ]
    queries: Annotated[
        int,
        Field(
            description="Number of measured queries; 0 for a small index, which is compared whole."
        ),
    ]
    notes: Annotated[
        list[str], Field(description="What differs from the settings, in sentences; usually empty.")
    ]

    @classmethod
    def of(cls, promise: Promise) -> "ApproximateSearch":
        """Describe a promise."""
        return cls.model_validate(promise.to_json())


class Index(BaseModel):
    """The counts, encoder and search modes of the index. found = indexed + skipped."""

    version: Version
    created: Annotated[datetime, Field(description="When the version was published.")]
    encoder: Encoder
    found: Annotated[int, Field(description="Files found in the dataset.")]
    indexed: Annotated[int, Field(description="Images in the index.")]
    skipped: Annotated[int, Field(description="Files that are not images, or damaged ones.")]
    modes: Annotated[list[Mode], Field(description="Available search modes.")]
    approximate: Annotated[
        str | None,
        Field(description="FAISS factory string of the approximate index, if there is one."),
    ]
    nprobe: Annotated[int | None, Field(description="Inverted lists visited per query.")]
    recall: Annotated[
        list[RecallPoint],
        Field(description="Measured settings of approximate search, fastest first."),
    ]
    promise: Annotated[
        ApproximateSearch | None,
        Field(description="The recall that approximate search promises, if the index has it."),
    ]

    fields: Annotated[
        list[IndexedField],
        Field(
            description="What images can be filtered by: first what every image has, then the "
            "metadata, the most frequent first."
        ),
    ]

    @classmethod
    def of(cls, info: IndexInfo, fields: Sequence[IndexField]) -> "Index":
        """Describe an opened index, and the fields of its images."""
        return cls(
            version=info.version,
            created=info.created,
            encoder=Encoder.of(info.encoder),
            **info.counts.model_dump(),
            modes=info.modes,
            approximate=info.approximate,
            nprobe=info.promise.point.nprobe if info.promise else None,
            recall=[
                RecallPoint.model_validate(p.model_dump()) for p in info.promise.measured.points
            ]
            if info.promise
            else [],
            promise=ApproximateSearch.of(info.promise) if info.promise else None,
            fields=[IndexedField.of(field) for field in fields],
        )


class Health(BaseModel):
    """The process serves requests."""

    status: Annotated[Literal["ok"], Field(description="Always ok.")]


class Refused(BaseModel):
    """A published version that failed its checks and is not used."""

    version: Annotated[str, Field(description="Its name, or unknown if the name cannot be read.")]
    reason: Annotated[str, Field(description="Why it failed.")]


class ImageFiles(BaseModel):
    """Whether the files of the images can be read; searches do not need them."""

    readable: Annotated[
        bool | None,
        Field(description="Whether any of a few files can be read; null right after the start."),
    ]
    reason: Annotated[str | None, Field(description="Why not.")]


class Ready(BaseModel):
    """The server can answer every kind of query."""

    status: Annotated[
        Literal["ready"], Field(description="Always ready; otherwise the answer is an error, 503.")
    ]
    version: Version
    refused: Annotated[
        Refused | None,
        Field(description="A newer version that failed its checks, if there is one."),
    ]
    images: Annotated[
        ImageFiles, Field(description="Whether the images are where the index expects them.")
    ]

    @classmethod
    def of(cls, info: IndexInfo, rejected: Rejected | None, images: Images) -> "Ready":
        """Describe what is in use, without paths of the server."""
        refused = None
        if rejected:
            refused = Refused(version=rejected.version, reason=public_text(rejected.error)[0])
        return cls(
            status="ready",
            version=info.version,
            refused=refused,
            images=ImageFiles(readable=images.readable, reason=images.reason),
        )
