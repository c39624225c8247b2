"""A batch of more than one row that a file has baked in is named, with its node and the export option that frees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import Chain, In, weights
from native_oracle import assert_near, foreign

from cervello.errors import ConfigurationError, GraphError, InputError
from cervello.native import Model

OPTION = r"export it with that axis open \(torch\.onnx\.export: dynamic_shapes=, or dynamic_axes= with dynamo=False\)"


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _constant_beside_the_batch(symbol: str = "N") -> onnx.ModelProto:
    c = Chain(x=In((symbol, 4)))
    return c.model(c.add("Concat", c.dense("x", 4, 2), weights(32, 2), axis=1))


def _reshape() -> onnx.ModelProto:
    c = Chain(x=In(("batch", 2, 3)))
    return c.model(c.add("MatMul", c.add("Reshape", "x", _a(32, 6)), weights(6, 2)))


def _expand() -> onnx.ModelProto:
    c = Chain(x=In(("n", 4)))
    return c.model(c.add("Concat", "x", c.add("Expand", weights(1, 4), _a(32, 4)), axis=1))


def _initial_state() -> onnx.ModelProto:
    c = Chain(x=In((5, "batch", 3)))
    _, h = c.add("GRU", "x", weights(1, 24, 3), weights(1, 24, 8), "", "", weights(1, 32, 8), outputs=2, hidden_size=8)
    return c.model(c.add("Squeeze", h, _a(0)))


@pytest.mark.parametrize(("make", "axis", "symbol", "op"), [
    (_constant_beside_the_batch, 0, "N", "Concat"), (_reshape, 0, "batch", "Reshape"), (_expand, 0, "n", "Concat"),
    (_initial_state, 1, "batch", "GRU")])
def test_the_node_and_the_export_option_are_named(make: Callable[[], onnx.ModelProto], axis: int, symbol: str, op: str) -> None:
    message = rf"input 'x', axis {axis}: expected a batch of any size, got a file with 32 baked in \(node {op} .*{OPTION}, or give " \
              rf"dims=\{{'{symbol}': 32\}}"
    with pytest.raises(GraphError, match=message) as caught:
        Model.load(make())
    assert len(str(caught.value)) <= 500


def test_the_size_may_be_one_of_an_agents_row_when_the_caller_says_so() -> None:
    proto = _constant_beside_the_batch()
    model = Model.load(proto, dims={"N": 32})
    assert str(model.inputs["x"]) == "x: (N, 32, 4) float32"
    x = weights(2, 32, 4)
    (found,) = model.run({"x": x}).values()
    for row in range(2):
        assert_near(found[row], next(iter(foreign(proto, {"x": x[row]}).values())), 1e-5, f"row {row}", 1e-6)


def test_a_batch_that_the_input_declares_is_named_when_other_rows_come() -> None:
    c = Chain(x=In((4, 6)))
    model = Model.load(c.model(c.dense("x", 6, 2)))
    with pytest.raises(InputError, match=r"input 'x': expected \(N, 4, 6\) float32, got \(3, 6\).*the file fixes the first axis at 4: if "
                                         rf"that is a batch, {OPTION}"):
        model.run({"x": weights(3, 6)})
    with pytest.raises(ConfigurationError, match=rf"got axis 0 of size 4; .*a batch of 4 is fixed in the file: {OPTION}"):
        Model.load(c.model(c.dense("x", 6, 2)), batch_axis=0)
