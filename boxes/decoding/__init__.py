"""Decoding: the engine and what it is made of."""

from boxes.decoding.engine import Decoder

__all__ = ["Decoder"]
