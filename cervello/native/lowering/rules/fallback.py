"""Fallback for ops without a kernel: a step that calls numpy, or onnx's reference implementation, on views of the arena."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from cervello.errors import ExecutionError, GraphError, UnsupportedError
from cervello.native.fallback import NUMPY, run_numpy, run_reference
from cervello.native.fallback.precision import RowAxis, by_row, rows_back, rows_first
from cervello.native.fallback.reference import NEVER, distrusted
from cervello.native.frontend.control_flow import RANDOM
from cervello.native.frontend.operand_rules import check_operands
from cervello.native.graph.dims import NotAffine, product, rows_axis
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Step, Tensor
from cervello.native.graph.values import Value, known
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import LOWER
from cervello.native.passes.graph_builder import DECOMPOSITIONS


@dataclass(frozen=True, slots=True)
class FallbackCall:
    """One node on a fallback tier.

    Attributes:
      operands: a tensor in the arena, a constant array, the name of an array of an earlier host step, or None.
      results: a tensor to copy to, or the name under which the array is stored.
      tier: "numpy" or "reference".
      row_axes: the batch axis of each operand, then of each result; None if all rows share it.
    """

    node: Node
    operands: tuple[Tensor | Array | str | None, ...]
    results: tuple[Tensor | str | None, ...]
    tier: str
    row_axes: tuple[RowAxis | None, ...] = ()

    def __call__(self, arrays: list[Array | None], n_rows: int) -> list[Array]:
        """Runs the node on the operands of n_rows rows."""
        if any(isinstance(operand, str) for operand in self.operands):
            self._check(arrays)
        run = run_numpy if self.tier == "numpy" else run_reference
        if not any(self.row_axes) or not by_row(self.node, arrays):
            return run(self.node, arrays)
        first, behind = self.row_axes[:len(arrays)], self.row_axes[len(arrays):]
        split = [a if a is None or place is None else rows_first(a, place, n_rows) for a, place in zip(arrays, first, strict=True)]
        rows = [run(self.node, [a if a is None or place is None else a[i] for a, place in zip(split, first, strict=True)])
                for i in range(n_rows)]
        return [same[0] if place is None else rows_back(np.stack(same), place) for same, place in zip(zip(*rows, strict=True), behind,
                                                                                                      strict=True)]

    def _check(self, arrays: list[Array | None]) -> None:
        """Applies operand rules whose shapes were not known at load time."""
        try:
            check_operands(self.node, [None if array is None else known("", array) for array in arrays])
        except GraphError as error:
            raise ExecutionError(str(error)) from error


def check_ops(nodes: Iterable[Node]) -> None:
    """Refuses nodes whose op has no implementation in any tier.

    Raises:
      UnsupportedError: names the first one.
    """
    for node in nodes:
        is_supported = (node.domain, node.op) in DECOMPOSITIONS or (not node.domain and (node.op in LOWER or _has_tier(node)))
        if not is_supported:
            raise _refusal(node, "no kernel for this op")


def _has_tier(node: Node) -> bool:
    """Whether numpy or the reference implementation may run an op of ONNX."""
    return node.op in NUMPY or onnx.defs.has(node.op)


def _refusal(node: Node, reason: str) -> UnsupportedError:
    if node.domain == "com.microsoft":
        return UnsupportedError(f"node {node}: expected an op Cervello runs, got onnxruntime's own {node.domain}.{node.op}; export the "
                                "file without graph optimisation level extended (ORT_ENABLE_BASIC or ORT_DISABLE_ALL)")
    if not node.domain and not _has_tier(node):
        return UnsupportedError(f"node {node}: expected an op of ONNX, got {node.op!r}; is its domain missing, or onnx older than the "
                                "file?")
    remedy = "" if not node.domain or node.domain.startswith("ai.onnx") else "; register one with cervello.ops (examples/own_ops.py)"
    return UnsupportedError(f"node {node}: expected an op Cervello runs, got {node.domain or 'ai.onnx'}.{node.op} ({reason}){remedy}")


def lower_fallback(lowering: Lowering, node: Node, reason: str) -> None:
    """Adds a host step for a node.

    Raises:
      UnsupportedError: neither numpy nor the reference implementation can run it.
    """
    if node.domain or node.op in NEVER or node.op in RANDOM or not _has_tier(node):
        raise _refusal(node, reason)
    tier = "numpy" if node.op in NUMPY else "reference"
    if tier == "reference" and (why := distrusted(node)):
        raise UnsupportedError(f"node {node}: expected a form that the planned tier runs, got {why} ({reason})")
    operands: list[Tensor | Array | str | None] = []
    reads = []
    for name in node.inputs:
        operand = _operand(lowering, name)
        operands.append(operand)
        if isinstance(operand, Tensor):
            reads.append(operand)
    results: list[Tensor | str | None] = []
    writes = []
    for name in node.outputs:
        if not name:
            results.append(None)
            continue
        value = lowering.values[name]
        if value.shape is None or not _is_affine(value):
            results.append(name)
            continue
        tensor = lowering.output(name, contiguous=False)
        results.append(tensor)
        writes.append(tensor)
    row_axes = tuple(_row_axis(lowering, name) for name in (*node.inputs, *node.outputs))
    call = FallbackCall(node, tuple(operands), tuple(results), tier, row_axes)
    lowering.steps.append(Step("", tuple(reads), tuple(writes), [], node.op, str(node), fallback=call, times=prod(lowering.trip_counts)))


def _row_axis(lowering: Lowering, name: str) -> RowAxis | None:
    """The batch axis of a value and its repetitions; None if it has no batch axis."""
    shape = lowering.values[name].shape if name else None
    axis = rows_axis(shape or ())
    return None if axis is None else (axis, lowering.row_repeats.get(name, 1))


def _is_affine(value: Value) -> bool:
    try:
        product(value.shape or ())
    except NotAffine:
        return False
    return True


def _operand(lowering: Lowering, name: str) -> Tensor | Array | str | None:
    if not name:
        return None
    if name in lowering.tensors:
        return lowering.tensors[name]
    value = lowering.values[name]
    if value.constant is not None:
        return value.constant
    if value.data is not None:
        raise UnsupportedError(f"value {name!r}: expected sizes that are used as shapes only, got an op that computes with them")
    return name
