"""The model of an explanation: why two images are similar."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from indexer.search import EncoderSpec, Explanation, ImageRow
from server.api.search_answers import (
    Encoder,
    FileUrl,
    ImageId,
    Key,
    Region,
    ThumbnailUrl,
    file_url,
    region,
    thumbnail_url,
)


class Side(BaseModel):
    """One of the two images, and what its parts do for the similarity."""

    image_id: ImageId
    key: Key
    box: Region = None
    url: FileUrl
    thumbnail_url: ThumbnailUrl
    grid: Annotated[
        list[list[float]],
        Field(
            description="A number for each cell of a grid over the image, or over the box, row by "
            "row from the upper left: what the method says."
        ),
    ]

    @classmethod
    def of(cls, row: ImageRow, grid: list[list[float]]) -> "Side":
        """Describe an image's row and its grid."""
        return cls(
            image_id=row.id,
            key=row.key,
            box=region(row),
            url=file_url(row),
            thumbnail_url=thumbnail_url(row),
            grid=grid,
        )


class Why(BaseModel):
    """Which parts of two images make them similar."""

    encoder: Encoder
    method: Annotated[
        Literal["contributions", "occlusion"],
        Field(
            description="contributions: the numbers of either grid add up to cosine. occlusion: "
            "by how much cosine falls if the cell is covered."
        ),
    ]
    cosine: Annotated[float, Field(description="Cosine similarity of the two images.")]
    distance: Annotated[float, Field(description="Euclidean distance of the two, 0 to 2.")]
    rows: Annotated[int, Field(description="How many rows a grid has.")]
    columns: Annotated[int, Field(description="How many columns a grid has.")]
    first: Side
    second: Side
    meaning: Annotated[str, Field(description="What the grids show and what not, in sentences.")]

    @classmethod
    def of(cls, spec: EncoderSpec, rows: tuple[ImageRow, ImageRow], found: Explanation) -> "Why":
        """Describe an explanation of two images' rows."""
        return cls(
            encoder=Encoder.of(spec),
            method=found.method,
            cosine=found.cosine,
            distance=found.distance,
            rows=len(found.first),
            columns=found.first.shape[1],
            first=Side.of(rows[0], found.first.tolist()),
            second=Side.of(rows[1], found.second.tolist()),
            meaning=found.meaning,
        )
