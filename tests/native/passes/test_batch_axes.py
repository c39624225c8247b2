"""Rows that a graph would mix run one at a time; a batch never leaves its arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import Chain, In, along, one, rows, weights
from native_oracle import foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.errors import GraphError, InputError
from cervello.native import Model


def _across(width: int = 3) -> Any:
    """x @ (xᵀ @ x): rows meet in a value that has none."""
    c = Chain(x=rows(width))
    return c.model(c.add("MatMul", "x", c.add("MatMul", c.add("Transpose", "x", perm=[1, 0]), "x")))


def _scrambled() -> Any:
    """(N, 4) → (4, N) by a reshape: a row's numbers land in other rows."""
    c = Chain(x=rows(4))
    n = c.add("Gather", c.add("Shape", "x"), np.array([0]), axis=0)
    turned = c.add("Reshape", c.add("Tanh", "x"), c.add("Concat", np.array([4]), n, axis=0))
    return c.model(c.add("Transpose", turned, perm=[1, 0]))


def _scrambled_later() -> Any:
    """(2, N, 4) → (2·N, 4) → (N, 8): legal up to the last reshape."""
    c = Chain(x=rows(2, 4))
    merged = c.add("Reshape", c.add("Transpose", "x", perm=[1, 0, 2]), np.array([-1, 4]))
    return c.model(c.add("Reshape", c.add("Tanh", merged), np.array([-1, 8])))


MIXED: dict[str, Any] = {
    "Reshape to more rows": lambda: one("Reshape", rows(4), np.array([-1, 2])),
    "Flatten to one row": lambda: one("Flatten", rows(3), axis=0), "Pad of the batch": lambda: one("Pad", rows(3), np.array([1, 0, 1, 0])),
    "Slice of the batch": lambda: one("Slice", rows(3), np.array([0]), np.array([2]), np.array([0])),
    "Split of the batch": lambda: one("Split", rows(3), axis=0),
    "Gather of rows": lambda: one("Gather", rows(3), np.array([0]), axis=0),
    "CumSum over rows": lambda: one("CumSum", rows(3), np.array(0)),
    "Concat of batches": lambda: one("Concat", rows(3), rows(3), axis=0), "Softmax over rows": lambda: one("Softmax", rows(3), axis=0),
    "ReduceMax over rows": lambda: one("ReduceMax", rows(3), axes=[0]), "ArgMax over rows": lambda: one("ArgMax", rows(3), axis=0),
    "a product over the batch": _across, "a reshape across rows": _scrambled, "a late reshape across rows": _scrambled_later}


@pytest.mark.parametrize("name", MIXED)
def test_a_graph_that_mixes_rows_runs_them_one_at_a_time(name: str) -> None:
    graph = MIXED[name]()
    model = Model.load(graph, batch_axis=along(graph))  # else it is an open size of one row, see test_axis_readings
    assert not model.batched
    assert model.plan().one_row
    given = columns(model, 5, special=False)
    together = execute(model, given, range(5))
    assert_same_bits(together, one_by_one(model, given, 5), name)
    expected = foreign(graph, {key: array[:1] for key, array in given.items()})
    for key, spec in model.outputs.items():
        np.testing.assert_allclose(together[key][0].reshape(expected[key].shape), expected[key], rtol=1e-5, atol=1e-6)
        assert together[key].shape == (5, *spec.shape)


def _merged_heads() -> Any:
    """Sequences in front: (T, N, E) → (T·N, E) → Gemm → (T, N, E), as torch's attention does it."""
    c = Chain(x=rows(3, 4))
    n = c.add("Gather", c.add("Shape", "x"), np.array([0]), axis=0)
    flat = c.add("Reshape", c.add("Transpose", "x", perm=[1, 0, 2]), np.array([-1, 4]))
    back = c.add("Reshape", c.dense(flat, 4, 5), c.add("Concat", np.array([3]), n, np.array([5]), axis=0))
    return c.model(c.add("Transpose", back, perm=[1, 0, 2]))


APART: dict[str, Any] = {
    "rows merged and split again": lambda: _regrouped(), "sequences in front": _merged_heads,
    "Pad beside the batch": lambda: one("Pad", rows(3), np.array([0, 1, 0, 1])),
    "states on axis 1": lambda: _states()}


def _regrouped() -> Any:
    c = Chain(x=rows(3, 4))
    return c.model(c.add("Reshape", c.dense(c.add("Reshape", "x", np.array([-1, 4])), 4, 5), np.array([-1, 3, 5])))


def _states() -> Any:
    c = Chain(x=rows(4), h=In((1, "N", 4)))
    return c.model(c.add("Add", "x", c.add("Squeeze", "h", np.array([0]))), c.add("Tanh", "h"))


@pytest.mark.parametrize("name", APART)
def test_a_graph_that_keeps_rows_apart_runs_them_together(name: str) -> None:
    model = Model.load(APART[name]())
    assert model.batched, model.plan().one_row
    given = columns(model, 7)
    assert_same_bits(execute(model, given, range(7)), one_by_one(model, given, 7), name)


