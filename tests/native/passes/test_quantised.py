"""Quantised files against ONNX's definition on integers: every number is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_cases.quantised import I8, I32, U8, integers
from native_graphs import Chain, In, one, rows, weights
from native_oracle import foreign
from native_rows import assert_same_bits, execute, one_by_one

from cervello.errors import GraphError
from cervello.native import Model
from cervello.native.passes.decompositions.quantisation import split_terms

Array = np.ndarray[Any, Any]
KINDS = ("uint8", "int8", "uint16", "int16")
SIZES = st.sampled_from([1, 2, 7, 15, 16, 17, 33])


def quantised(x: Array, scale: Array, zero: Array, multiplied: bool = False) -> Array:
    """saturate(round(x / scale) + zero): the quotient in float32, all else exact; NaN gives the least number."""
    info = np.iinfo(zero.dtype)
    with np.errstate(all="ignore"):
        quotient = (x * scale if multiplied else x / scale).astype(np.float64)
    rounded = np.where(np.isnan(quotient), -np.inf, np.rint(quotient)) + zero.astype(np.float64)
    return np.clip(rounded, info.min, info.max).astype(zero.dtype)


def planned(proto: onnx.ModelProto, **options: Any) -> Model:
    model = Model.load(proto, **options)
    assert not model.slow_nodes
    assert model.batched
    return model


def only(found: Any) -> Array:
    (result,) = found.values()
    return np.asarray(result)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), n_rows=st.sampled_from([0, 1, 2, 9]), width=SIZES, by_column=st.booleans(), seed=st.integers(0, 99))
def test_quantisation_is_exact(kind: str, n_rows: int, width: int, by_column: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (width,) if by_column else ()
    scale = np.exp2(random.integers(-9, 3, shape)).astype(np.float32)
    zero = random.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, shape).astype(kind)
    x = (random.integers(-600, 600, (n_rows, width)) / 2 * scale).astype(np.float32)  # half of them ties
    found = only(planned(one("QuantizeLinear", rows(width), scale, zero, axis=1, opset=21)).run({"x0": x}))
    np.testing.assert_array_equal(found, quantised(x, scale, zero))
    assert found.dtype == zero.dtype
    back = only(planned(one("DequantizeLinear", rows(width, dtype=np.dtype(kind)), scale, zero, axis=-1, opset=21)).run({"x0": found}))
    np.testing.assert_array_equal(back, (found.astype(np.int64) - zero.astype(np.int64)).astype(np.float32) * scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edge", ["min", "max", "middle"])
def test_strange_numbers_saturate(kind: str, edge: str) -> None:
    info = np.iinfo(kind)
    zero = np.array({"min": info.min, "max": info.max, "middle": (info.min + info.max) // 2}[edge], kind)
    x = np.array([[np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -1e-45, 0.0, -0.0, 1.5, 2.5, -0.5, 65535.5, -32768.5]], np.float32)
    for scale in (np.float32(1), np.float32(1e-45), np.float32(3e38), np.float32(0), np.float32(0.3)):
        found = only(planned(one("QuantizeLinear", rows(x.shape[1]), scale, zero, opset=21)).run({"x0": x}))
        np.testing.assert_array_equal(found, quantised(x, scale, zero))


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
def test_every_opset_quantises_alike(opset: int) -> None:
    x = weights(5, 9, scale=3.0)
    c = Chain(opset=opset, x=rows(9))
    q = c.add("QuantizeLinear", "x", np.float32(0.02), np.uint8(128))
    model = planned(c.model(q, c.add("DequantizeLinear", q, np.float32(0.02), np.uint8(128))))
    found, back = model.run({"x": x}).values()
    np.testing.assert_array_equal(found, quantised(x, np.float32(0.02), np.array(128, np.uint8)))
    np.testing.assert_array_equal(back, (found.astype(np.float32) - 128) * np.float32(0.02))
    for name, expected in foreign(c.model(q), {"x": x}).items():
        np.testing.assert_array_equal(model.run({"x": x})[name], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("other", ["", "scale", "zero"])
def test_what_is_dequantised_at_once_has_the_numbers_of_two_passes(kind: str, by_column: bool, other: str) -> None:
    """Where scale and zero point are the same, it is one pass."""
    shape = (19,) if by_column else ()
    scale, zero = np.abs(weights(*shape)).reshape(shape) + np.float32(0.01), integers(kind, *shape)
    scale_back = scale * np.float32(0.5) if other == "scale" else scale
    zero_back = (zero // 2).astype(kind) if other == "zero" else zero
    c = Chain(opset=21, x=rows(19))
    model = planned(c.model(c.add("DequantizeLinear", c.add("QuantizeLinear", "x", scale, zero), scale_back, zero_back)))
    assert len(model.program.steps) == (2 if other else 1)
    x = weights(7, 19, scale=200.0)
    x[0, :5] = np.nan, np.inf, -np.inf, -0.0, -1e-9
    found = only(model.run({"x": x}))
    expected = (quantised(x, scale, zero).astype(np.int64) - zero_back.astype(np.int64)).astype(np.float32) * scale_back
    assert found.tobytes() == expected.astype(np.float32).tobytes()


def test_channels_in_the_middle_have_their_own_scales() -> None:
    x, scale, zero = weights(2, 4, 7, scale=3.0), np.abs(weights(4)), integers(I8, 4)
    found = only(planned(one("QuantizeLinear", rows(4, 7), scale, zero, opset=13)).run({"x0": x}))
    np.testing.assert_array_equal(found, quantised(x, scale[:, None], zero[:, None]))


def test_without_a_zero_point_the_type_is_uint8_or_as_asked() -> None:
    x = weights(3, 5, scale=40.0)
    assert only(planned(one("QuantizeLinear", rows(5), np.float32(0.5))).run({"x0": x})).dtype == np.uint8
    proto = one("QuantizeLinear", rows(5), np.float32(0.5), output_dtype=onnx.TensorProto.INT16, opset=21)
    np.testing.assert_array_equal(only(planned(proto).run({"x0": x})), quantised(x, np.float32(0.5), np.array(0, np.int16)))


def test_int32_is_dequantised_with_one_rounding_before_the_scale() -> None:
    q = np.array([[2**24 + 1, -2**31, 2**31 - 1, 0, 7]], np.int32)
    found = only(planned(one("DequantizeLinear", rows(5, dtype=I32), np.float32(0.37))).run({"x0": q}))
    np.testing.assert_array_equal(found, q.astype(np.float32) * np.float32(0.37))


# Integer products -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(a=st.sampled_from(KINDS[:2]), b=st.sampled_from(KINDS[:2]), k=st.sampled_from([1, 2, 17, 258, 259, 700]), width=SIZES,
       n_rows=st.sampled_from([0, 1, 5]), extreme=st.booleans(), computed=st.booleans())
def test_integer_products_are_exact(a: str, b: str, k: int, width: int, n_rows: int, extreme: bool, computed: bool) -> None:
    x, w = integers(a, n_rows, 2, k), integers(b, k, width)
    if extreme:  # sums as far from zero as they can be
        x, w = np.full_like(x, np.iinfo(a).max), np.full_like(w, np.iinfo(b).max)
    a_zero, b_zero = np.array(np.iinfo(a).min, a), np.full(width, np.iinfo(b).min, b) if extreme else integers(b, width, seed=1)
    right: Any = rows(k, width, dtype=np.dtype(b)) if computed else w
    model = planned(one("MatMulInteger", rows(2, k, dtype=np.dtype(a)), right, a_zero, b_zero))
    given_arrays = {"x0": x} | ({"x1": np.repeat(w[None], n_rows, 0)} if computed else {})
    found = model.run(given_arrays)["y0"]
    expected = (x.astype(np.int64) - np.int64(a_zero)) @ (w.astype(np.int64) - b_zero.astype(np.int64))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_sums_beyond_int32_wrap_around() -> None:
    k = 34_000
    model = planned(one("MatMulInteger", rows(k, dtype=U8), np.full((k, 1), 255, np.uint8)))
    found = only(model.run({"x0": np.full((1, k), 255, np.uint8)}))
    assert found.tolist() == [[k * 255 * 255 - 2**32]]


def test_products_of_no_terms_or_columns_are_zero_or_empty() -> None:
    for k, width in ((0, 3), (3, 0)):
        model = planned(one("MatMulInteger", rows(k, dtype=U8), np.zeros((k, width), np.uint8)))
        found = only(model.run({"x0": np.zeros((2, k), np.uint8)}))
        assert found.shape == (2, width)
        assert not found.any()


def test_vectors_have_a_product_of_one_number() -> None:
    one_scale = np.array([0.5], np.float32)
    proto = one("QLinearMatMul", In(("N", 1, 4), U8), one_scale, np.uint8(0), np.full(4, 2, np.int8), one_scale, np.array([0], np.int8),
                one_scale, np.uint8(3))
    found = only(planned(proto).run({"x0": np.full((2, 1, 4), 6, np.uint8)}))
    assert found.tolist() == [[27], [27]]


def test_a_left_operand_may_have_a_zero_point_for_each_row() -> None:
    x, w, zero = integers(U8, 4, 3, 5), integers(I8, 5, 6), np.array([[[1], [255], [7]]], np.uint8)
    found = only(planned(one("MatMulInteger", rows(3, 5, dtype=U8), w, zero)).run({"x0": x}))
    np.testing.assert_array_equal(found, (x.astype(np.int64) - zero) @ w.astype(np.int64))


def test_stretches_hold_no_sum_above_the_most() -> None:
    terms = np.array([[3, 0], [3, 1], [3, 9], [1, 1], [20, 0], [1, 1]])
    assert split_terms(terms, 9) == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    assert split_terms(np.zeros((0, 2), np.int64), 9) == [(0, 0)]


@pytest.mark.parametrize(("k", "a", "b"), [(1, "uint8", "uint8"), (9, "uint8", "int8"), (40, "int8", "int8"), (700, "uint8", "uint8")])
def test_qlinear_matmul_is_exact(k: int, a: str, b: str) -> None:
    x, w = integers(a, 6, k), integers(b, k, 7)
    a_zero, b_zero, y_zero = np.array(7, a), integers(b, 7, seed=3), np.array(100, a)
    sums = (x.astype(np.int64) - np.int64(a_zero)) @ (w.astype(np.int64) - b_zero.astype(np.int64))
    a_scale, b_scale, y_scale = np.float32(0.5), np.abs(weights(7)), np.float32(np.abs(sums).max() / 400)
    proto = one("QLinearMatMul", rows(k, dtype=np.dtype(a)), a_scale, a_zero, w, b_scale, b_zero, y_scale, y_zero)
    model = planned(proto)
    expected = quantised(sums.astype(np.float32), a_scale * b_scale / y_scale, y_zero, multiplied=True)
    found = only(model.run({"x0": x}))
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 3
    if a == b:  # onnxruntime saturates sums of two products of uint8 and int8 on CPUs without VNNI
        np.testing.assert_array_equal(found, only(foreign(proto, {"x0": x})))


def test_a_tie_of_a_requantisation_goes_to_the_even_number_before_the_zero_point_is_added() -> None:
    x = np.array([[1], [3], [5]], np.uint8)
    half = one("QLinearMatMul", rows(1, dtype=U8), np.float32(0.5), np.uint8(0), np.ones((1, 1), np.uint8), np.float32(1), np.uint8(0),
               np.float32(1), np.uint8(1))
    assert only(planned(half).run({"x0": x})).tolist() == [[1], [3], [3]]


def _convolved(x: Array, w: Array, groups: int) -> Array:
    """With pads of 1 on all sides, int64; [N, C, H, W] with [F, C / groups, 3, 3]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    parts = [np.einsum("nchwij,fcij->nfhw", part, filters) for part, filters in zip(
        np.split(views, groups, 1), np.split(w, groups), strict=True)]
    return np.concatenate(parts, 1)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (4, 2), (4, 4), (100, 1), (200, 2)])
