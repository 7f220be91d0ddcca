"""How well distances agree with people: Spearman's rank correlation over pairs with scores."""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.measures import CONFIDENCE, RESAMPLES, Mean
from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.store import Store
from indexer.text import decode
from indexer.vector_index.opened import map_vectors

FEWEST = 3
"""With two pairs the correlation is 1 or -1, whatever they are."""

NAMED = 20
"""How many of the keys that the index lacks are named."""

DELIMITERS = ",;\t"

Numbers = NDArray[np.float64]


class ScoredPair(NamedTuple):
    """Two images and how alike somebody finds them: the higher, the more."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the order of pairs by their cosine is that by their scores."""

    version: str
    encoder: dict[str, str | int]
    pairs: int
    """How many were compared."""
    rho: Mean
    """Spearman's rank correlation of the cosine with the score."""
    left_out: int
    """How many pairs have a key that the index lacks."""
    unknown: int
    """How many keys these are."""
    unknown_keys: list[str]
    """The first of them."""

    def to_json(self) -> dict[str, Any]:
        """Return the agreement as JSON-ready values."""
        return {**asdict(self), "rho": self.rho._asdict()}

    @property
    def notes(self) -> list[str]:
        """Sentences about what was left out."""
        if not self.left_out:
            return []
        more = f" and {self.unknown - len(self.unknown_keys):,} more"
        named = ", ".join(self.unknown_keys) + more * (self.unknown > len(self.unknown_keys))
        note = (
            f"{self.left_out:,} pairs were left out: the index has no images with these "
            f"{self.unknown:,} keys: {named}"
        )
        return [note]


def agreement(config: Config, path: Path) -> Agreement:
    """Compare the cosines of pairs with the scores in a CSV file.

    Raises :class:`~indexer.errors.InvalidQuery` if the file is not what :func:`read_pairs` reads or
    tells nothing, :class:`OSError` if it cannot be read, and
    :class:`~indexer.errors.NoPublishedIndex`.
    """
    version = Store(config.store).open_published()
    pairs = read_pairs(path)
    keys = dict.fromkeys(key for pair in pairs for key in pair[:2])
    ids = version.catalogue.ids_by_key(keys)
    known = [pair for pair in pairs if pair.first in ids and pair.second in ids]
    unknown = [key for key in keys if key not in ids]
    if len(known) < FEWEST:
        raise InvalidQuery(
            f"The index has both images of {len(known)} of the {len(pairs)} pairs in {path}; "
            f"{FEWEST} are the fewest that can be compared.",
            "Keys are paths below the folder of images. Some that the index lacks: "
            f"{', '.join(unknown[:3])}.",
        )
    vectors = map_vectors(version)
    first = vectors.rows(np.array([ids[pair.first] for pair in known]))
    second = vectors.rows(np.array([ids[pair.second] for pair in known]))
    squared = vectors.squared_distances_of_pairs(first, second).astype(np.float64)
    scores = np.array([pair.score for pair in known])
    for what, values in (("scores", scores), ("distances", squared)):
        if np.ptp(values) == 0:
            raise InvalidQuery(f"All {what} of the {len(known)} pairs are equal: none is first.")
    return Agreement(
        version=version.id,
        encoder=version.manifest.encoder,
        pairs=len(known),
        rho=spearman(-squared, scores),
        left_out=len(pairs) - len(known),
        unknown=len(unknown),
        unknown_keys=unknown[:NAMED],
    )


def read_pairs(path: Path) -> list[ScoredPair]:
    """Read two keys and a number from each line of a CSV file; a first line may name them.

    Commas, semicolons or tabs separate them. Raises :class:`~indexer.errors.InvalidQuery`, which
    names the line, and :class:`OSError`.
    """
    try:
        text = decode(path.read_bytes())
        head = text.partition("\n")[0]
        delimiter = max(DELIMITERS, key=head.count)
        lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
        pairs = []
        for cells in lines:
            pair = _pair(cells)
            if pair:
                pairs.append(pair)
            elif any(cells) and lines.line_num > 1:  # the first may be a header
                raise ValueError(f"line {lines.line_num}: {delimiter.join(cells)[:100]!r}")
    except (ValueError, csv.Error) as error:
        raise InvalidQuery(
            f"{path} cannot be used: {error}.",
            "Each line has two keys and a number, such as: cats/1.jpg,dogs/2.jpg,0.25",
        ) from None
    return pairs


def spearman(values: Numbers, scores: Numbers) -> Mean:
    """Return the rank correlation of two arrays (n,), with its bootstrap interval over pairs."""
    random, n = np.random.default_rng(0), len(values)
    drawn = [
        _correlation(ranks(values[some]), ranks(scores[some]))
        for some in (random.integers(0, n, n) for _ in range(RESAMPLES))
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Mean(_correlation(ranks(values), ranks(scores)), float(low), float(high))


def ranks(values: Numbers) -> Numbers:
    """Return the ranks of values (n,), from 1; equal ones have the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Numbers = (ends - (counts - 1) / 2)[place]
    return means


def _correlation(first: Numbers, second: Numbers) -> float:
    """Return Pearson's correlation, NaN where all values are equal."""
    first, second = first - first.mean(), second - second.mean()
    lengths = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / lengths if lengths else math.nan


def _pair(cells: Sequence[str]) -> ScoredPair | None:
    """Return the pair in the cells of a line, None if there is none."""
    if len(cells) != len(ScoredPair._fields):
        return None
    first, second, score = (cell.strip() for cell in cells)
    try:
        number = float(score)
    except ValueError:
        return None
    return ScoredPair(first, second, number) if math.isfinite(number) else None
