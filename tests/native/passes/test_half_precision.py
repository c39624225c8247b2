"""float16 and bfloat16: casts of every number, and ops that are computed in float32 and rounded once, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import Chain, In, one, rows, weights
from native_rows import assert_same_bits, execute, one_by_one

from cervello.native import Model

Array = np.ndarray[Any, Any]
F16 = np.dtype(np.float16)
BF16 = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16))
KINDS = {F16: onnx.TensorProto.FLOAT16, BF16: onnx.TensorProto.BFLOAT16}
PRECISION = {F16: 2.0**-10, BF16: 2.0**-7}  # of a result of magnitude 1, and half of it lost before


def _planned(proto: onnx.ModelProto) -> Model:
    model = Model.load(proto)
    assert not model.slow_nodes
    return model


def _cast(x: Array, dtype: Any) -> Array:
    to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    found: Array = _planned(one("Cast", rows(1, dtype=x.dtype), to=to)).run({"x0": x[:, None]})["y0"][:, 0]
    return found


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_every_number_of_16_bits_is_cast_exactly(dtype: Any) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    wide = every.astype(np.float32)
    np.testing.assert_array_equal(_cast(every, np.float32), wide)
    np.testing.assert_array_equal(_cast(every, bool), wide != 0)
    np.testing.assert_array_equal(_cast(wide, dtype).astype(np.float32), wide)
    small = every[np.abs(wide) < 1e9]
    np.testing.assert_array_equal(_cast(small, np.int64), small.astype(np.float32).astype(np.int64))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_casts_to_16_bits_round_to_nearest_and_ties_to_even(dtype: Any) -> None:
    random = np.random.default_rng(0)
    every = np.arange(0x7F80, dtype=np.uint16).view(dtype).astype(np.float32)
    with np.errstate(invalid="ignore"):
        between = (every[:-1].astype(np.float64) + every[1:].astype(np.float64)) / 2
    some = np.concatenate([
        random.integers(0, 1 << 32, 50_000, dtype=np.uint32).view(np.float32), between[np.isfinite(between)].astype(np.float32),
        np.float32([65504, 65519.99, 65520, 2**-24, 2**-25, 2**-25 * 1.0001, 2**-14 * 0.9999, np.inf, -np.inf, np.nan, -0.0])])
    with np.errstate(all="ignore"):
        some = np.concatenate([some, np.nextafter(some, np.float32(np.inf)), -some])
        found, expected = _cast(some, dtype).astype(np.float32), some.astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found)[expected == 0], np.signbit(expected)[expected == 0])


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _layer(op: str, x: Array, w: Array, r: Array, b: Array) -> Array:
    """The hidden states of one direction, [steps, rows, hidden], by the definition."""
    hidden = r.shape[-1]
    w_bias, r_bias = np.split(b, 2)
    h, c = np.zeros((x.shape[1], hidden)), np.zeros((x.shape[1], hidden))
    states = []
    for step in x:
        from_x, from_h = step @ w.T + w_bias, h @ r.T + r_bias
        if op == "RNN":
            h = np.tanh(from_x + from_h)
        elif op == "LSTM":
            i, o, f, g = np.split(from_x + from_h, 4, 1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        else:
            z, reset, _ = np.split(_sigmoid(from_x + from_h), 3, 1)
            mixed = (reset * h) @ r[2 * hidden:].T + r_bias[2 * hidden:]
            h = (1 - z) * np.tanh(from_x[:, 2 * hidden:] + mixed) + z * h
        states.append(h)
    return np.stack(states)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_of_16_bits(op: str, gates: int, dtype: Any) -> None:
    w, r, b = (weights(1, *shape).astype(dtype) for shape in ((gates * 6, 5), (gates * 6, 6), (2 * gates * 6,)))
    model = _planned(one(op, In((4, "N", 5), dtype), w, r, b, outputs=2, hidden_size=6, opset=22))
    assert model.batched
    x = np.random.default_rng(0).standard_normal((4, 9, 5)).astype(dtype)
    exact = _layer(op, *(a.astype(np.float64) for a in (x, w[0], r[0], b[0])))
    found = model.run({"x0": x})
    assert found["y0"].dtype == dtype
    np.testing.assert_allclose(found["y0"][:, 0].astype(np.float64), exact, atol=PRECISION[dtype])
    np.testing.assert_array_equal(found["y1"][0], found["y0"][-1, 0])
    assert_same_bits(execute(model, {"x0": x}, range(9)), one_by_one(model, {"x0": x}, 9), op)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_draws_from_logits_of_16_bits_are_those_from_the_same_numbers_in_float32(dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((50, 6)).astype(dtype)
    narrow, wide = (_planned(one("Multinomial", rows(6, dtype=kind), sample_size=20)) for kind in (dtype, np.float32))
    assert_same_bits(narrow.run({"x0": x}, seed=3), wide.run({"x0": x.astype(np.float32)}, seed=3), str(dtype))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_noise_of_16_bits_is_the_noise_of_float32_rounded(dtype: Any) -> None:
    x = np.zeros((50, 6), dtype)
    narrow = _planned(one("RandomNormalLike", rows(6, dtype=dtype)))
    wide = _planned(one("RandomNormalLike", rows(6, dtype=np.float32)))
    np.testing.assert_array_equal(narrow.run({"x0": x}, seed=3)["y0"], wide.run({"x0": x.astype(np.float32)}, seed=3)["y0"].astype(dtype))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_a_policy_of_16_bits_is_planned_and_rounds_after_each_op(dtype: Any) -> None:
    c = Chain(opset=22, x=rows(3, 8, dtype=dtype))
    parts = [weights(*shape).astype(dtype) for shape in ((8, 5), (5,), (5, 2))]
    y = c.add("Tanh", c.add("Add", c.add("MatMul", "x", parts[0]), parts[1]))
    y = c.add("ReduceMax", c.add("Softmax", c.add("MatMul", y, parts[2]), axis=-1), np.array([1]), keepdims=0)
    model = _planned(c.model(c.add("Concat", y, y, axis=1)))
    assert model.batched
    x = np.random.default_rng(1).standard_normal((20, 3, 8)).astype(dtype)

    def rounded(value: Array) -> Array:
        return value.astype(np.float32).astype(dtype).astype(np.float64)

    w, bias, v = (part.astype(np.float64) for part in parts)
    h = rounded(np.tanh(rounded(rounded(x.astype(np.float64) @ w) + bias)))
    logits = rounded(h @ v)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = next(iter(model.run({"x": x}).values()))
    np.testing.assert_allclose(found.astype(np.float64), np.tile(shares.max(1), 2), atol=PRECISION[dtype])
    assert_same_bits(execute(model, {"x": x}, range(20)), one_by_one(model, {"x": x}, 20), str(dtype))
