"""Encoders that run in ncnn: the same weights, about three times Keras' speed on a CPU."""

from indexer.encoders.ncnn.encoder import NcnnEncoder

__all__ = ["NcnnEncoder"]