@pytest.mark.parametrize("biased", [False, True])
def test_integer_convolutions_are_exact(kind: str, channels: int, groups: int, biased: bool) -> None:
    x, w = integers(kind, 3, channels, 4, 5), integers(kind, 4, channels // groups, 3, 3)
    bias = integers(I32, 4) if biased else None
    x_zero, w_zero, y_zero = np.array(100, kind), integers(kind, 4, seed=1), np.array(17, kind)
    picture, options = rows(channels, 4, 5, dtype=np.dtype(kind)), {"pads": [1, 1, 1, 1], "group": groups}
    sums = _convolved(x.astype(np.int64) - 100, w.astype(np.int64) - w_zero.astype(np.int64).reshape(-1, 1, 1, 1), groups)
    model = planned(one("ConvInteger", picture, w, x_zero, w_zero, **options))
    np.testing.assert_array_equal(only(model.run({"x0": x})), sums)
    if bias is not None:
        sums = (sums + bias.reshape(-1, 1, 1)).astype(np.int32)
    scale, y_scale = np.abs(weights(4)), np.float32(np.abs(sums).max() / 100)
    more = [] if bias is None else [bias]
    proto = one("QLinearConv", picture, np.float32(0.5), x_zero, w, scale, w_zero, y_scale, y_zero, *more, **options)
    factor = np.float32(0.5) * scale.reshape(-1, 1, 1) / y_scale
    expected = quantised(sums.astype(np.float32), factor, y_zero, multiplied=True)
    np.testing.assert_array_equal(only(planned(proto).run({"x0": x})), expected)


def test_pooled_bytes_are_the_largest() -> None:
    x = integers(I8, 3, 2, 4, 4)
    found = only(planned(one("MaxPool", rows(2, 4, 4, dtype=I8), kernel_shape=[2, 2], strides=[2, 2])).run({"x0": x}))
    np.testing.assert_array_equal(found, x.reshape(3, 2, 2, 2, 2, 2).max((3, 5)))


# Dynamic quantisation ---------------------------------------------------------------------------------------------------


def dynamic(x: Array) -> tuple[Array, Any, Any]:
    """ONNX's definition for one tensor, in float32."""
    most, least = np.float32(max(0, x.max(initial=0))), np.float32(min(0, x.min(initial=0)))
    scale = np.float32(1) if most == least else np.float32((most - least) / np.float32(255))
    zero = quantised(np.asarray(-least), scale, np.array(0, np.uint8))
    return quantised(x, scale, zero), scale, zero


def _dynamic_layer(shape: tuple[int | str, ...]) -> tuple[onnx.ModelProto, Array]:
    w = integers(I8, int(shape[-1]), 7)
    c = Chain(x=In(shape))
    q, scale, zero = c.add("DynamicQuantizeLinear", "x", outputs=3)
    sums = c.add("MatMulInteger", q, w, zero)
    return c.model(c.add("Mul", c.add("Cast", sums, to=1), scale)), w


@pytest.mark.parametrize("shape", [("N", 17), ("N", 3, 17), (1, 17), (1, 3, 17), (17,), (3, 17)], ids=str)
def test_each_row_of_a_batch_is_quantised_by_its_own_range(shape: tuple[int | str, ...]) -> None:
    proto, w = _dynamic_layer(shape)
    model = planned(proto)
    x = weights(6, *model.inputs["x"].shape, scale=2.0)
    x[1], x[2], x[3], x[4, ..., 0] = 0, np.abs(x[2]), -np.abs(x[3]), 1e30
    found = only(model.run({"x": x}))
    for row in range(6):
        q, scale, zero = dynamic(x[row])
        sums = (q.astype(np.int64) - np.int64(zero)) @ w.astype(np.int64)
        np.testing.assert_array_equal(found[row].reshape(sums.shape), sums.astype(np.float32) * scale)
        np.testing.assert_array_equal(found[row], only(model.run({"x": x[row:row + 1]}))[0])


def test_a_range_of_one_row_does_not_reach_another() -> None:
    proto, _ = _dynamic_layer(("N", 17))
    model = planned(proto)
    calm = {"x": weights(5, 17)}
    wild = {"x": calm["x"].copy()}
    wild["x"][2] = [np.nan, np.inf, *[1e38] * 15]
    before, after = only(model.run(calm)), only(model.run(wild))
    assert before[[0, 1, 3, 4]].tobytes() == after[[0, 1, 3, 4]].tobytes()
    assert_same_bits(execute(model, wild, range(5)), one_by_one(model, wild, 5), "one by one")


def test_rows_that_share_an_axis_with_others_run_one_at_a_time() -> None:
    """An agent's three vectors have one range, which the axis they share with other agents does not show."""
    c = Chain(x=rows(3, 4))
    flat = c.add("Reshape", "x", np.array([-1, 4]))
    q, scale, zero = c.add("DynamicQuantizeLinear", flat, outputs=3)
    back = c.add("DequantizeLinear", q, scale, zero)
    proto = c.model(c.add("Reshape", back, np.array([-1, 3, 4])))
    x = weights(5, 3, 4)
    model = Model.load(proto)
    found = only(model.run({"x": x}))
    for row in range(5):
        q_row, s, z = dynamic(x[row])
        np.testing.assert_array_equal(found[row], (q_row.astype(np.float32) - np.float32(z)) * s)


# What does not fit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("proto", "message"), [
    (one("QuantizeLinear", rows(5), np.ones(4, np.float32)), "expected one scale, or 5 along axis 1, got"),
    (one("QuantizeLinear", rows(5), np.ones(5, np.float32), np.zeros(4, np.uint8)), "expected zero points of shape"),
    (one("DequantizeLinear", rows(5, dtype=U8), np.ones((5, 1), np.float32)), "expected one scale, or 5 along axis 1, got"),
    (one("MatMulInteger", rows(5, dtype=U8), integers(I8, 4, 3)), "expected equal inner sizes"),
    (one("MatMulInteger", rows(5, dtype=U8), integers(I8, 5, 3), np.uint8(0), integers(I8, 4)), "expected b_zero_point of shape"),
    (one("ConvInteger", rows(3, 5, 5, dtype=U8), integers(I8, 4, 3, 3, 3), np.uint8(0), integers(I8, 3)), "expected one number or 4 as"),
    (one("QLinearConv", rows(3, 5, 5, dtype=U8), np.float32(1), np.uint8(0), integers(I8, 4, 3, 3, 3), np.ones(3, np.float32),
         np.zeros(3, np.int8), np.float32(1), np.uint8(0)), "expected one number or 4 as w_scale")], ids=lambda value: str(value)[:40])
def test_scales_and_zero_points_that_do_not_fit_are_refused(proto: onnx.ModelProto, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Model.load(proto)
