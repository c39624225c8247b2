"""The registry of lowering rules, and the error of a rule that has no kernel for a node's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cervello.native.graph.graph import Node
from cervello.native.graph.op_table import registers

Lower = Callable[[Any, Node], None]  # a Lowering and the node
LOWER: dict[str, Lower] = {}
lowers = registers(LOWER)  # enters the lowering rule of ops


class NoKernelError(Exception):
    """An op has no kernel in this form; the report shows the reason."""
