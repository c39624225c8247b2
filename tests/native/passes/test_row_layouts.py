"""Files for one row whose Reshapes have the batch of 1 in one of several places: the place is proven, or rows run one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_graphs import Chain, In, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one, take

from cervello.native import Model
from cervello.native.graph.dims import ROWS, at, rows_axis
from cervello.native.passes.row_layouts import layouts

N = 7


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _recurrent(op: str, layers: int = 1, *, batch_first: bool = False) -> onnx.ModelProto:
    """As torch's new exporter writes nn.LSTM and nn.GRU: a Transpose and a Reshape join the directions behind every layer."""
    gates, states = (4, 2) if op == "LSTM" else (3, 1)
    c = Chain(opset=18, obs=In((1, 8)), **{f"s{i}": In((layers, 1, 6)) for i in range(states)})
    x = c.add("Unsqueeze", "obs", _a(1 if batch_first else 0))
    x = c.add("Transpose", x, perm=[1, 0, 2]) if batch_first else x
    last: list[list[str]] = [[] for _ in range(states)]
    for layer in range(layers):
        first = [c.add("Slice", f"s{i}", _a(layer), _a(layer + 1), _a(0)) for i in range(states)]
        w, r = weights(1, gates * 6, 6 if layer else 8, seed=layer), weights(1, gates * 6, 6, seed=layer + 9)
        y, *after = c.add(op, x, w, r, weights(1, gates * 12), "", *first, outputs=1 + states, hidden_size=6)
        x = c.add("Reshape", c.add("Transpose", y, perm=[0, 2, 1, 3]), _a(1, 1, 6))
        for state, each in zip(last, after, strict=True):
            state.append(each)
    y = c.add("Squeeze", c.add("Transpose", x, perm=[1, 0, 2]) if batch_first else x, _a(1 if batch_first else 0))
    joined = [state[0] if layers == 1 else c.add("Concat", *state, axis=0) for state in last]
    return c.model(c.add("Gemm", y, weights(6, 3)), *joined)


def _attention(tokens: int = 5, heads: int = 2) -> onnx.ModelProto:
    """As both exporters of torch write nn.MultiheadAttention: heads are joined with the batch, and tokens before the last linear layer."""
    c, size = Chain(opset=18, x=In((1, tokens, 16))), 16 // heads
    turned = c.add("MatMul", c.add("Transpose", "x", perm=[1, 0, 2]), weights(16, 48, scale=0.2))
    parts = c.add("Unsqueeze", c.add("Reshape", turned, _a(tokens, 1, 3, 16), allowzero=1), _a(0))
    parts = c.add("Squeeze", c.add("Transpose", parts, perm=[3, 1, 2, 0, 4]), _a(-2))
    q, k, v = (c.add("Transpose", c.add("Reshape", c.add("Gather", parts, np.array(i), axis=0), _a(tokens, heads, size)), perm=[1, 0, 2])
               for i in range(3))
    q, k, v = (c.add("Reshape", each, _a(1, heads, tokens, size)) for each in (q, k, v))
    seen = c.add("MatMul", c.add("Softmax", c.add("MatMul", q, c.add("Transpose", k, perm=[0, 1, 3, 2])), axis=-1), v)
    flat = c.add("Gemm", c.add("Reshape", c.add("Transpose", seen, perm=[2, 0, 1, 3]), _a(tokens, 16)), weights(16, 16, seed=3), transB=1)
    back = c.add("Transpose", c.add("Reshape", flat, _a(tokens, 1, 16)), perm=[1, 0, 2])
    return c.model(c.add("ReduceMean", c.add("Add", "x", back), _a(1), keepdims=0))


FREED: dict[str, Callable[[], onnx.ModelProto]] = {
    "LSTM": lambda: _recurrent("LSTM"), "GRU": lambda: _recurrent("GRU"), "LSTM, two layers": lambda: _recurrent("LSTM", 2),
    "GRU, two layers": lambda: _recurrent("GRU", 2), "LSTM, batch first": lambda: _recurrent("LSTM", batch_first=True),
    "GRU, batch first": lambda: _recurrent("GRU", batch_first=True), "attention": _attention,
    "attention, as many heads as tokens": lambda: _attention(4, 4), "attention, one token": lambda: _attention(1, 4)}


