"""Decision trees as one op: `Trees(x)` → [rows, targets], the aggregated votes of leaves plus `base`.

`passes.decompositions.trees` makes these nodes; no file can hold one, since no attribute of a file is a `Forest`. Their attributes are
the forest, `aggregate` (AVERAGE, SUM, MIN, MAX), `base` (a number per target) and `dtype`, of the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import GraphError
from cervello.native.fallback.table import numpy_op
from cervello.native.frontend.trees import FOREST
from cervello.native.graph.dims import written
from cervello.native.graph.dtypes import F32, F64, Array
from cervello.native.graph.forest import EQUAL, GREATER, LESS, UNORDERED, Forest
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Weight
from cervello.native.graph.values import Value
from cervello.native.kernels.sizes import TREE_ROWS
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import lowers
from cervello.native.shapes.rules.basic import Result, dtype_of, rule, shape_of

_MODES = {"AVERAGE": 0, "SUM": 1, "MIN": 2, "MAX": 3}


@rule("Trees")
def _shape(node: Node, x: Value) -> Result:
    forest, shape = node.attributes.get(FOREST), shape_of(x)
    if not isinstance(forest, Forest) or dtype_of(x) not in (F32, F64) or len(shape) != 2:
        raise GraphError(f"node {node}: expected trees and rows of floats, got {written(shape)} {x.dtype}; export the policy again")
    return [((shape[0], forest.n_targets), node.attributes["dtype"])]


@lowers("Trees")
def _lower(lowering: Lowering, node: Node) -> None:
    forest: Forest = node.attributes[FOREST]
    x = lowering.contiguous(lowering.tensor(node.inputs[0]), 1)
    result = lowering.output(node.outputs[0])
    block = (TREE_ROWS, forest.n_targets)
    arrays: dict[str, Any] = {name: Weight(getattr(forest, name)) for name in ("nodes", "roots", "starts", "targets", "values")}
    lowering.emit(
        "trees:trees", (x,), (result,), (lowering.scratch(block, F64), lowering.scratch(block, np.int64)), **arrays,
        base=Weight(np.array(node.attributes["base"], F64)), rows=x.shape[0], row_by=x.strides[0], trees=len(forest.roots),
        n_targets=forest.n_targets, mode=_MODES[node.attributes["aggregate"]], x_is_float64=int(x.dtype == F64),
        result_is_float64=int(result.dtype == F64))


@numpy_op("Trees")
def _on_arrays(node: Node, x: Array) -> Array:
    """The definition, for constants."""
    forest: Forest = node.attributes[FOREST]
    mode, base = node.attributes["aggregate"], np.array(node.attributes["base"], F64)
    result = np.zeros((len(x), forest.n_targets))
    for row, scores in zip(x.astype(F64), result, strict=True):
        votes: list[list[float]] = [[] for _ in scores]
        for at in forest.roots.tolist():
            while at >= 0:
                threshold, feature, outcomes, yes, no = forest.nodes[at].tolist()
                value = row[feature]
                outcome = (LESS if value < threshold else EQUAL if value == threshold else GREATER if value > threshold else UNORDERED)
                at = yes if outcomes & outcome else no
            for i in range(forest.starts[~at], forest.starts[~at + 1]):
                votes[forest.targets[i]].append(float(forest.values[i]))
        for k, each in enumerate(votes):
            scores[k] = (min(each, default=0) if mode == "MIN" else max(each, default=0) if mode == "MAX" else sum(each)) + 0.0
            scores[k] = (scores[k] / len(forest.roots) if mode == "AVERAGE" else scores[k]) + base[k]
    return result.astype(node.attributes["dtype"])
