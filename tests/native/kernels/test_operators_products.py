"""Products against numpy in float64, at any shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_graphs import Chain, In, one, rows, weights
from native_rows import assert_same_bits, execute, one_by_one

from cervello.native import Model

SIZES = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 95, 96, 97, 128, 129, 200]))


def _error_bound(a: Any, w: Any) -> Any:
    """The error bound of a float32 sum of k products: k + 2 roundings of the sum of the terms' magnitudes."""
    return (a.shape[-1] + 2) * 2.0**-24 * (np.abs(a.astype(np.float64)) @ np.abs(w.astype(np.float64))) + 1e-44


@settings(max_examples=60, deadline=None)
@given(k=SIZES, width=SIZES, n_rows=st.sampled_from([0, 1, 2, 3, 7, 12, 13, 30, 49]), bias=st.booleans())
def test_gemm_of_any_shape_stays_within_the_rounding_bound(k: int, width: int, n_rows: int, bias: bool) -> None:
    w, b = weights(k, width), weights(width, seed=1)
    x = np.random.default_rng(k).standard_normal((n_rows, k)).astype(np.float32)
    model = Model.load(one("Gemm", rows(k), w, *([b] if bias else [])))
    found = model.run({"x0": x})["y0"]
    true = x.astype(np.float64) @ w + (b if bias else 0)
    assert found.shape == (n_rows, width)
    assert (np.abs(found - true) <= _error_bound(x, w) + 2.0**-23 * np.abs(true) + 2.0**-23).all()
    if n_rows:
        given_rows = {"x0": x}
        assert_same_bits(execute(model, given_rows, range(n_rows)), one_by_one(model, given_rows, n_rows), f"{k} x {width}")


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 14), k=SIZES, width=SIZES, heads=st.integers(1, 3), n_rows=st.sampled_from([1, 2, 5]))
def test_computed_products_of_any_shape_stay_within_the_rounding_bound(m: int, k: int, width: int, heads: int, n_rows: int) -> None:
    random = np.random.default_rng(m * k)
    a = random.standard_normal((n_rows, heads, m, k)).astype(np.float32)
    b = random.standard_normal((n_rows, heads, k, width)).astype(np.float32)
    model = Model.load(one("MatMul", rows(heads, m, k), rows(heads, k, width)))
    assert not model.slow_nodes
    found = model.run({"x0": a, "x1": b})["y0"]
    true = a.astype(np.float64) @ b
    bound = (k + 2) * 2.0**-24 * (np.abs(a.astype(np.float64)) @ np.abs(b)) + 1e-44
    assert (np.abs(found - true) <= bound).all()


@pytest.mark.parametrize("k", [1, 7, 8, 9, 33])
@pytest.mark.parametrize("width", [1, 31, 33, 97])
def test_nan_and_infinity_reach_exactly_the_row_they_are_in(k: int, width: int) -> None:
    w = np.abs(weights(k, width)) + np.float32(0.1)
    model = Model.load(one("Gemm", rows(k), w))
    x = np.ones((14, k), np.float32)
    x[3, 0], x[5, -1], x[9, 0] = np.nan, np.inf, -np.inf
    found = model.run({"x0": x})["y0"]
    assert np.isnan(found[3]).all()
    assert (found[5] == np.inf).all()
    assert (found[9] == -np.inf).all()
    assert np.isfinite(np.delete(found, [3, 5, 9], axis=0)).all()


def test_huge_and_denormal_numbers() -> None:
    model = Model.load(one("Gemm", rows(2), np.array([[1e30, 1e-30], [1e30, 1e-30]], np.float32)))
    found = model.run({"x0": np.array([[1e30, -1e30], [1e30, 1e30], [1e-10, 1e-10], [0, 0]], np.float32)})["y0"]
    with np.errstate(over="ignore"):
        assert np.isnan(found[0, 0]) or np.isinf(found[0, 0])  # inf - inf
        assert found[1, 0] == np.inf
    np.testing.assert_allclose(found[2], [2e20, 2e-40], rtol=1e-5)
    assert found[3].tolist() == [0, 0]


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "Elu", "Softplus", "Clip"])
def test_a_fused_activation_gives_the_bits_of_the_op_alone(activation: str) -> None:
    w, b = weights(9, 21), weights(21, seed=1)
    extra = [np.float32(-0.2), np.float32(0.3)] if activation == "Clip" else []
    fused, parts = Chain(x=rows(9)), Chain(x=rows(9))
    fused_model = Model.load(fused.model(fused.add(activation, fused.add("Gemm", "x", w, b), *extra)))
    product = parts.add("Gemm", "x", w, b)
    split_model = Model.load(parts.model(parts.add(activation, product, *extra), product))
    assert fused_model.plan().fused == 1
    assert split_model.plan().fused == 0
    x = np.random.default_rng(0).standard_normal((15, 9)).astype(np.float32)
    (one_kernel,) = fused_model.run({"x": x}).values()
    two_kernels = next(iter(split_model.run({"x": x}).values()))
    np.testing.assert_array_equal(one_kernel.view(np.int32), two_kernels.view(np.int32))


def test_a_product_read_twice_is_not_fused() -> None:
    c = Chain(x=rows(4))
    h = c.dense("x", 4, 4)
    model = Model.load(c.model(c.add("Add", c.add("Relu", h), h)))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    w, b = (c.constants[name] for name in ("c0", "c1"))
    product = x @ w + b
    np.testing.assert_allclose(next(iter(model.run({"x": x}).values())), np.maximum(product, 0) + product, rtol=1e-5, atol=1e-6)


def test_bias_added_by_a_node_of_its_own_is_fused() -> None:
    c = Chain(x=rows(4))
    model = Model.load(c.model(c.add("Tanh", c.add("Add", weights(6), c.add("MatMul", "x", weights(4, 6))))))
    assert model.plan().fused == 2
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(next(iter(model.run({"x": x}).values())), np.tanh(x @ weights(4, 6) + weights(6)), rtol=1e-5)


@pytest.mark.parametrize("k", [1, 7, 64, 257])
def test_a_vector_that_all_rows_share_is_multiplied_row_by_row(k: int) -> None:
    c = Chain(x=rows(k), q=In((k,)))
    model = Model.load(c.model(c.add("MatMul", c.add("Tanh", "x"), "q")))
    assert model.batched
    assert not model.slow_nodes
    random = np.random.default_rng(k)
    x, q = random.standard_normal((9, k)).astype(np.float32), random.standard_normal(k).astype(np.float32)
    (found,) = model.run({"x": x, "q": q}).values()
    np.testing.assert_allclose(found, np.tanh(x.astype(np.float64)) @ q, rtol=1e-5, atol=1e-5)
    for i in range(9):
        (alone,) = model.run({"x": x[i:i + 1], "q": q}).values()
        assert alone[0] == found[i]
