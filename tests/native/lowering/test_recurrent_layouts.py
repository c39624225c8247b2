"""A sequence that lies with its rows in front, and initial states of zeros, need no copies around a recurrent layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import Chain, In, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model

N, STEPS = 5, 6


def _layers(op: str, direction: str, batch_first: bool, start: str = "zeros") -> Any:
    """Two layers over x [N, steps, 3] or [steps, N, 3], as torch writes batch_first and hidden states of zeros."""
    gates, both = 4 if op == "LSTM" else 3, 2 if direction == "bidirectional" else 1
    c = Chain(x=rows(STEPS, 3) if batch_first else In((STEPS, "N", 3)))
    below = c.add("Transpose", "x", perm=[1, 0, 2]) if batch_first else "x"
    shape = c.add("Concat", np.array([both]), c.add("Shape", "x", start=1 - batch_first, end=2 - batch_first), np.array([4]), axis=0)
    first = np.zeros((both, 1, 4), np.float32) if start == "zeros" else weights(both, 1, 4)
    states = [c.add("Expand", first, shape) for _ in range(gates - 2)]
    for layer in range(2):
        features = 3 if layer == 0 else 4 * both
        y, last = c.add(op, below, weights(both, gates * 4, features, seed=layer), weights(both, gates * 4, 4, seed=layer + 5),
                        weights(both, gates * 8), "", *states, outputs=2, hidden_size=4, direction=direction)
        below = c.add("Reshape", c.add("Transpose", y, perm=[0, 2, 1, 3]), np.array([0, 0, -1]))
    return c.model(c.add("Transpose", last, perm=[1, 0, 2]))


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_rows_in_front_have_the_bits_of_steps_in_front(op: str, direction: str) -> None:
    model, other = Model.load(_layers(op, direction, True)), Model.load(_layers(op, direction, False))
    copied = [str(step.node) for step in model.program.steps if step.kernel.endswith(":copy") and op in str(step.node)]
    assert not copied
    given = columns(model, N)
    found = execute(model, given, range(N))
    turned = execute(other, {"x": np.ascontiguousarray(given["x"].transpose(1, 0, 2))}, range(N))
    (array,), (expected,) = found.values(), turned.values()
    assert_same_bits({"y": array}, {"y": expected}, direction)
    assert_same_bits(found, one_by_one(model, given, N), direction)


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("start", ["zeros", "numbers"])
@pytest.mark.parametrize("n_rows", [1, 7])
def test_layers_are_what_onnxruntime_gives_whatever_they_start_from(op: str, start: str, n_rows: int) -> None:
    proto = _layers(op, "bidirectional", True, start)
    model = Model.load(proto)
    given = columns(model, n_rows, special=False)
    for name, expected in foreign(proto, given).items():
        assert_near(model.run(given)[name], expected, 1e-5, f"{op}, {start}", 1e-6)
