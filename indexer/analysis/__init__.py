"""What a collection says about itself: its neighbour graph, and what follows from it."""

from indexer.analysis.graph import Graph, GraphReport, make_graph, open_graph

__all__ = ["Graph", "GraphReport", "make_graph", "open_graph"]
