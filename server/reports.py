"""The wire types of what the server says of its index and of itself."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from indexer.search import IndexInfo
from server.errors import words
from server.index_holder import Rejected
from server.schemas import Encoder, Mode, Version


class RecallPoint(BaseModel):
    """Recall@30 of approximate search, the share of the true neighbours it finds, 0 to 1."""

    nprobe: Annotated[int, Field(description="Inverted lists visited per query.")]
    stored: Annotated[float, Field(description="Searching with images of the index.")]
    changed: Annotated[float, Field(description="Searching with vectors that are not in it.")]
    recall: Annotated[float, Field(description="The lower of the two.")]


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
    recall: Annotated[list[RecallPoint], Field(description="Measured when the index was built.")]

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
            nprobe=info.chosen.nprobe if info.chosen else None,
            recall=[RecallPoint.model_validate(point.model_dump()) for point in info.recall],
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
            refused = Refused(version=rejected.version, reason=words(rejected.error)[0])
        return cls(status="ready", version=info.version, refused=refused)
