"""What a collection says about itself: its neighbour graph, and what follows from it."""

from indexer.analysis.evaluate import Evaluation, evaluate
from indexer.analysis.graph import Graph, GraphReport, make_graph, open_graph

__all__ = ["Evaluation", "Graph", "GraphReport", "evaluate", "make_graph", "open_graph"]
