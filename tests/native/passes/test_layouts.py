"""Layouts that keep elements where they are: heads of attention that are joined with the batch, results in their operand's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import Chain, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model
from cervello.native.graph.dims import ROWS, Affine
from cervello.native.lowering.rules.layouts import common_refinement

Array = np.ndarray[Any, Any]


def kinds(model: Model) -> list[str]:
    return [step.kernel.rpartition(".")[2] for step in model.program.steps]


def head_attention(length: int, heads: int, size: int, seen: bool = False) -> Any:
    """nn.MultiheadAttention as torch's exporter writes it: [N, length, heads * size], the sequence in front inside; `seen`: q as well."""
    width = heads * size
    c = Chain(x=rows(length, width))
    joined = c.add("MatMul", c.add("Transpose", "x", perm=[1, 0, 2]), weights(width, 3 * width, scale=0.3))
    parts = c.add("Split", c.add("Add", weights(3 * width), joined), np.array([width] * 3), axis=2, outputs=3)
    apart = []
    for part in parts:
        flat = c.add("Reshape", part, np.array([length, -1, size]))
        apart.append(c.add("Reshape", c.add("Transpose", flat, perm=[1, 0, 2]), np.array([-1, heads, length, size])))
    root = np.float32(size ** -0.25)
    q, k = c.add("Mul", apart[0], root), c.add("Mul", c.add("Transpose", apart[1], perm=[0, 1, 3, 2]), root)
    y = c.add("MatMul", c.add("Softmax", c.add("MatMul", q, k), axis=-1), apart[2])
    flat = c.add("Reshape", c.add("Transpose", y, perm=[2, 0, 1, 3]), np.array([-1, width]))
    out = c.add("Reshape", c.dense(flat, width, width), np.array([length, -1, width]))
    return c.model(c.add("Transpose", out, perm=[1, 0, 2]), *([q] if seen else []))


def exact_attention(x: Array, length: int, heads: int, size: int) -> Array:
    width = heads * size
    x = x.astype(np.float64)
    q, k, v = (part.reshape(-1, length, heads, size).transpose(0, 2, 1, 3)
               for part in np.split(x @ weights(width, 3 * width, scale=0.3) + weights(3 * width), 3, axis=2))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(size)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    y = (shares / shares.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(-1, length, width)
    return np.asarray((y @ weights(width, width, scale=0.3) + weights(width, seed=1)).astype(np.float32))


@pytest.mark.parametrize("sizes", [(6, 4, 8), (1, 2, 3), (5, 1, 7), (17, 3, 16), (60, 2, 5)], ids=str)
def test_heads_that_are_joined_with_the_batch_are_not_copied(sizes: tuple[int, int, int]) -> None:
    """Two copies are left: the sequence goes in front, and back behind the rows."""
    graph = head_attention(*sizes)
    whole, parts = Model.load(graph), Model.load(head_attention(*sizes, seen=True))
    assert whole.batched
    assert not whole.slow_nodes
    assert sum(kind.startswith("copies:") for kind in kinds(whole)) <= 2
    given = columns(whole, 12, special=False)
    name = next(iter(whole.outputs))
    found = execute(whole, given, range(12))
    assert_near(found[name], exact_attention(given["x"], *sizes), 2e-6, str(sizes), 1e-6)
    assert_near(found[name], foreign(graph, given)[name], 2e-6, f"{sizes} in onnxruntime", 1e-6)
    assert_same_bits(found, {name: execute(parts, given, range(12))[name]}, str(sizes))
    special = columns(whole, 12)
    assert_same_bits(execute(whole, special, range(12)), one_by_one(whole, special, 12), str(sizes))


CHAINS = [  # of a row, sizes: joined, order, parted again
    ((6, 32), [6, -1, 8], [1, 0, 2], [-1, 4, 6, 8]), ((6, 32), [6, -1, 8], [1, 2, 0], [-1, 4, 8, 6]),
    ((6, 32), [6, -1, 8], [2, 1, 0], [8, -1, 24]), ((6, 8), [6, -1, 8, 1], [3, 1, 0, 2], [1, -1, 6, 8]),
    ((4, 6), [2, 2, -1, 6], [2, 0, 1, 3], [-1, 4, 6]), ((1, 12), [-1, 3], [0, 1], [-1, 12]), ((5, 7), [5, -1], [1, 0], [-1, 7, 5])]


@pytest.mark.parametrize(("row", "joined", "order", "parted"), CHAINS, ids=str)
@pytest.mark.parametrize("late", [False, True])
def test_reshapes_around_a_transpose_give_its_elements(row: tuple[int, ...], joined: list[int], order: list[int], parted: list[int],
                                                       late: bool) -> None:
    """`late`: something else reads the operand between the first Reshape and the Transpose, and may not write over it."""
    c = Chain(x=rows(*row))
    source = c.add("Tanh", "x")
    moved = c.add("Reshape", c.add("Transpose", source, perm=[1, 0, 2]), np.array(joined))
    other = c.add("Exp", source) if late else ""
    last = c.add("Reshape", c.add("Transpose", moved, perm=order), np.array(parted))
    graph = c.model(c.add("Neg", last), *([c.add("Neg", other)] if late else []))
    model = Model.load(graph, batch_axis=0)
    given = columns(model, 5, special=False)
    found, expected = model.run(given), foreign(graph, given)
    for name, array in found.items():
        assert_near(array, expected[name], 1e-6, name)


@pytest.mark.parametrize(("before", "after", "expected"), [
    ((6, ROWS, 32), (6, Affine(0, 4), 8), ((6, ROWS, 4, 8), [[0], [1, 2], [3]])), ((4, 3), (6, 2), None),
    ((2, 6), (4, 3), ((2, 2, 3), [[0, 1], [2]])), ((4,), (2, 1, 2), ((2, 2), [[0], [], [1]])),
    ((ROWS, 6), (Affine(0, 2), 3), ((ROWS, 2, 3), [[0, 1], [2]])), ((Affine(0, 6),), (ROWS, 6), ((ROWS, 6), [[0], [1]])),
    ((3, 0), (0, 3), None), ((ROWS, 2), (2, ROWS), None), ((1, 5, 1), (5,), ((5,), [[0]])), ((6,), (2, 2), None), ((2,), (2, 3), None)])
def test_parts_of_two_shapes(before: Any, after: Any, expected: Any) -> None:
    assert common_refinement(before, after) == expected
