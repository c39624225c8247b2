"""Where attention writes: in the place of its query only if that query's rows have memory of their own."""

from __future__ import annotations

import numpy as np
import pytest
from native_graphs import Chain, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model

HEADS, QUERIES, KEYS, WIDTH = 3, 4, 5, 8


@pytest.mark.parametrize(("query", "expand"), [((1, QUERIES, WIDTH), (1, HEADS, 1, 1)), ((HEADS, 1, WIDTH), (1, 1, QUERIES, 1)),
                                               ((1, 1, WIDTH), (1, HEADS, QUERIES, 1))], ids=["heads", "queries", "both"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_an_expanded_query_is_not_written_over(query: tuple[int, ...], expand: tuple[int, ...], with_bias: bool) -> None:
    """Several rows of an expanded query lie in one place; the attention's result has a row for each."""
    c = Chain(x=rows(*query), kt=rows(HEADS, WIDTH, KEYS), v=rows(HEADS, KEYS, WIDTH), bias=rows(HEADS, QUERIES, KEYS))
    q = c.add("Expand", c.add("MatMul", "x", weights(WIDTH, WIDTH, scale=0.3)), np.array(expand))
    scores = c.add("MatMul", q, "kt")
    if with_bias:
        scores = c.add("Add", scores, "bias")
    shares = c.add("Softmax", scores, axis=-1)
    graph = c.model(c.add("Tanh", c.add("MatMul", shares, "v")), c.add("Neg", "bias"))
    model = Model.load(graph)
    assert any(step.kernel.endswith("attend") for step in model.program.steps)
    given = columns(model, 7, special=False)
    found = execute(model, given, range(7))
    for name, expected in foreign(graph, given).items():
        assert_near(found[name], expected, 2e-6, name)
    assert_same_bits(found, one_by_one(model, given, 7), "alone")
