"""Lookalike's library: make an image index, open it and query it."""

__version__ = "0.1.0"
