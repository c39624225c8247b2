"""Operand rules, one file per family of ops: checks of operands and attributes before a node is folded or lowered.

The number of operands, attribute kinds and element types come from ONNX's schemas. The rules here check ranks, sizes that must agree and
ranges of attributes. Kernels check indices at run time. Source: ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Sequence

from cervello.native.frontend.operand_rules import (  # noqa: F401  (each enters its ops)
    attention,
    check_lists,
    control_flow,
    gather_scatter,
    movement,
    norms,
    quantisation,
    random,
    recurrent,
    reductions,
    signals,
    traditional,
    windows,
)
from cervello.native.frontend.operand_rules.element_types import check_types
from cervello.native.frontend.operand_rules.flags import check_flags
from cervello.native.frontend.operand_rules.table import OPERAND_RULES, Operands, UnknownOperandError
from cervello.native.frontend.trees import ML
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value

__all__ = ["check_operands"]


def check_operands(node: Node, values: Sequence[Value | None]) -> None:
    """Checks a node against the specification of its op.

    Args:
      values: of its operands; None for an absent one.
    Raises:
      GraphError: the node contradicts the specification.
    """
    if node.domain not in ("", ML):
        return
    operands = Operands(node, values)
    check_types(operands)
    if not node.domain:
        check_flags(operands)
    rule = OPERAND_RULES.get((node.domain, node.op))
    if rule is not None:
        try:
            rule(operands)
        except UnknownOperandError:
            return
