"""A policy described in TOML, beside its file: `racer.toml` beside `racer.onnx`."""

from cervello.description.loading import load
from cervello.description.reading import Description, read

__all__ = ["Description", "load", "read"]