@pytest.mark.parametrize("name", FREED)
def test_files_of_torch_exporters_for_one_row_run_batched_and_rows_are_as_they_were(name: str) -> None:
    proto = FREED[name]()
    model = Model.load(proto)
    assert model.batched, model.plan(1).one_row
    assert not model.slow_nodes
    observation = model.inputs[proto.graph.input[0].name]
    assert observation.shape == tuple(dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim[1:])
    given_rows = columns(model, N, special=False)
    found = execute(model, given_rows, range(N))
    assert_same_bits(found, one_by_one(model, given_rows, N), name)
    shapes = {port.name: tuple(dim.dim_value for dim in port.type.tensor_type.shape.dim) for port in proto.graph.input}
    for row in range(N):
        alone = foreign(proto, {key: take(data, model.inputs[key], [row]).reshape(shapes[key]) for key, data in given_rows.items()})
        for key, array in found.items():
            mine = take(array, model.outputs[key], [row])
            assert_near(mine.reshape(alone[key].shape), alone[key], 1e-4, f"{name}, row {row}, {key}", 1e-6)


@pytest.mark.parametrize("name", ["LSTM", "attention"])
def test_a_row_with_nan_or_huge_numbers_leaves_its_neighbours_alone(name: str) -> None:
    model = Model.load(FREED[name]())
    given_rows = columns(model, 12)
    assert_same_bits(execute(model, given_rows, range(12)), one_by_one(model, given_rows, 12), name)


def _mixed() -> onnx.ModelProto:
    """Under no target do rows stay apart: 5 stretches do not divide 16."""
    c = Chain(x=In((1, 5, 16)))
    return c.model(c.add("Softmax", c.add("Reshape", c.add("Transpose", "x", perm=[1, 0, 2]), _a(16, 5))))


def _normalised_by_number() -> onnx.ModelProto:
    """Sums over the one entry that stands for the row."""
    c = Chain(x=In((1, 6)))
    return c.model(c.add("Reshape", c.add("ReduceSum", c.add("Reshape", "x", _a(2, 3)), _a(0, 1)), _a(1, 1)))


@pytest.mark.parametrize("make", [_mixed, _normalised_by_number])
def test_where_no_layout_is_proven_rows_run_one_at_a_time(make: Callable[[], onnx.ModelProto]) -> None:
    proto = make()
    model = Model.load(proto)
    assert not model.batched
    assert model.plan(1).one_row
    given_rows = columns(model, 3, special=False)
    for key, array in execute(model, given_rows, range(3)).items():
        for row in range(3):
            alone = foreign(proto, {"x": given_rows["x"][row:row + 1]})[key]
            assert_near(array[row].reshape(alone.shape), alone, 1e-6, f"row {row}", 1e-7)


sizes = st.sampled_from([1, 1, 2, 3, 4, 6])


@given(st.lists(sizes, min_size=1, max_size=3), st.integers(0, 2), st.integers(0, 1000), st.sampled_from([1, 2]))
@settings(max_examples=200, deadline=None)
def test_every_layout_keeps_each_rows_elements_in_their_order(single: list[int], place: int, seed: int, inner: int) -> None:
    """The definition: element e of row r, before and behind the Reshape."""
    random = np.random.default_rng(seed)
    place %= len(single)
    row_repeats = int(random.choice([n for n in (1, 2, 3) if single[place] % n == 0]))
    source = tuple(size * ROWS if i == place else size for i, size in enumerate(single))
    target = [int(np.prod(single))]
    for divisor in (inner, 2, 3):  # some factors of the number of elements
        if target[-1] % divisor == 0:
            target[-1:] = [divisor, target[-1] // divisor]
    random.shuffle(target)

    def rows_of(array: np.ndarray[Any, Any], axis: int, each: int) -> np.ndarray[Any, Any]:
        shape = array.shape
        apart = array.reshape(*shape[:axis], each, N, shape[axis] // (each * N), *shape[axis + 1:])
        return np.moveaxis(apart, axis + 1, 0).reshape(N, -1)

    elements = np.arange(np.prod([at(size, N) for size in source])).reshape([at(size, N) for size in source])
    before = int(np.prod(single[:place])) * row_repeats
    for layout in layouts(source, row_repeats, target, target):
        axis = rows_axis(layout)
        assert axis is not None
        after = before // int(np.prod([int(size) for size in layout[:axis]]))  # type: ignore[arg-type]
        moved = elements.reshape([at(size, N) for size in layout])
        np.testing.assert_array_equal(rows_of(moved, axis, after), rows_of(elements, place, row_repeats))
