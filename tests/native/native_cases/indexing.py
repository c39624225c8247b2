"""Indexed arrays as exporters write them: GatherND and ScatterND of turned arrays, of tables, and with the number of the row in front."""

from __future__ import annotations

from typing import Any

import numpy as np
from native_graphs import I64, Chain, In, rows, weights

from native_cases.case import Case


def _turned(c: Chain, name: str, *order: int) -> Any:
    return c.add("Transpose", name, perm=order)


def _columns(width: int) -> Any:
    """x[:, [2, 0, -1]]"""
    c = Chain(x=rows(3, width))
    picked = c.add("GatherND", _turned(c, "x", 1, 0, 2), np.array([[2], [0], [-1]]))
    return c.model(_turned(c, picked, 1, 0, 2))


def _pairs(width: int) -> Any:
    """x[:, [0, 2, 1], [1, 0, -1]]"""
    c = Chain(x=rows(3, 2, width))
    return c.model(_turned(c, c.add("GatherND", _turned(c, "x", 1, 2, 0, 3), np.array([[0, 1], [2, 0], [1, -1]])), 1, 0, 2))


def _table(width: int) -> Any:
    """table[i], with tuples of one index"""
    c = Chain(i=In(("N", 2), I64))
    return c.model(c.add("GatherND", weights(5, width), c.add("Unsqueeze", "i", np.array([-1]))))


def _numbers(c: Chain, name: str) -> Any:
    n = c.add("Squeeze", c.add("Shape", name, start=0, end=1), np.array([0]))
    return c.add("Range", np.array(0), n, np.array(1))


def _own_place(width: int) -> Any:
    """x[arange(N), i]"""
    c = Chain(x=rows(3, width), i=In(("N",), I64))
    tuples = c.add("Concat", c.add("Unsqueeze", _numbers(c, "x"), np.array([1])), c.add("Unsqueeze", "i", np.array([1])), axis=-1)
    return c.model(c.add("GatherND", "x", tuples))


def _own_pair(width: int) -> Any:
    """x[arange(N), i, j]"""
    c = Chain(x=rows(3, width), i=In(("N",), I64), j=In(("N",), I64))
    parts = [c.add("Unsqueeze", name, np.array([-1])) for name in (_numbers(c, "x"), "i", "j")]
    return c.model(c.add("GatherND", "x", c.add("Concat", *parts, axis=1)))


def _assigned_columns(width: int) -> Any:
    """x[:, [3, 1]] = u"""
    c = Chain(x=rows(4, width), u=rows(2, width))
    placed = c.add("ScatterND", _turned(c, "x", 1, 0, 2), np.array([[3], [1]]), _turned(c, "u", 1, 0, 2))
    return c.model(_turned(c, placed, 1, 0, 2))


def _assigned_pairs(width: int) -> Any:
    """x[:, [3, 1], [0, -1]] = u"""
    c = Chain(x=rows(4, width), u=rows(2))
    placed = c.add("ScatterND", _turned(c, "x", 1, 2, 0), np.array([[3, 0], [1, -1]]), _turned(c, "u", 1, 0))
    return c.model(_turned(c, placed, 2, 0, 1))


def _assigned_place(width: int) -> Any:
    """x[arange(N), i] = u"""
    c = Chain(opset=18, x=rows(width + 2), i=In(("N",), I64), u=rows())
    tuples = c.add("Concat", c.add("Unsqueeze", _numbers(c, "x"), np.array([1])), c.add("Unsqueeze", "i", np.array([1])), axis=-1)
    return c.model(c.add("ScatterND", "x", tuples, "u"))


CASES = [Case(f"indexing-{name}", build, integers=integers) for name, build, integers in (
    ("columns", _columns, (0, 2)), ("pairs", _pairs, (0, 2)), ("table", _table, (-5, 5)), ("own-place", _own_place, (-3, 3)),
    ("own-pair", _own_pair, (0, 1)), ("assigned-columns", _assigned_columns, (0, 2)), ("assigned-pairs", _assigned_pairs, (0, 2)),
    ("assigned-place", _assigned_place, (-3, 3)))]
