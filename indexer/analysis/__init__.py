"""What a collection says about itself: its neighbour graph, and what follows from it."""

from indexer.analysis.duplicates import Duplicates, find_duplicates
from indexer.analysis.evaluate import Evaluation, evaluate
from indexer.analysis.graph import Graph, GraphReport, make_graph, open_graph

__all__ = [
    "Duplicates",
    "Evaluation",
    "Graph",
    "GraphReport",
    "evaluate",
    "find_duplicates",
    "make_graph",
    "open_graph",
]
