"""The registry of lowering rules, and the error of a rule that has no kernel for a node's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cervello.native.graph.graph import Node

Lower = Callable[[Any, Node], None]  # a Lowering and the node
LOWER: dict[str, Lower] = {}


class NoKernelError(Exception):
    """An op has no kernel in this form; the report shows the reason."""


def lowers(*ops: str) -> Callable[[Lower], Lower]:
    """Registers the lowering rule of ops."""
    def register(function: Lower) -> Lower:
        for op in ops:
            LOWER[op] = function
        return function

    return register
