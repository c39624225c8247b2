"""Reductions, softmax and normalisations against numpy in float64, at any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from native_graphs import Chain, In, one, rows, weights
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model

NAN, INF = np.nan, np.inf
TRUE: dict[str, Callable[..., Any]] = {
    "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod,
    "ReduceL1": lambda x, **k: np.sum(np.abs(x), **k), "ReduceL2": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
    "ReduceSumSquare": lambda x, **k: np.sum(x * x, **k), "ReduceLogSum": lambda x, **k: np.log(np.sum(x, **k)),
    "ReduceLogSumExp": lambda x, **k: np.log(np.sum(np.exp(x), **k))}


@settings(max_examples=80, deadline=None)
@given(data=st.data(), op=st.sampled_from(list(TRUE)), shape=st.lists(st.integers(1, 35), min_size=1, max_size=3),
       n_rows=st.sampled_from([0, 1, 2, 5, 17]), keep=st.booleans())
def test_reductions_over_any_axes_follow_float64(data: Any, op: str, shape: list[int], n_rows: int, keep: bool) -> None:
    axes = data.draw(st.lists(st.integers(1, len(shape)), min_size=1, max_size=len(shape), unique=True))
    x = np.random.default_rng(len(shape)).uniform(0.5, 1.5, (n_rows, *shape)).astype(np.float32)
    model = Model.load(one(op, rows(*shape), np.array(axes), opset=18, keepdims=int(keep)))
    assert not model.slow_nodes
    found = model.run({"x0": x})["y0"]
    with np.errstate(all="ignore"):
        true = TRUE[op](x.astype(np.float64), axis=tuple(axes), keepdims=keep)
    assert found.shape == true.shape
    with np.errstate(over="ignore"):
        whole = (found == true.astype(np.float32)) | (np.abs(found - true) <= 2e-6 * np.abs(true) + 4e-6)
    whole |= (op == "ReduceProd") & (np.abs(found - true) <= 1e-4 * np.abs(true))
    assert whole.all()
    if n_rows:
        assert_same_bits(execute(model, {"x0": x}, range(n_rows)), one_by_one(model, {"x0": x}, n_rows), op)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
@pytest.mark.parametrize("axes", [[1], [2], [1, 3], [1, 2, 3]])
def test_reductions_of_integers_wrap_around(op: str, dtype: Any, axes: list[int]) -> None:
    info = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(info.min, info.max, (5, 3, 4, 6), dtype, endpoint=True)
    x[0, 0, 0, 0], x[0, 1, 1, 1] = info.min, info.max
    model = Model.load(one(op, rows(3, 4, 6, dtype=dtype), np.array(axes), opset=18, keepdims=0))
    assert not model.slow_nodes
    reduced = {"ReduceMax": np.max, "ReduceMin": np.min}.get(op)
    with np.errstate(over="ignore"):
        terms = np.abs(x) if op == "ReduceL1" else x * x if op == "ReduceSumSquare" else x
        true = (reduced(x, axis=tuple(axes)) if reduced else
                (np.prod if op == "ReduceProd" else np.sum)(terms, axis=tuple(axes), dtype=dtype))
    np.testing.assert_array_equal(model.run({"x0": x})["y0"], true)


@pytest.mark.parametrize("op", [op for op in TRUE if op != "ReduceLogSum"])
@pytest.mark.parametrize("axis", [1, 2])
def test_special_values_in_reductions_are_numpys(op: str, axis: int) -> None:
    x = np.full((7, 18, 18), 0.75, np.float32)
    x[1, 17, 17], x[2, 3, 3], x[3, 4, 4], x[4, 5, 5], x[4, 5, 4] = NAN, INF, -INF, INF, -INF
    x[5] = 1e-41
    found = Model.load(one(op, rows(18, 18), np.array([axis]), opset=18)).run({"x0": x})["y0"]
    with np.errstate(all="ignore"):
        true = TRUE[op](x.astype(np.float64), axis=axis, keepdims=True)
    if op == "ReduceLogSumExp":
        true[4] = np.where(np.isnan(true[4]), INF, true[4])
    np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-44 if op not in ("ReduceL2", "ReduceLogSumExp") else 1e-6)


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 15, 16, 17, 33, 63, 64, 81, 130])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "LayerNormalization", "Softmax"])
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_batched_rows_have_the_bits_of_single_rows(width: int, op: str, shape: tuple[int, ...]) -> None:
    """37 rows: two sixteens and five, or with three rows each six and fifteen; beside others that leave gaps between the results."""
    c = Chain(x=rows(*shape, width))
    found = (c.add(op, "x", weights(width), axis=-1) if op == "LayerNormalization" else
             c.add(op, "x", np.array([-1])) if op == "ReduceSum" else
             c.add(op, "x", axis=-1) if op == "Softmax" else c.add(op, "x", axes=[-1]))
    model = Model.load(c.model(found, c.add("Concat", found, "x", axis=-1)))
    assert op == "Softmax" or any("batched" in step.kernel for step in model.program.steps)
    given = columns(model, 37)
    given["x"] = given["x"] + np.arange(37, dtype=np.float32).reshape(-1, *[1] * (len(shape) + 1))
    assert_same_bits(execute(model, given, range(37)), one_by_one(model, given, 37), f"width {width}")


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax"])
def test_special_values_in_batched_short_rows_are_those_of_single_rows(op: str) -> None:
    rng = np.random.default_rng(0)
    kinds = np.array([0, -0.0, 1, -1, INF, -INF, NAN, 1e-42, 3e38, -3e38], np.float32)
    for width in range(1, 19):
        model = Model.load(one(op, rows(width), np.array([-1])) if op == "ReduceSum" else one(op, rows(width), axes=[-1]))
        x = rng.choice(kinds, (37, width), p=[0.2, 0.2, 0.14, 0.2, 0.02, 0.02, 0.02, 0.1, 0.05, 0.05])
        given = {"x0": x}
        assert_same_bits(execute(model, given, range(37)), one_by_one(model, given, 37), f"width {width}")


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 70), n_rows=st.sampled_from([0, 1, 3, 16]), op=st.sampled_from(["Softmax", "LogSoftmax"]),
       scale=st.sampled_from([1e-3, 1.0, 50.0]))
def test_softmax_of_any_width_follows_float64(width: int, n_rows: int, op: str, scale: float) -> None:
    x = (np.random.default_rng(width).standard_normal((n_rows, width)) * scale).astype(np.float32)
    found = Model.load(one(op, rows(width))).run({"x0": x})["y0"]
    definition = scipy.special.softmax if op == "Softmax" else scipy.special.log_softmax
    true = definition(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(found, true, rtol=2e-5 if scale > 1 else 3e-6, atol=2e-6 * max(1.0, scale) if op == "LogSoftmax" else 2e-35)
    if op == "Softmax" and n_rows:
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_softmax_makes_no_denormals() -> None:
    x = -np.linspace(0, 110, 1101, dtype=np.float32)[None]
    for n_columns in (2, 16, 17, 1101):
        found = Model.load(one("Softmax", rows(n_columns))).run({"x0": x[:, :n_columns]})["y0"]
        assert ((found == 0) | (found >= 2.0**-126)).all()
        np.testing.assert_array_equal(found == 0, x[:, :n_columns] < -80)


def test_softmax_with_masked_and_impossible_rows() -> None:
    x = np.array([[0, -INF, 0], [-1e9, -1e9, 0], [-INF, -INF, -INF], [INF, 0, 0], [NAN, 0, 0], [1e30, 1e30, 0]], np.float32)
    found = Model.load(one("Softmax", rows(3))).run({"x0": x})["y0"]
    np.testing.assert_array_equal(found[[0, 1, 5]], [[0.5, 0, 0.5], [0, 0, 1], [0.5, 0.5, 0]])
    assert np.isnan(found[[2, 3, 4]]).any(axis=1).all()


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 70), n_rows=st.sampled_from([0, 1, 13]), bias=st.booleans(), shift=st.sampled_from([0.0, 100.0]))
def test_layer_normalization_follows_float64(width: int, n_rows: int, bias: bool, shift: float) -> None:
    x = (np.random.default_rng(width).standard_normal((n_rows, width)) + shift).astype(np.float32)
    scale, b = weights(width, seed=1), weights(width, seed=2)
    found = Model.load(one("LayerNormalization", rows(width), scale, *([b] if bias else []), epsilon=1e-3)).run({"x0": x})["y0"]
    wide = x.astype(np.float64)
    center = wide - wide.mean(axis=1, keepdims=True)
    true = center / np.sqrt((center**2).mean(axis=1, keepdims=True) + 1e-3) * scale + (b if bias else 0)
    np.testing.assert_allclose(found, true, rtol=1e-4, atol=2e-3 if shift and width < 3 else 2e-4 if shift else 1e-5)


def test_arg_max_takes_the_first_of_equals_and_nan_above_all() -> None:
    x = np.array([[1, 3, 3, 0], [NAN, 5, INF, 0], [0, NAN, NAN, 9], [-INF] * 4, [0.0, -0.0, 0.0, 0.0]], np.float32)
    first = Model.load(one("ArgMax", rows(4), axis=1)).run({"x0": x})["y0"]
    last = Model.load(one("ArgMax", rows(4), axis=1, select_last_index=1)).run({"x0": x})["y0"]
    assert first.ravel().tolist() == [1, 0, 1, 0, 0]
    assert last.ravel().tolist() == [2, 0, 2, 3, 3]


def test_a_reduction_over_the_batch_runs_one_row_at_a_time_and_says_so() -> None:
    model = Model.load(one("ReduceSum", rows(3), np.array([0]), opset=18), batch_axis=0)
    assert not model.batched
    assert "batch" in model.plan().one_row


@pytest.mark.parametrize("shift", [0, 1e3, 1e4, 1e6, 3e38])
def test_the_logarithm_of_a_softmax_stays_exact_far_from_zero(shift: float) -> None:
    x = (np.float64([[0, 0.5, 1, -1], [3, 2, 3, 3]]) + shift).astype(np.float32)
    found = Model.load(one("LogSoftmax", rows(4), axis=1)).run({"x0": x})["y0"]
    np.testing.assert_allclose(found, scipy.special.log_softmax(x.astype(np.float64), axis=1), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("op", list(TRUE))
@pytest.mark.parametrize("number", [-5, 3])
def test_a_scalar_is_reduced_too(op: str, number: float) -> None:
    c = Chain(x=In((1, 3)))
    model = Model.load(c.model(c.add(op, c.add("ReduceMax", "x", keepdims=0), keepdims=0)))
    assert not model.slow_nodes
    found = next(iter(model.run({"x": np.full((1, 3), number, np.float32)}).values()))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found.reshape(()), TRUE[op](np.float64(number)), rtol=1e-6)
