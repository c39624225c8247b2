"""Pairwise coupling as one op: `PairwiseCoupling(r)`, [rows, classes (classes - 1) / 2] → [rows, classes], see `kernels.coupling`.

`passes.decompositions.support_vectors` makes these nodes. The pairs are in the order (0, 1), (0, 2), …, (1, 2), …; each number is the
probability of the first class of the pair.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from cervello.errors import GraphError
from cervello.native.fallback.table import numpy_op
from cervello.native.graph.dims import Affine, Dim, written
from cervello.native.graph.dtypes import F32, F64, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import lowers
from cervello.native.shapes.rules.basic import Result, dtype_of, rule, shape_of


def _n_classes(pairs: Dim) -> int:
    """The number of classes that have so many pairs; 0 if there is none."""
    if isinstance(pairs, Affine):
        return 0
    classes = (1 + isqrt(1 + 8 * pairs)) // 2
    return classes if classes > 1 and classes * (classes - 1) // 2 == pairs else 0


@rule("PairwiseCoupling")
def _shape(node: Node, r: Value) -> Result:
    shape = shape_of(r)
    if len(shape) != 2 or dtype_of(r) != F32 or not (classes := _n_classes(shape[1])):
        raise GraphError(f"node {node}: expected rows of a float32 for each pair of classes, got {written(shape)} {r.dtype}; export the "
                         "policy again")
    return [((shape[0], classes), F32)]


@lowers("PairwiseCoupling")
def _lower(lowering: Lowering, node: Node) -> None:
    pairs = lowering.contiguous(lowering.tensor(node.inputs[0]))
    result = lowering.output(node.outputs[0])
    classes = result.shape[1]
    work = lowering.scratch((classes + 2, classes), F64)
    lowering.emit("coupling:couple", (pairs,), (result,), (work,), rows=pairs.shape[0], classes=classes)


@numpy_op("PairwiseCoupling")
def _on_arrays(node: Node, r: Array) -> Array:
    """The definition, for constants."""
    classes = _n_classes(r.shape[1])
    first, second = np.triu_indices(classes, 1)
    result = np.full((len(r), classes), 1 / classes)
    for row, p in zip(r.astype(F64), result, strict=True):
        against = np.zeros((classes, classes))
        against[first, second], against[second, first] = row, 1 - row
        q = -against.T * against
        np.fill_diagonal(q, (against ** 2).sum(0))
        for _ in range(max(100, classes)):
            qp = q @ p
            pqp = p @ qp
            if np.isnan(pqp) or np.abs(qp - pqp).max() < 0.005 / classes:
                p[:] = np.nan if np.isnan(pqp) else p
                break
            for i in range(classes):
                step = (pqp - qp[i]) / q[i, i]
                pqp = (pqp + step * (step * q[i, i] + 2 * qp[i])) / (1 + step) ** 2
                p[i] += step
                p /= 1 + step
                qp = (qp + step * q[i]) / (1 + step)
    return result.astype(F32)
