"""Extents of tree ensembles, whose nodes are constants, so that all paths are checked at load; and of pairwise coupling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.native.graph.forest import NODE
from cervello.native.kernels.sizes import TREE_ROWS
from cervello.native.memory.extents.declaration import content, expect, kernel
from cervello.native.memory.extents.spans import Span, covered, dense


def _within(values: Any, low: int, high: int, what: str) -> None:
    expect(values.size == 0 or (int(values.min()) >= low and int(values.max()) < high), f"{what} from {low} to {high - 1}",
           (values.min(initial=0), values.max(initial=0)))


@kernel("trees:trees")
def _trees(w: Any) -> Mapping[str, Span]:
    nodes, roots, starts, targets, values = (content(word) for word in (w.nodes, w.roots, w.starts, w.targets, w.values))
    expect(nodes.dtype == NODE, "nodes of trees", nodes.dtype)
    expect(roots.dtype == starts.dtype == targets.dtype == np.int32, "int32", (roots.dtype, starts.dtype, targets.dtype))
    expect(max(w.mode, 3) == 3 and max(w.x_is_float64, w.result_is_float64, 1) == 1, "a mode of 0 to 3 and flags",
           (w.mode, w.x_is_float64, w.result_is_float64))
    expect(w.trees <= roots.size and starts.size >= 1, f"{w.trees} roots", roots.size)
    n_leaves, places = starts.size - 1, np.arange(nodes.size)
    for name in ("yes", "no"):
        _within(nodes[name], -n_leaves, nodes.size, "children")
        inner = nodes[name] >= 0
        expect(bool((nodes[name][inner] > places[inner]).all()), "children after their parents", name)
    _within(roots, -n_leaves, nodes.size, "roots")
    _within(starts, 0, values.size + 1, "starts of votes")
    expect(targets.size == values.size, f"{values.size} targets of votes", targets.size)
    _within(targets, 0, w.n_targets, "targets of votes")
    features = int(nodes["feature"].max(initial=-1)) + 1
    _within(nodes["feature"], 0, features, "features")
    block = dense(min(w.rows, TREE_ROWS) * w.n_targets * 8)
    return {"x": covered(dense(features * (8 if w.x_is_float64 else 4)), [w.rows], [w.row_by]),
            "result": dense(w.rows * w.n_targets * (8 if w.result_is_float64 else 4)), "scores": block, "voted": block,
            "nodes": dense(nodes.nbytes), "roots": dense(w.trees * 4), "starts": dense(starts.nbytes), "targets": dense(targets.nbytes),
            "values": dense(values.nbytes), "base": dense(w.n_targets * 8)}


@kernel("coupling:couple")
def _couple(w: Any) -> Mapping[str, Span]:
    return {"pairs": dense(w.rows * (w.classes * (w.classes - 1) // 2) * 4), "result": dense(w.rows * w.classes * 4),
            "work": dense((w.classes + 2) * w.classes * 8)}
