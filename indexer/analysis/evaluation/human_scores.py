"""How well distances agree with people: Spearman's rank correlation over pairs with scores."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.evaluation.beside import open_beside
from indexer.analysis.evaluation.measures import CONFIDENCE, RESAMPLES, Mean
from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.store import Store, Version
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
class AgreementBeside:
    """The same of the same pairs in another store."""

    store: str
    """The name of its folder."""
    version: str
    encoder: dict[str, str | int]
    rho: Mean
    difference: Mean
    """How much higher it is than in the first store."""

    def to_json(self) -> dict[str, Any]:
        """Return the agreement as JSON-ready values."""
        means = {"rho": self.rho._asdict(), "difference": self.difference._asdict()}
        return {**asdict(self), **means}


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
    """How many pairs have a key that the index, or one beside it, lacks."""
    unknown: int
    """How many keys these are."""
    unknown_keys: list[str]
    """The first of them."""
    beside: list[AgreementBeside]

    def to_json(self) -> dict[str, Any]:
        """Return the agreement as JSON-ready values."""
        beside = [one.to_json() for one in self.beside]
        return {**asdict(self), "rho": self.rho._asdict(), "beside": beside}

    @property
    def notes(self) -> list[str]:
        """Sentences about what was left out."""
        if not self.left_out:
            return []
        more = f" and {self.unknown - len(self.unknown_keys):,} more"
        named = ", ".join(self.unknown_keys) + more * (self.unknown > len(self.unknown_keys))
        place = "not all indexes have" if self.beside else "the index has no"
        note = (
            f"{self.left_out:,} pairs were left out: {place} images with these "
            f"{self.unknown:,} keys: {named}"
        )
        return [note]


def compare_scores(config: Config, path: Path, beside: Sequence[Path] = ()) -> Agreement:
    """Compare the cosines of pairs with the scores in a CSV file.

    With stores ``beside`` this one, those pairs that all have, by their keys, are compared in each.
    Raises :class:`~indexer.errors.InvalidQuery` if the file is not what :func:`read_pairs` reads or
    tells nothing, :class:`OSError` if it cannot be read, and
    :class:`~indexer.errors.NoPublishedIndex`.
    """
    versions = [Store(config.store).open_published(), *map(open_beside, beside)]
    pairs = read_pairs(path)
    keys = dict.fromkeys(key for pair in pairs for key in (pair.first, pair.second))
    ids = [version.catalogue.ids_by_key(keys) for version in versions]
    unknown = [key for key in keys if not all(key in one for one in ids)]
    lost = {*unknown}
    known = [pair for pair in pairs if {pair.first, pair.second}.isdisjoint(lost)]
    if len(known) < FEWEST:
        raise InvalidQuery(
            f"The index has both images of {len(known)} of the {len(pairs)} pairs in {path}; "
            f"{FEWEST} are the fewest that can be compared.",
            "Keys are paths below the folder of images. Some that are missing: "
            f"{', '.join(unknown[:3])}.",
        )
    nearness = np.array([_nearness(*one, known) for one in zip(versions, ids, strict=True)])
    scores = np.array([pair.score for pair in known])
    for what, values in (("scores", scores), *(("distances", one) for one in nearness)):
        if np.ptp(values) == 0:
            raise InvalidQuery(f"All {what} of the {len(known)} pairs are equal: none is first.")
    first, *others = spearman(nearness, scores)
    differences = spearman(nearness, scores, less_the_first=True)[1:]
    return Agreement(
        version=versions[0].id,
        encoder=versions[0].manifest.encoder,
        pairs=len(known),
        rho=first,
        left_out=len(pairs) - len(known),
        unknown=len(unknown),
        unknown_keys=unknown[:NAMED],
        beside=[
            AgreementBeside(folder.name, version.id, version.manifest.encoder, rho, difference)
            for folder, version, rho, difference in zip(
                beside, versions[1:], others, differences, strict=True
            )
        ],
    )


def _nearness(version: Version, ids: Mapping[str, int], pairs: Sequence[ScoredPair]) -> Numbers:
    """Return what is in the order of the cosines of pairs (n,)."""
    vectors = map_vectors(version)
    first = vectors.rows(np.array([ids[pair.first] for pair in pairs]))
    second = vectors.rows(np.array([ids[pair.second] for pair in pairs]))
    return -vectors.squared_distances_of_pairs(first, second).astype(np.float64)


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


def spearman(values: Numbers, scores: Numbers, *, less_the_first: bool = False) -> list[Mean]:
    """Return the rank correlation of each row of ``values`` (m, n) with ``scores`` (n,).

    The bootstrap intervals are over the n pairs. With ``less_the_first`` each is the difference to
    that of the first row, for the same pairs drawn.
    """
    random, n = np.random.default_rng(0), len(scores)

    def correlations(some: NDArray[np.int64]) -> Numbers:
        order = ranks(scores[some])
        found = np.array([_correlation(ranks(row[some]), order) for row in values])
        return found - found[0] if less_the_first else found

    drawn = [correlations(random.integers(0, n, n)) for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    all_pairs = correlations(np.arange(n))
    return [Mean(*map(float, one)) for one in zip(all_pairs, low, high, strict=True)]


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