def test_crops_larger_than_the_axis_are_refused() -> None:
    with pytest.raises(GraphError, match=r"expected to cut at most 3 on axis 1, got \[0, -5, 0, 7\]"):
        Model.load(one("Pad", rows(3), np.array([0, -5, 0, 7])))


@pytest.mark.parametrize("sizes", [[2, 2], [-1, 4], [4, 0]])
def test_parts_that_do_not_add_up_are_refused(sizes: list[int]) -> None:
    with pytest.raises(GraphError, match="expected parts of 3 on axis 1"):
        Model.load(one("Split", rows(3), np.array(sizes), outputs=2, axis=1))


def test_a_file_for_one_row_with_nothing_baked_runs_many() -> None:
    model = Model.load(one("Gemm", In((1, 4)), weights(4, 3)))
    assert model.batched
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    np.testing.assert_allclose(model.run({"x0": x})["y0"], x @ weights(4, 3), rtol=1e-5, atol=1e-6)


_LSTM = (weights(1, 8, 3), weights(1, 8, 2), weights(1, 16))


@pytest.mark.parametrize(("model", "message"), [
    (lambda: _lstm(_LSTM[0][:, :, :2], *_LSTM[1:]), "expected weights"), (lambda: _lstm(_LSTM[0][:, :4], *_LSTM[1:]), "expected weights"),
    (lambda: _lstm(*_LSTM[:2], _LSTM[2][:, :8]), r"expected biases of shape \(1, 16\), got \(1, 8\)"),
    (lambda: one("Conv", rows(3, 5), weights(2, 2, 3)), r"expected an image of 2 channels, got \(1, 3, 5\)"),
    (lambda: one("Conv", rows(3, 5), weights(2, 3, 3), weights(1)), r"expected a bias of shape \(2,\), got \(1,\)"),
    (lambda: one("Conv", rows(4, 5), weights(3, 2, 3), group=2), "expected channels that 2 groups share evenly, got 3"),
    (lambda: one("Conv", rows(3, 5), weights(2, 3, 3), kernel_shape=[4]), r"expected kernel_shape \(3,\), as the filters have it"),
    (lambda: one("Conv", rows(3, 5), weights(2, 3, 3), dilations=[-1]), "expected 1 numbers of at least 1 as dilations"),
    (lambda: one("MaxPool", rows(3, 5), kernel_shape=[2], strides=[0]), "expected 1 numbers of at least 1 as strides"),
    (lambda: one("MaxPool", rows(3, 5), kernel_shape=[2], pads=[1]), "expected 2 numbers of at least 0 as pads"),
    (lambda: one("Gemm", rows(3), weights(3, 5), weights(4)), r"expected a shape that broadcasts to \(1, 5\), got \(4,\)"),
    (lambda: one("BatchNormalization", rows(3), *[np.ones(2, np.float32)] * 4), r"expected a scale of shape \(3,\), got \(2,\)")])
def test_weights_that_do_not_fit_their_op_never_reach_a_kernel(model: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Model.load(model())


def _lstm(w: Any, r: Any, b: Any) -> Any:
    return one("LSTM", In((4, 1, 3)), w, r, b, outputs=3, hidden_size=2)


@pytest.mark.parametrize("op", ["Softmax", "BatchNormalization"])
def test_ops_on_float64_never_reach_a_float32_kernel(op: str) -> None:
    extra = [np.ones(2)] * 4 if op == "BatchNormalization" else []
    model = Model.load(one(op, rows(2, 3, dtype=np.float64), *extra, opset=11 if op == "Softmax" else 17))
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    found = model.run({"x0": x})["y0"]
    assert model.slow_nodes
    assert found.dtype == np.float64
    true = (x - 1) / np.sqrt(1 + 1e-5) + 1 if extra else np.exp(x) / np.exp(x).sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, true, rtol=1e-9)


def test_an_output_whose_shape_depends_on_data_is_given_for_one_row_and_refused_for_more() -> None:
    c = Chain(x=rows(3))
    model = Model.load(c.model(c.add("NonZero", "x")))
    assert not model.batched
    assert [array.tolist() for array in model.run({"x": np.float32([[0, 2, 3]])}).values()] == [[[0, 0], [1, 2]]]
    for count in (0, 2, 5):
        with pytest.raises(InputError, match=f"expected 1 row, got {count}; the shape of output .* depends on data"):
            model.run({"x": np.ones((count, 3), np.float32)})


def test_a_batch_whose_rows_lie_behind_runs_row_by_row_each_time() -> None:
    model = Model.load(one("Add", In(("N", 3)), In((3, "N"))))  # the second run of a size took the batch for one that lies in front
    x, y = np.arange(21, dtype=np.float32).reshape(7, 3), 100 * np.arange(21, dtype=np.float32).reshape(3, 7)
    expected = np.stack([x[i][None] + y[:, i][:, None] for i in range(7)])
    for _ in range(3):
        np.testing.assert_array_equal(model.run({"x0": x, "x1": y})["y0"], expected)
