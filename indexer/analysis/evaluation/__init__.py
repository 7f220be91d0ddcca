"""How well a collection's images find what is like them, measured on labels or people's scores."""

from indexer.analysis.evaluation.evaluate import evaluate
from indexer.analysis.evaluation.human_scores import Agreement, compare_scores
from indexer.analysis.evaluation.results import Evaluation

__all__ = ["Agreement", "Evaluation", "compare_scores", "evaluate"]
