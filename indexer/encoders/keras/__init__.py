"""Encoders that run in Keras 3, which is imported when a model is loaded."""

from indexer.encoders.keras.encoder import KerasEncoder

__all__ = ["KerasEncoder"]
