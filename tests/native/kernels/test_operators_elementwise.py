"""Elementwise ops against numpy in float64: special values, denormals, huge numbers, any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from native_graphs import BOOL, I64, Chain, one, rows
from onnx import TensorProto

from cervello.native import Model
from cervello.native.graph.op_table import UNARY_FLOATS

INF, NAN = np.inf, np.nan
SPECIAL = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-40, -1e-40, 1e-30, -1e-30, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.5, -2.5, 3.0, -3.0,
                    20.0, -20.0, 90.0, -90.0, 1e6, 1e15, -1e15, 1e30, -1e30, INF, -INF, NAN, 0.25, -0.25, 7.0], np.float32)


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x < 0, alpha * np.expm1(x), x)


def _selu(x: Any) -> Any:
    alpha, gamma = (float(np.float32(v)) for v in (1.67326319217681884765625, 1.05070102214813232421875))
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) if np.ndim(x) else x))


def _keep(x: Any, y: Any) -> Any:
    return np.where(np.isnan(x), x, y)


TRUE: dict[str, Callable[[Any], Any]] = {
    "Relu": lambda x: np.maximum(x, 0), "Tanh": np.tanh, "Sigmoid": scipy.special.expit, "Exp": np.exp, "Log": np.log,
    "Gelu": lambda x: 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2))),
    "Erf": scipy.special.erf, "Softplus": lambda x: np.logaddexp(x, 0), "Sin": np.sin, "Cos": np.cos,
    "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh, "Cosh": np.cosh, "Asinh": np.arcsinh,
    "Acosh": np.arccosh, "Atanh": np.arctanh,
    "Mish": lambda x: np.where(x == -INF, 0.0, x * np.tanh(np.logaddexp(x, 0))), "Sqrt": np.sqrt, "Abs": np.abs, "Floor": np.floor,
    "Ceil": np.ceil, "Round": np.rint, "Neg": np.negative, "Reciprocal": lambda x: 1 / x,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1), "Sign": np.sign, "Softsign": lambda x: x / (1 + np.abs(x)),
    "Clip": lambda x: x, "LeakyRelu": lambda x: np.where(x < 0, float(np.float32(0.01)) * x, x), "Elu": _elu,
    "Celu": lambda x: _keep(x, np.maximum(x, 0) + np.minimum(0, np.expm1(x))), "Swish": lambda x: x * scipy.special.expit(x),
    "Selu": _selu, "HardSigmoid": lambda x: np.clip(float(np.float32(0.2)) * x + 0.5, 0, 1),
    "ThresholdedRelu": lambda x: _keep(x, np.where(x > 1, x, 0))}
_OPSETS = {"Gelu": 20, "Mish": 18, "Swish": 24}


def _assert_close(found: Any, true: Any, x: Any, relative: float = 2e-6, absolute: float = 1e-44) -> None:
    with np.errstate(all="ignore"):
        expected = true.astype(np.float32)
        error = np.abs(found.astype(np.float64) - true)
        near = error <= relative * np.abs(true) + absolute
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    bad = ~(near | same)
    assert not bad.any(), f"at {x[bad][:5]}: {found[bad][:5]} for {true[bad][:5]}"


def test_every_unary_op_has_a_definition_here() -> None:
    assert set(TRUE) == set(UNARY_FLOATS)


@pytest.mark.parametrize("op", UNARY_FLOATS)
def test_unary_ops_follow_float64_over_special_and_usual_values(op: str) -> None:
    usual = np.random.default_rng(1).uniform(-30, 30, 20_000).astype(np.float32)
    x = np.concatenate([SPECIAL, usual])[:20_000 // 8 * 8].reshape(-1, 8)
    found = Model.load(one(op, rows(8), opset=_OPSETS.get(op, 17))).run({"x0": x})["y0"]
    with np.errstate(all="ignore"):
        _assert_close(found, TRUE[op](x.astype(np.float64)), x, 4e-6, 1e-6 if op.startswith(("Hard", "Gelu")) else 1e-44)


@pytest.mark.parametrize("op", ["Relu", "Clip", "LeakyRelu", "Tanh", "Abs", "Neg", "Floor", "Sign", "ThresholdedRelu"])
def test_denormals_and_nan_pass_through(op: str) -> None:
    x = np.array([[1e-45, 1e-40, NAN, -1e-40]], np.float32)
    found = Model.load(one(op, rows(4))).run({"x0": x})["y0"][0]
    assert np.isnan(found[2])
    assert (found[:2] > 0).all() or op in ("Neg", "Floor", "ThresholdedRelu")


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Max": np.maximum, "Min": np.minimum, "Pow": np.power,
    "PRelu": lambda a, b: np.where(a < 0, a * b, a), "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "Equal": np.equal}


@pytest.mark.parametrize("op", _BINARY)
def test_binary_ops_follow_float64_over_all_pairs_of_special_values(op: str) -> None:
    a, b = (np.ascontiguousarray(m.reshape(-1, 33)) for m in np.meshgrid(SPECIAL, SPECIAL))
    found = Model.load(one(op, rows(33), rows(33))).run({"x0": a, "x1": b})["y0"]
    with np.errstate(all="ignore"):
        true = _BINARY[op](a.astype(np.float64), b.astype(np.float64))
    if found.dtype == bool:
        np.testing.assert_array_equal(found, true)
    else:
        _assert_close(found, true, np.broadcast_to(a, found.shape))


_SMALL = st.integers(1, 5)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_rows=st.integers(0, 9), op=st.sampled_from(["Add", "Sub", "Mul", "Max"]))
def test_broadcasting_is_numpys(data: Any, n_rows: int, op: str) -> None:
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=3, min_side=1, max_side=19))
    a_shape, b_shape = shapes.input_shapes
    if len(a_shape) < len(shapes.result_shape):
        a_shape = (1,) * (len(shapes.result_shape) - len(a_shape)) + a_shape
    random = np.random.default_rng(0)
    b = random.standard_normal(b_shape).astype(np.float32)
    a = random.standard_normal((n_rows, *a_shape)).astype(np.float32)
    for model, expected in ((one(op, rows(*a_shape), b), _BINARY[op](a, b)), (one(op, b, rows(*a_shape)), _BINARY[op](b, a))):
        loaded = Model.load(model)
        assert not loaded.slow_nodes
        (found,) = loaded.run({next(iter(loaded.inputs)): a}).values()
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("target", [TensorProto.INT64, TensorProto.INT32])
def test_floats_saturate_when_they_become_integers_and_nan_becomes_zero(target: int) -> None:
    x = np.array([[0.9, -0.9, 1e30, -1e30, INF, -INF, NAN, 2147483648.0, -2147483648.0]], np.float32)
    found = Model.load(one("Cast", rows(9), to=target)).run({"x0": x})["y0"][0]
    low, high = np.iinfo(found.dtype).min, np.iinfo(found.dtype).max
    wide = found.dtype == np.int64
    assert found.tolist() == [0, 0, high, low, high, low, 0, 2**31 if wide else high, -(2**31)]


def test_nan_is_true_when_it_becomes_a_bool() -> None:
    found = Model.load(one("Cast", rows(3), to=TensorProto.BOOL)).run({"x0": np.array([[NAN, 0.0, -0.0]], np.float32)})["y0"]
    assert found.tolist() == [[True, False, False]]


def test_where_takes_no_nan_from_the_side_not_chosen() -> None:
    model = Model.load(one("Where", rows(3, dtype=BOOL), rows(3), rows(3)))
    found = model.run({"x0": np.array([[True, False, True]]), "x1": np.array([[1, NAN, 2]], np.float32),
                       "x2": np.array([[NAN, 5, INF]], np.float32)})["y0"]
    assert found.tolist() == [[1, 5, 2]]


def test_int64_arithmetic_wraps_as_numpys() -> None:
    a, b = np.array([[2**62, -5, 7]]), np.array([[2**62, 3, -7]])
    for op in ("Add", "Sub", "Mul", "Max", "Min"):
        found = Model.load(one(op, rows(3, dtype=I64), rows(3, dtype=I64))).run({"x0": a, "x1": b})["y0"]
        np.testing.assert_array_equal(found, _BINARY[op](a, b))


def test_an_operand_read_again_later_is_not_overwritten() -> None:
    c = Chain(x=rows(7))
    h = c.add("Tanh", "x")
    a = c.add("Neg", h)
    b = c.add("Add", h, a)
    model = Model.load(c.model(c.add("Mul", a, h), b, h))
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    product, total, kept = model.run({"x": x}).values()
    np.testing.assert_allclose(kept, np.tanh(x), rtol=1e-6)
    np.testing.assert_array_equal(product, -kept * kept)
    assert not total.any()


def test_a_value_and_its_transpose_in_one_node() -> None:
    c = Chain(x=rows(6, 6))
    h = c.add("Exp", "x")
    model = Model.load(c.model(c.add("Sub", h, c.add("Transpose", h, perm=[0, 2, 1]))))
    x = np.random.default_rng(0).standard_normal((3, 6, 6)).astype(np.float32)
    (found,) = model.run({"x": x}).values()
    np.testing.assert_allclose(found, np.exp(x) - np.exp(x).transpose(0, 2, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("given", "expected"), [
    ({"detect_negative": 1, "detect_positive": 1}, [False, True, True, False, False]),
    ({"detect_negative": 0}, [False, True, False, False, False]), ({"detect_positive": 0}, [False, False, True, False, False])])
def test_infinities_count_by_their_sign(given: dict[str, int], expected: list[bool]) -> None:
    x = np.array([[NAN, np.inf, -np.inf, 3e38, 1e-45]], np.float32)
    model = Model.load(one("IsInf", rows(5), **given))
    assert not model.slow_nodes
    assert model.run({"x0": x})["y0"].tolist() == [expected]
    assert Model.load(one("IsNaN", rows(5))).run({"x0": x})["y0"].tolist() == [[True, False, False, False, False]]


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_integers_are_clipped_on_the_sides_that_are_given(dtype: Any) -> None:
    x = np.array([[np.iinfo(dtype).min, -5, 0, 5, np.iinfo(dtype).max]], dtype)
    for low, high in ((None, 3), (-2, None), (-2, 3), (3, -2)):
        bounds = [None if bound is None else np.array(bound, dtype) for bound in (low, high)]
        model = Model.load(one("Clip", rows(5, dtype=dtype), *bounds))
        assert not model.slow_nodes
        expected = np.minimum(np.maximum(x, x.min() if low is None else low), x.max() if high is None else high)
        np.testing.assert_array_equal(model.run({"x0": x})["y0"], expected)


@pytest.mark.parametrize("source", [np.float32, np.float64])
@pytest.mark.parametrize("target", [np.uint8, np.int8])
def test_floats_saturate_in_small_integers_too(source: Any, target: Any) -> None:
    x = np.array([[NAN, np.inf, -np.inf, 300.7, -300.7, -1.5, 100.9]], source)
    model = Model.load(one("Cast", rows(7, dtype=source), to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(target))))
    assert not model.slow_nodes
    info = np.iinfo(target)
    expected = [0, info.max, info.min, info.max, info.min, max(-1, info.min), 100]
    assert model.run({"x0": x})["y0"].tolist() == [expected]
