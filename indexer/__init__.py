"""Make an image index, open it and query it: the library behind Lookalike."""

__version__ = "0.1.0"
