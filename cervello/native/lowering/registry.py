"""The planned tier's table: which ops have a kernel, and how one says that it has none for a certain form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cervello.native.graph.graph import Node

Lower = Callable[[Any, Node], None]  # a Lowering and the node
LOWER: dict[str, Lower] = {}


class NoKernelError(Exception):
    """This form of an op has no kernel; the reason goes to the report."""


def lowers(*ops: str) -> Callable[[Lower], Lower]:
    """Registers the planned form of ops."""
    def register(function: Lower) -> Lower:
        for op in ops:
            LOWER[op] = function
        return function

    return register
