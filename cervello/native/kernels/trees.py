"""Tree ensembles: each row traverses every tree, and the leaves that it reaches vote for targets.

Values are compared in float64, which represents float32 exactly. Votes are added in float64 in the order of the trees, so the sums of a
row do not depend on other rows. Source: ONNX operator specification, ai.onnx.ml, TreeEnsemble-5.
"""

from __future__ import annotations

import numpy as np

from cervello.codegen.compiler import inline, noinline
from cervello.codegen.memory import read_f32, read_f64, read_i32, read_i64, write_f32, write_f64, write_i64
from cervello.codegen.records import reader
from cervello.native.kernels.schemas import TREES
from cervello.native.kernels.sizes import TREE_ROWS

_words = reader(TREES)
_NODE = 24  # bytes: threshold, feature, outcomes, yes, no
_AVERAGE, _SUM, _MIN = 0, 1, 2


@inline
def _leaf(nodes, root, row, x_is_float64):
    """The index of the leaf that a row reaches."""
    at = np.int64(root)
    while at >= 0:
        node = nodes + at * _NODE
        feature = np.int64(read_i32(node, 2))
        value = read_f64(row, feature) if x_is_float64 else np.float64(read_f32(row, feature))
        threshold = read_f64(node, 0)
        outcome = 1 if value < threshold else 2 if value == threshold else 4 if value > threshold else 8
        at = np.int64(read_i32(node, 4 if read_i32(node, 3) & outcome else 5))
    return ~at


@inline
def _vote(scores, voted, target, value, mode):
    """Adds a value to a target's score, or replaces the score by a smaller or larger value; the first vote always replaces it."""
    if mode <= _SUM:
        write_f64(scores, target, read_f64(scores, target) + value)
        return
    score = read_f64(scores, target)
    better = value < score if mode == _MIN else value > score
    if better or read_i64(voted, target) == 0:
        write_f64(scores, target, value)
    write_i64(voted, target, 1)


@noinline
def _traverse(nodes, root, starts, targets, values, row, row_by, n_rows, scores, voted, score_by, x_is_float64, mode):
    """Traverses one tree with n_rows rows."""
    for _ in range(n_rows):
        leaf = _leaf(nodes, root, row, x_is_float64)
        for i in range(read_i32(starts, leaf), read_i32(starts, leaf + 1)):
            _vote(scores, voted, np.int64(read_i32(targets, i)), read_f64(values, i), mode)
        row += row_by
        scores += score_by
        voted += score_by
    return 0


def trees(step, ctx):
    """x [rows, features] to result [rows, targets]."""
    w = _words(step, ctx)
    x, result, scores, voted, base, rows, row_by = w.x, w.result, w.scores, w.voted, w.base, w.rows, w.row_by
    n_trees, n_targets, mode, result_is_float64 = w.trees, w.n_targets, w.mode, w.result_is_float64
    first = 0
    while first < rows:
        some = min(TREE_ROWS, rows - first)
        for i in range(some * n_targets):
            write_f64(scores, i, 0.0)
            write_i64(voted, i, 0)
        for t in range(n_trees):
            _traverse(w.nodes, read_i32(w.roots, t), w.starts, w.targets, w.values, x, row_by, some, scores, voted, n_targets * 8,
                      w.x_is_float64, mode)
        for i in range(some):
            for k in range(n_targets):
                score = read_f64(scores, i * n_targets + k)
                if mode == _AVERAGE:
                    score = score / n_trees
                score = score + read_f64(base, k)
                if result_is_float64:
                    write_f64(result, k, score)
                else:
                    write_f32(result, k, np.float32(score))
            result += n_targets * (8 if result_is_float64 else 4)
        x += some * row_by
        first += some
    return 0
