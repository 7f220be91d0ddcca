"""What a collection says about itself: its neighbour graph, and what follows from it."""

from indexer.analysis.copies import Copy, Duplicates, Group, Leaks, find_duplicates, find_leaks
from indexer.analysis.evaluation import Agreement, Evaluation, compare_scores, evaluate
from indexer.analysis.graph import Graph, GraphReport, make_graph, make_missing_graph, open_graph
from indexer.analysis.saved import KINDS, Findings, Reports, SavedReport
from indexer.analysis.suspects import Outliers, Suspect, Suspects, find_outliers, find_suspects
from indexer.store import ReportName

__all__ = [
    "KINDS",
    "Agreement",
    "Copy",
    "Duplicates",
    "Evaluation",
    "Findings",
    "Graph",
    "GraphReport",
    "Group",
    "Leaks",
    "Outliers",
    "ReportName",
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
