"""Forms in which jax2onnx and tf2onnx write layers: products with the weights on the left, normalisation by computed statistics, and, for
one row, the batch moved by a Reshape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import Chain, In, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one, take

from cervello.native import Model
from cervello.native.graph.dims import ROWS
from cervello.native.passes.row_layouts import layouts, moved_rows

N = 7


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _left(trans_a: int, trans_b: int, alpha: float, c: Any, beta: float) -> onnx.ModelProto:
    """A vmapped linear layer of Equinox: W·xᵀ with the batch on the last axis."""
    chain = Chain(opset=18, obs=In(("N", 5)))
    x = "obs" if trans_b else chain.add("Transpose", "obs", perm=[1, 0])
    w = weights(5, 6) if trans_a else weights(6, 5)
    more = () if c is None else (c,)
    y = chain.add("Gemm", w, x, *more, alpha=alpha, beta=beta, transA=trans_a, transB=trans_b)
    return chain.model(chain.add("Transpose", y, perm=[1, 0]))


def _layer_norm(batch: Any) -> onnx.ModelProto:
    """Keras' LayerNormalization: rows are the channels of a BatchNormalization whose mean and variance are those of each row."""
    chain = Chain(opset=17, obs=In((batch, 6)))
    x = chain.add("Reshape", "obs", _a(1, 1 if batch == 1 else -1, 6, 1))
    mean = chain.add("ReduceMean", x, axes=[0, 2, 3], keepdims=1)
    squares = chain.add("ReduceSumSquare", chain.add("Sub", x, mean), axes=[0, 2, 3], keepdims=0)
    if batch == 1:
        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    else:
        size = chain.add("Slice", chain.add("Shape", "obs"), _a(0), _a(1))
        one, zero = (chain.add("Expand", np.float32(value), size) for value in (1.0, 0.0))
    y = chain.add("BatchNormalization", x, one, zero, chain.add("Squeeze", mean, _a(0, 2, 3)),
                  chain.add("Div", squares, np.float32(6)), epsilon=1e-3)
    return chain.model(chain.add("Reshape", y, _a(1, 6) if batch == 1 else _a(-1, 6)))


def _history(op: str) -> onnx.ModelProto:
    """A recurrent layer over a history, for one row: time and batch change places by a Reshape, states are constants."""
    gates, states = (4, 2) if op == "LSTM" else (3, 1)
    chain = Chain(opset=17, obs=In((1, 5, 8)))
    x = chain.add("Reshape", "obs", _a(5, 1, 8))
    first = [weights(1, 1, 6, seed=7 + i) for i in range(states)]
    y, *_ = chain.add(op, x, weights(1, gates * 6, 8), weights(1, gates * 6, 6, seed=2), weights(1, gates * 12), "", *first,
                      outputs=1 + states, hidden_size=6)
    last = chain.add("Slice", chain.add("Squeeze", y, _a(1)), _a(-1), _a(np.iinfo(np.int32).max), _a(0))
    return chain.model(chain.add("MatMul", chain.add("Squeeze", last, _a(0)), weights(6, 3)))


def _layers_and_starts() -> onnx.ModelProto:
    """sb3-contrib's RecurrentPPO with two layers, for one row: states are (layers, 1, hidden) beside a number of shape (1,)."""
    chain = Chain(opset=17, obs=In((1, 8)), h_in=In((2, 1, 6)), starts=In((1,)))
    keep = chain.add("Reshape", chain.add("Sub", np.float32(1), "starts"), _a(1, -1, 1))
    state, x, after = chain.add("Mul", keep, "h_in"), chain.add("Unsqueeze", "obs", _a(0)), []
    for layer in range(2):
        first = chain.add("Slice", state, _a(layer), _a(layer + 1), _a(0))
        y, last = chain.add("GRU", x, weights(1, 18, 6 if layer else 8, seed=layer), weights(1, 18, 6, seed=4), weights(1, 36), "", first,
                            outputs=2, hidden_size=6, linear_before_reset=1)
        x = chain.add("Squeeze", y, _a(1))
        after.append(last)
    return chain.model(chain.add("MatMul", chain.add("Squeeze", x, _a(0)), weights(6, 3)), chain.add("Concat", *after, axis=0))


FORMS: dict[str, Callable[[], onnx.ModelProto]] = {
    "weights on the left": lambda: _left(0, 0, 1.0, np.float32(0), 0.0),
    "weights on the left, both transposed, scaled": lambda: _left(1, 1, 0.5, None, 1.0),
    "weights on the left, a column added": lambda: _left(0, 0, 1.0, weights(6, 1), 2.0),
    "computed statistics": lambda: _layer_norm("N"),
    "computed statistics, one row": lambda: _layer_norm(1),
    "LSTM over a history, one row": lambda: _history("LSTM"),
    "GRU over a history, one row": lambda: _history("GRU"),
    "two layers and a number, one row": _layers_and_starts,
}


def _alone(proto: onnx.ModelProto, name: str, data: Any) -> Any:
    """One row of an input in the file's own shape."""
    port = next(each for each in proto.graph.input if each.name == name)
    return data.reshape([dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim])


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_other_exporters_run_planned_and_batched_and_rows_are_as_onnxruntime_has_them(name: str) -> None:
    proto = FORMS[name]()
    model = Model.load(proto)
    assert not model.slow_nodes
    assert model.batched, model.plan(1).one_row
    given = columns(model, N, special=False)
    found = execute(model, given, range(N))
    assert_same_bits(found, one_by_one(model, given, N), name)
    for row in range(N):
        alone = foreign(proto, {key: _alone(proto, key, take(data, model.inputs[key], [row])) for key, data in given.items()})
        for key, array in found.items():
            mine = take(array, model.outputs[key], [row]).reshape(alone[key].shape)
            assert_near(mine, alone[key], 1e-5, f"{name}, row {row}, {key}", 1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_a_row_with_nan_or_huge_numbers_leaves_its_neighbours_alone(name: str) -> None:
    model = Model.load(FORMS[name]())
    given = columns(model, 12)
    assert_same_bits(execute(model, given, range(12)), one_by_one(model, given, 12), name)


def test_rows_move_only_to_a_1_and_only_where_no_layout_has_rows_on_their_own_axis() -> None:
    def moved(source: tuple[Any, ...], single: list[int]) -> list[int]:
        return moved_rows(source, 1, single, layouts(source, 1, single, single))

    assert moved((ROWS, 5, 8), [5, 1, 8]) == [1]
    assert moved((5, ROWS, 8), [1, 5, 8]) == [0]
    assert moved((ROWS, 5, 8), [1, 5, 1, 8]) == []  # rows stay in front
    assert moved((ROWS, 5, 8), [5, 8]) == []
    assert moved_rows((ROWS, 5, 8), 2, [5, 1, 8], []) == []


def test_rows_that_meet_after_they_moved_run_one_at_a_time() -> None:
    chain = Chain(opset=17, obs=In((1, 5, 8)))
    moved = chain.add("Reshape", "obs", _a(5, 1, 8))
    proto = chain.model(chain.add("Reshape", chain.add("ReduceMean", moved, axes=[1], keepdims=0), _a(1, 40)))
    model = Model.load(proto)
    given = columns(model, 3, special=False)
    assert_same_bits(execute(model, given, range(3)), one_by_one(model, given, 3), "mean")
