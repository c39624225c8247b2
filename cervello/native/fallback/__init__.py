"""The fallback tiers: numpy functions, then onnx's reference implementation. Constant folding uses both."""

from cervello.native.fallback import movement, pooling, rows  # noqa: F401  (each registers its ops)
from cervello.native.fallback.reference import run_reference
from cervello.native.fallback.table import NUMPY, run_numpy

__all__ = ["NUMPY", "run_numpy", "run_reference"]
