"""What a collection says about itself: its neighbour graph, and what follows from it."""

from indexer.analysis.copies import Copy, Group
from indexer.analysis.duplicates import Duplicates, find_duplicates
from indexer.analysis.evaluate import evaluate
from indexer.analysis.evaluation import Evaluation
from indexer.analysis.graph import Graph, GraphReport, make_graph, make_missing_graph, open_graph
from indexer.analysis.human_scores import Agreement, compare_scores
from indexer.analysis.leaks import Leaks, find_leaks
from indexer.analysis.saved import Reports, SavedReport
from indexer.analysis.suspects import Outliers, Suspect, Suspects, find_outliers, find_suspects

__all__ = [
    "Agreement",
    "Copy",
    "Duplicates",
    "Evaluation",
    "Graph",
    "GraphReport",
    "Group",
    "Leaks",
    "Outliers",
    "Reports",
    "SavedReport",
    "Suspect",
    "Suspects",
    "compare_scores",
    "evaluate",
    "find_duplicates",
    "find_leaks",
    "find_outliers",
    "find_suspects",
    "make_graph",
    "make_missing_graph",
    "open_graph",
]
