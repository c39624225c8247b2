"""What a case is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import onnx


class Case(NamedTuple):
    """A family of graphs.

    Attributes:
      build: width → graph.
      positive: the op wants positive numbers.
      integers: bounds of integer inputs.
      foreign: whether onnxruntime runs it with the same meaning.
      tolerance: relative to the largest magnitude of the output.
    """

    name: str
    build: Callable[[int], onnx.ModelProto]
    positive: bool = False
    integers: tuple[int, int] = (0, 2)
    foreign: bool = True
    tolerance: float = 2e-6

    def __repr__(self) -> str:
        return self.name
