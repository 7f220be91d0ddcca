"""Encoders that run in Keras 3. Keras itself is imported when the first model is loaded."""

from indexer.encoders.keras.encoder import KerasEncoder

__all__ = ["KerasEncoder"]
