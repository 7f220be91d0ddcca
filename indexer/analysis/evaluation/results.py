"""What an evaluation found: the records that are saved, printed and drawn."""

from dataclasses import asdict, dataclass
from typing import Any

from indexer.analysis.evaluation.measures import Mean


@dataclass(frozen=True, slots=True)
class Score:
    """A measure: its mean over queries with a confidence interval, and what chance would give."""

    name: str
    mean: Mean
    chance: float
    per_label: Mean
    """The mean over the labels of the means of their images, so that a frequent one counts once."""
    per_label_chance: float

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON-ready values."""
        return {
            "name": self.name,
            "mean": self.mean._asdict(),
            "chance": self.chance,
            "per_label": self.per_label._asdict(),
            "per_label_chance": self.per_label_chance,
        }


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The means over the images of one label."""

    label: str
    images: int
    """How many of the images that are searched have it."""
    queries: int
    """How many of the images that were asked have it."""
    means: dict[str, float]
    own: float | None
    """The mean average precision if only this label counts; None if no other image has it."""
    own_chance: float | None


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of approximate search, as it was measured when its index was made."""

    nprobe: int
    reranked: int
    recall: float
    """The share of the 30 nearest that it finds with 95 % confidence."""
    ms: float
    in_use: bool


@dataclass(frozen=True, slots=True)
class Approximate:
    """Approximate search beside exact search, for some of the images that were asked."""

    queries: int
    recall: float
    """The share of the k nearest that it finds, or others that are as near."""
    ms: float
    exact_ms: float
    """Medians of one search."""
    settings: list[Setting]
    """Those worth using, the fastest first; none of a collection in which exact search answers."""


@dataclass(frozen=True, slots=True)
class Distances:
    """How far the images searched are from those that were asked."""

    edges: list[float]
    """Of the bins, one more than there are bins."""
    relevant: list[int]
    """How many pairs that share a label have a distance in each bin."""
    irrelevant: list[int]


@dataclass(frozen=True, slots=True)
class Result:
    """One of the first results of a query."""

    id: int
    key: str
    distance: float
    shared: int
    """How many labels it shares with the query: 0 if it is wrong."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An image that was asked, and what came first."""

    id: int
    key: str
    labels: list[str]
    average_precision: float
    relevant: int
    """How many of the images that are searched are relevant."""
    results: list[Result]

    @property
    def ids(self) -> list[int]:
        """The image and its results."""
        return [self.id, *(result.id for result in self.results)]


@dataclass(frozen=True, slots=True)
class Beside:
    """The same images, asked and searched in another store."""

    store: str
    """The name of its folder."""
    version: str
    encoder: dict[str, str | int]
    only: int
    """How many other images it has, which were left out."""
    scores: list[Score]
    differences: list[Mean]
    """How much more each measure is, in the mean over images, than in the first store."""
    own: Mean
    own_difference: Mean
    """The same of the labels' own mean average precision, in the mean over labels."""

    def to_json(self) -> dict[str, Any]:
        """Return what was found as JSON-ready values."""
        return asdict(self) | {
            "scores": [score.to_json() for score in self.scores],
            "differences": [one._asdict() for one in self.differences],
            "own": self.own._asdict(),
            "own_difference": self.own_difference._asdict(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well images find those that share a label with them."""

    version: str
    encoder: dict[str, str | int]
    by: str
    k: int
    images: int
    """How many images are searched."""
    queries: int
    """How many images were asked."""
    possible: int
    """How many could have been: those that have a label which another image has."""
    alone: int
    """How many of these that were chosen share a label with none that is searched: left out."""
    scores: list[Score]
    labels: list[LabelScore]
    own: Mean
    """The mean over the labels of their own mean average precision."""
    own_chance: float
    distances: Distances
    best: list[Asked]
    """The images with the highest average precision, each with a label that none before it has."""
    worst: list[Asked]
    approximate: Approximate | None
    beside: list[Beside]
    only: int
    """How many images are left out, as a store beside this one lacks them."""

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON-ready values."""
        return asdict(self) | {
            "scores": [score.to_json() for score in self.scores],
            "own": self.own._asdict(),
            "beside": [one.to_json() for one in self.beside],
        }

    @property
    def has_several(self) -> bool:
        """Whether images have several labels, so that a label's own precision tells more."""
        return any(one.own != one.means["mAP"] for one in self.labels)

    @property
    def note(self) -> str:
        """What was asked, in a sentence."""
        asked = f"{self.queries:,} images"
        if self.queries + self.alone < self.possible:
            asked += f" of {self.possible:,}, chosen at random,"
        alone = f"; {self.alone:,} share theirs with no image and were left out" * bool(self.alone)
        only = f"; {self.only:,} others are not in all stores" * bool(self.only)
        return (
            f"{asked} asked for those of {self.images:,} with the same {self.by}, each left out of "
            f"its own answer; rankings are exact and complete{alone}{only}."
        )
