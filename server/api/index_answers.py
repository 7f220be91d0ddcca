"""The wire types of what the server says of its index and of itself."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from indexer.search import IndexInfo, Promise
from server.api.search_answers import Encoder, Mode, Version
from server.current_index import Rejected
from server.errors import public_text

NProbe = Annotated[int, Field(description="Inverted lists visited per query.")]
Reranked = Annotated[int, Field(description="Candidates whose exact distances are measured.")]
Milliseconds = Annotated[float, Field(description="Median time of one query when measured.")]


class RecallPoint(BaseModel):
    """Recall@30 of one setting: the share of the true neighbours that it finds, 0 to 1."""

    nprobe: NProbe
    reranked: Reranked
    stored: Annotated[
        float, Field(description="Mean, of stored images, each left out of its own answer.")
    ]
    changed: Annotated[float, Field(description="Mean, of changed mixtures of neighbours.")]
    recall: Annotated[
        float, Field(description="Lower end of the 95 % confidence interval, for both kinds.")
    ]
    ms: Milliseconds


class ApproximateSearch(BaseModel):
    """What approximate search promises, and what it was measured by."""

    wanted: Annotated[float, Field(description="The setting index.recall.")]
    promised: Annotated[
        float, Field(description="Recall@30 in use; below wanted if no setting finds so much.")
    ]
    nprobe: NProbe
    reranked: Reranked
    ms: Milliseconds
    exact_ms: Annotated[float, Field(description="The same of exact search.")]
    measured_on: Annotated[int, Field(description="How many images there were then.")]
    queries: Annotated[
        int, Field(description="How many were asked; 0 where so few images are all compared.")
    ]
    notes: Annotated[
        list[str], Field(description="What is not as wanted, in sentences; empty if all is well.")
    ]

    @classmethod
    def of(cls, promise: Promise) -> "ApproximateSearch":
        """Describe a promise."""
        return cls.model_validate(promise.to_json())


class Index(BaseModel):
    """What the index consists of. found = indexed + skipped."""

    version: Version
    created: Annotated[datetime, Field(description="When the version was published.")]
    encoder: Encoder
    found: Annotated[int, Field(description="Files there were.")]
    indexed: Annotated[int, Field(description="Images that can be found.")]
    skipped: Annotated[int, Field(description="Files that are no image or a damaged one.")]
    modes: Annotated[list[Mode], Field(description="How it can be searched.")]
    approximate: Annotated[str | None, Field(description="FAISS factory string, if there is one.")]
    nprobe: Annotated[int | None, Field(description="Inverted lists visited per query.")]
    recall: Annotated[
        list[RecallPoint],
        Field(description="What it finds: the settings worth using, fastest first."),
    ]
    promise: Annotated[
        ApproximateSearch | None,
        Field(description="What approximate search promises, if there is any."),
    ]

    @classmethod
    def of(cls, info: IndexInfo) -> "Index":
        """Describe an opened index."""
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
        )


class Health(BaseModel):
    """The process serves requests."""

    status: Annotated[Literal["ok"], Field(description="Nothing else is ever answered.")]


class Refused(BaseModel):
    """A published version that failed its checks."""

    version: Annotated[str, Field(description="Its name; unknown if it has none that can be read.")]
    reason: Annotated[str, Field(description="What is wrong with it.")]


class Ready(BaseModel):
    """Every kind of query can be answered, from this version."""

    status: Annotated[Literal["ready"], Field(description="Else the answer is an error, 503.")]
    version: Version
    refused: Annotated[
        Refused | None, Field(description="A newer version that failed its checks and is not used.")
    ]

    @classmethod
    def of(cls, info: IndexInfo, rejected: Rejected | None) -> "Ready":
        """Describe the version that answers, and the one that does not, in words for everybody."""
        refused = None
        if rejected:
            refused = Refused(version=rejected.version, reason=public_text(rejected.error)[0])
        return cls(status="ready", version=info.version, refused=refused)
