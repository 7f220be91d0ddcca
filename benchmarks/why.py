"""Whether the cells that explain a similarity make it: covering them lowers it more than others.

Two hundred images and their nearest other that is no copy are explained, by the encoder's own cells
and by covering them one by one. Then the fifth of the cells of the first picture that explains most
is covered, and, ten times, as many that chance picks.

    python -m benchmarks.why --store STORE [--pairs 200]
"""

import argparse
import json
import sys

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.config import load_config
from indexer.search import Explanation, Query, Searcher, Selection
from indexer.search.query_encoder import Pixels, QueryEncoder
from indexer.search.why import CELLS, by_occlusion, covered, explain

PAIRS = 200
SHARE = 0.2
DRAWS = 10
NEIGHBOURS = 30
"""Among how many the nearest that is no copy is looked for."""


class Figures:
    """What was found of one method."""

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.chosen: list[float] = []
        self.by_chance: list[NDArray[np.float32]] = []

    def add(
        self, encoder: QueryEncoder, found: Explanation, first: Pixels, second: NDArray[np.float32]
    ) -> None:
        """Cover cells of a picture; ``second`` is the feature of the other one."""
        random, count = np.random.default_rng(len(self.chosen)), round(SHARE * CELLS**2)
        numbers = [np.argsort(found.first.ravel())[-count:]]
        numbers += [random.choice(CELLS**2, count, replace=False) for _ in range(DRAWS)]
        vectors = np.array(encoder.encode([covered(first, some) for some in numbers]))
        drops = found.cosine - vectors @ second
        self.chosen.append(float(drops[0]))
        self.by_chance.append(drops[1:])

    def to_json(self) -> dict[str, float]:
        """Return the figures by name."""
        chosen, by_chance = np.array(self.chosen), np.array(self.by_chance)
        return {
            "pairs": len(chosen),
            "largest_error_of_sums": max(self.errors, default=0.0),
            "drop": float(chosen.mean()),
            "drop_by_chance": float(by_chance.mean()),
            "more_than_the_mean_of_ten": float((chosen > by_chance.mean(axis=1)).mean()),
            "more_than_one": float((chosen[:, np.newaxis] > by_chance).mean()),
        }


def compare(searcher: Searcher, encoder: QueryEncoder, pairs: int) -> dict[str, Figures]:
    """Explain so many pairs by each method that the encoder has."""
    collection, figures = searcher.collection, dict[str, Figures]()
    ids = np.random.default_rng(0).permutation(collection.ids)[:pairs].tolist()
    for image_id in tqdm(ids, disable=None):
        hits = searcher.search(Query(image_id=image_id), Selection(k=NEIGHBOURS)).hits
        others = [hit for hit in hits if hit.distance > collection.scale.near]
        if not others:
            continue
        nearest = others[0]
        (vector,) = collection.features([nearest.image.id])
        first, second = (
            collection.model_input(row) for row in (collection.image(image_id), nearest.image)
        )
        found = [explain(encoder, first, second)]
        if found[0].method == "contributions":
            found.append(by_occlusion(encoder, first, second))
        for one in found:
            of_method = figures.setdefault(one.method, Figures())
            of_method.add(encoder, one, first, vector)
            if one.method == "contributions":
                sums = [float(grid.sum()) for grid in (one.first, one.second)]
                of_method.errors += [abs(total - nearest.cosine) for total in sums]
    return figures


def main() -> None:
    """Print the figures of a store as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True, help="a store of real photographs")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="how many pairs to explain")
    options = parser.parse_args()
    config = load_config(None, {"store": options.store})
    searcher = Searcher.open(config)
    encoder = QueryEncoder(searcher.encoder_spec, config.encoder)
    figures = compare(searcher, encoder, options.pairs)
    json.dump({method: one.to_json() for method, one in figures.items()}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
