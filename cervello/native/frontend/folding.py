"""The cost of constant folding, counted per load, and a cache of the results of earlier passes over the same graph."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from cervello.native.fallback import NUMPY
from cervello.native.graph.budget import current
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node

MOST_ELEMENTS = 1 << 26  # of one constant, unless its operands have more
_SMALL = 64  # results of at most so many elements are not counted or cached
_INTERPRETED = 1 << 14  # cost per element of an op that onnx's reference runs as a Python loop
_VECTORISED = frozenset({
    "Acosh", "ArgMax", "ArgMin", "Asinh", "Atanh", "BatchNormalization", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Celu", "Compress", "CumSum", "DepthToSpace", "DequantizeLinear", "DynamicQuantizeLinear", "Elu", "EyeLike", "Gelu",
    "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "HardSigmoid", "HardSwish", "InstanceNormalization", "IsInf", "IsNaN",
    "LayerNormalization", "LeakyRelu", "LpNormalization", "Mean", "MeanVarianceNormalization", "Mish", "NonZero", "PRelu",
    "QuantizeLinear", "RMSNormalization", "Selu", "Shrink", "SpaceToDepth", "Sum", "Swish", "ThresholdedRelu", "Trilu", "Unique"})


def found(node: Node, operands: Sequence[Array | None]) -> list[Array] | None:
    """The cached results of a node for these operands; None if no earlier pass of this load computed them."""
    made = current().folded.get((id(node), *map(id, operands)))
    return None if made is None else made[1]


def reserve_work(node: Node, operands: Sequence[Array | None], count: int, n_bytes: int) -> bool:
    """Whether the load's budget allows folding a node; its work is then deducted. Otherwise the node stays in the program.

    Args:
      count: elements of its results, 0 if no rule gives them; n_bytes: bytes of results that are not views.
    Raises:
      UnsupportedError: there is not enough memory left.
    """
    left = current()
    left.check(f"node {node}", n_bytes)
    work = _work(node, operands, count)
    if work > left.left_work:
        return False
    left.left_work -= work
    return True


def keep(node: Node, operands: Sequence[Array | None], results: list[Array]) -> None:
    """Caches folded results and deducts their bytes. A result that is an unchanged operand is free; any other view is copied later.

    Raises:
      UnsupportedError: it is more than is left.
    """
    if sum(result.size for result in results) <= _SMALL:
        return
    given = [operand for operand in operands if operand is not None]
    new = [r for r in results if not any(r.shape == operand.shape and np.may_share_memory(r, operand) for operand in given)]
    left = current()
    left.take(f"node {node}", sum(result.nbytes for result in new))
    left.folded[id(node), *map(id, operands)] = (node, *operands), results


def _work(node: Node, operands: Sequence[Array | None], count: int) -> int:
    """An estimate of a node's multiply-adds and elements."""
    sizes = [operand.size for operand in operands if operand is not None]
    elements = max(count, sum(sizes))
    if node.op in ("MatMul", "Gemm"):
        a = operands[0]
        assert a is not None
        inner = max(a.shape, default=1) if node.attributes.get("transA", 0) else a.shape[-1] if a.ndim else 1
        by_library = a.dtype in (np.float32, np.float64)  # any other type is multiplied one by one
        return elements + count * inner * (1 if by_library else 16)
    if node.op == "Einsum":
        return prod(sizes)
    if node.op in ("MaxPool", "AveragePool", "LRN"):  # the window's elements are laid side by side
        return elements * int(prod(node.attributes.get("kernel_shape", (node.attributes.get("size", 1),)))) * 64
    if node.op in NUMPY or node.op in _VECTORISED:
        return elements
    if node.op == "NonMaxSuppression":  # every box meets every other
        return elements * elements * 16
    weights = operands[1] if "Conv" in node.op and len(operands) > 1 else None
    return elements * _INTERPRETED * (1 if weights is None else max(1, prod(weights.shape[1:])) // 16 + 1)
