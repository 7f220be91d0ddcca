"""Copies: identical files, the same picture saved in another way, and similar pictures."""

from indexer.analysis.copies.duplicates import Duplicates, find_duplicates
from indexer.analysis.copies.groups import Copy, Group
from indexer.analysis.copies.leaks import Leaks, find_leaks

__all__ = ["Copy", "Duplicates", "Group", "Leaks", "find_duplicates", "find_leaks"]
