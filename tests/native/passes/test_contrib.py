"""Ops of onnxruntime's own domain against onnxruntime, and what is refused of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_cases.quantised import integers
from native_graphs import In, graph, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, execute, one_by_one
from onnx import helper

from cervello.errors import GraphError, UnsupportedError
from cervello.native import Model

DOMAIN = "com.microsoft"
S8 = {"s": np.float32(0.03), "z": np.int8(4), "s2": np.float32(0.011), "z2": np.int8(-9), "s3": np.float32(0.05), "z3": np.int8(17)}
U8 = {"s": np.float32(0.03), "z": np.uint8(4), "s2": np.float32(0.011), "z2": np.uint8(9), "s3": np.float32(0.05), "z3": np.uint8(170)}


def contrib(op: str, inputs: dict[str, In], operands: str, results: tuple[str, ...] = ("y",), constants: dict[str, Any] | None = None,
            domain: str = DOMAIN, **attributes: Any) -> onnx.ModelProto:
    """A graph of one node; operands by name, "-" where one is absent."""
    names = ["" if name == "-" else name for name in operands.split()]
    proto = graph([helper.make_node(op, names, list(results), domain=domain, **attributes)], inputs, [r for r in results if r],
                  {name: data for name, data in (constants or {}).items() if name in names})
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return proto


X, PICTURE = {"x": rows(6, 8)}, {"x": rows(6, 9)}
W = {"w": weights(3, 8), "g": weights(8), "b": weights(8, seed=1), "c": weights(8, seed=2), "f": weights(4, 6, 3), "d": weights(4)}
FLOATS = {
    "FusedMatMul": contrib("FusedMatMul", X, "x w", constants=W, alpha=0.5, transB=1),
    "FusedMatMul-transA": contrib("FusedMatMul", {**X, "k": rows(6, 5)}, "x k", transA=1),
    "FusedGemm": contrib("FusedGemm", {"x": rows(8)}, "x w", constants=W, transB=1, alpha=2.0, activation="LeakyRelu",
                         activation_alpha=0.2),
    "FusedConv": contrib("FusedConv", PICTURE, "x f d", constants=W, activation="Relu", pads=[1, 0]),
    "FusedConv-clip": contrib("FusedConv", PICTURE, "x f", constants=W, activation="Clip", activation_params=[-0.5, 0.25]),
    "FusedConv-hard": contrib("FusedConv", PICTURE, "x f", constants=W, activation="HardSigmoid", activation_params=[0.3, 0.4]),
    "FusedConv-sum": contrib("FusedConv", {**PICTURE, "k": rows(4, 7)}, "x f d k", constants=W, activation="Relu"),
    "SkipLayerNormalization": contrib("SkipLayerNormalization", {**X, "k": rows(6, 8)}, "x k g b c", ("y", "", "", "sum"), W, epsilon=1e-5),
    "SkipLayerNormalization-bare": contrib("SkipLayerNormalization", {**X, "k": rows(6, 8)}, "x k g", constants=W),
    "SkipSimplifiedLayerNormalization": contrib("SkipSimplifiedLayerNormalization", {**X, "k": rows(6, 8)}, "x k g c", constants=W),
    "SimplifiedLayerNormalization": contrib("SimplifiedLayerNormalization", X, "x g", constants=W, domain="", epsilon=1e-4, axis=-1,
                                            stash_type=1),
    "Gelu": contrib("Gelu", X, "x"), "BiasGelu": contrib("BiasGelu", X, "x b", constants=W),
    "FastGelu": contrib("FastGelu", X, "x"), "FastGelu-bias": contrib("FastGelu", X, "x b", constants=W),
    "QuickGelu": contrib("QuickGelu", X, "x"), "QuickGelu-alpha": contrib("QuickGelu", X, "x", alpha=1.25)}


def _given(model: Model, n_rows: int = 5) -> dict[str, Any]:
    random = np.random.default_rng(n_rows)
    given: dict[str, Any] = {}
    for name, spec in model.inputs.items():
        shape = (n_rows, *spec.shape)
        given[name] = random.random(shape) < 0.5 if spec.dtype == bool else random.standard_normal(
            shape).astype(np.float32) if spec.dtype.kind == "f" else integers(spec.dtype, *shape)
    return given


def _planned(proto: onnx.ModelProto) -> Model:
    model = Model.load(proto)
    assert model.batched
    assert not model.slow_nodes
    return model


@pytest.mark.parametrize("name", FLOATS)
def test_fused_ops_mean_what_onnxruntime_says(name: str) -> None:
    model = _planned(FLOATS[name])
    given = _given(model)
    found = model.run(given)
    for output, expected in foreign(FLOATS[name], given).items():
        assert_near(found[output], expected, 2e-6, name)
    assert_same_bits(execute(model, given, range(5)), one_by_one(model, given, 5), name)


def _of_bytes(constants: dict[str, Any]) -> dict[str, onnx.ModelProto]:
    dtype = constants["z"].dtype
    q, flat = {"x": rows(6, 4, 7, dtype=dtype)}, {"x": rows(6, dtype=dtype)}
    more = {**constants, "w": integers(dtype, 4, 7), "m": integers(dtype, 8, 6), "i": np.arange(-4, 4, dtype=np.int32) * 100}
    return {
        "QLinearAdd": contrib("QLinearAdd", q, "x s z w s2 z2 s3 z3", constants=more),
        "QLinearMul": contrib("QLinearMul", q, "x s z w s2 z2 s3 z3", constants=more),
        "QLinearSigmoid": contrib("QLinearSigmoid", q, "x s z s2 z2", constants=more),
        "QLinearLeakyRelu": contrib("QLinearLeakyRelu", q, "x s z s2 z2", constants=more, alpha=0.3),
        "QLinearSoftmax": contrib("QLinearSoftmax", q, "x s z s2 z2", constants=more, axis=-1, opset=13),
        "QLinearAveragePool": contrib("QLinearAveragePool", q, "x s z s3 z3", constants=more, kernel_shape=[2, 2]),
        "QLinearGlobalAveragePool": contrib("QLinearGlobalAveragePool", q, "x s z s3 z3", constants=more, channels_last=0),
        "QLinearWhere": contrib("QLinearWhere", {**q, "t": rows(6, 1, 7, dtype=np.dtype(bool))}, "t x s z w s2 z2 s3 z3", constants=more),
        "QLinearConcat": contrib("QLinearConcat", q, "s3 z3 x s z x s2 z2", constants=more, axis=1),
        "QGemm": contrib("QGemm", flat, "x s z m s2 z2 i s3 z3", constants=more, transB=1, alpha=0.75),
        "QGemm-float": contrib("QGemm", flat, "x s z m s2 z2 i", constants=more, transB=1)}


QUANTISED = {f"{name}-{dtype}": proto for dtype, scales in (("int8", S8), ("uint8", U8)) for name, proto in _of_bytes(scales).items()}


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_ops_lie_within_one_step_of_onnxruntime(name: str) -> None:
    """onnxruntime multiplies by ratios of scales, or takes numbers from a table, which moves some that lie half-way."""
    model = _planned(QUANTISED[name])
    given = _given(model)
    found, expected = model.run(given)["y"], foreign(QUANTISED[name], given)["y"]
    assert found.dtype == expected.dtype
    if found.dtype.kind == "f":
        assert_near(found, expected, 2e-6, name)
        return
    apart = np.abs(found.astype(np.int64) - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() < (0.2 if "Softmax" in name else 0.05)  # its table of exponentials is coarse
    assert_same_bits(execute(model, given, range(5)), one_by_one(model, given, 5), name)


def test_sums_are_quantised_as_their_definition_says() -> None:
    proto = QUANTISED["QLinearAdd-uint8"]
    x = integers(np.uint8, 5, 6, 4, 7)
    total = (x.astype(np.float32) - 4) * U8["s"] + (integers(np.uint8, 4, 7).astype(np.float32) - 9) * U8["s2"]
    expected = np.clip(np.rint(total / U8["s3"]) + 170, 0, 255)
    np.testing.assert_array_equal(_planned(proto).run({"x": x})["y"], expected)


@pytest.mark.parametrize("axes", [[2, 3], [-1]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_means_are_quantised_as_their_definition_says(axes: list[int], keepdims: int) -> None:
    """onnxruntime has no kernel for QLinearReduceMean on the CPU."""
    proto = contrib("QLinearReduceMean", {"x": rows(6, 4, 7, dtype=np.dtype(np.uint8))}, "x s z s2 z2", constants=U8, axes=axes,
                    keepdims=keepdims)
    model = _planned(proto)
    x = integers(np.uint8, 5, 6, 4, 7)
    mean = ((x.astype(np.float64) - 4) * np.float64(U8["s"])).mean(tuple(axes), keepdims=bool(keepdims))
    found = execute(model, {"x": x}, range(5))
    np.testing.assert_array_equal(found["y"], np.clip(np.rint(mean / np.float64(U8["s2"])) + 9, 0, 255))
    assert_same_bits(found, one_by_one(model, {"x": x}, 5), "means")


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_norms_of_the_contrib_domain_are_their_definition(shifted: bool, axis: int) -> None:
    """onnxruntime has no kernel for com.microsoft.LayerNormalization on the CPU."""
    tail = (8,) if axis == -1 else (6, 8)
    constants = {"g": weights(*tail), "b": weights(*tail, seed=1)}
    model = _planned(contrib("LayerNormalization", X, "x g b" if shifted else "x g", constants=constants, axis=axis, epsilon=1e-4))
    given = _given(model)
    wide, over = given["x"].astype(np.float64), (-1,) if axis == -1 else (-2, -1)
    centre = wide - wide.mean(over, keepdims=True)
    expected = centre / np.sqrt((centre * centre).mean(over, keepdims=True) + 1e-4) * constants["g"] + (constants["b"] if shifted else 0)
    found = execute(model, given, range(5))
    assert_near(found["y"], expected.astype(np.float32), 2e-6, "layer norm", 2e-6)
    assert_same_bits(found, one_by_one(model, given, 5), "layer norm")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("by_axis", [False, True])
def test_quantisation_of_the_contrib_domain_is_what_onnxruntime_says(dtype: Any, by_axis: bool) -> None:
    scales = {"s": np.abs(weights(6)) * np.float32(0.1) + np.float32(0.01), "z": integers(dtype, 6)} if by_axis else {
        "s": np.float32(0.03), "z": dtype(4)}
    attributes = {"axis": 1} if by_axis else {}
    for op, inputs in (("QuantizeLinear", X), ("DequantizeLinear", {"x": rows(6, 8, dtype=np.dtype(dtype))})):
        proto = contrib(op, inputs, "x s z", constants=scales, **attributes)
        model = _planned(proto)
        given = _given(model)
        np.testing.assert_array_equal(model.run(given)["y"], foreign(proto, given)["y"])


def test_shares_are_quantised_as_their_definition_says() -> None:
    x = integers(np.uint8, 5, 6, 4, 7)
    powers = np.exp((x.astype(np.float64) - 4) * np.float64(U8["s"]))
    expected = np.clip(np.rint(powers / powers.sum(-1, keepdims=True) / np.float64(U8["s2"])) + 9, 0, 255)
    found = _planned(QUANTISED["QLinearSoftmax-uint8"]).run({"x": x})["y"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", ["MatMulIntegerToFloat", "DynamicQuantizeMatMul"])
def test_products_to_floats_are_scaled_sums(op: str) -> None:
    constants = {"w": integers(np.int8, 8, 5), "v": np.abs(weights(5)), "o": integers(np.int8, 5, seed=1), "k": weights(5, seed=3), **U8}
    whole = op == "MatMulIntegerToFloat"
    inputs = {"x": rows(8, dtype=np.dtype(np.uint8)) if whole else rows(8)}
    model = _planned(contrib(op, inputs, "x w s v z o k" if whole else "x w v o k", constants=constants))
    given = _given(model)
    found = model.run(given)["y"]
    for row, x in enumerate(given["x"]):
        scale, zero, q = U8["s"], 4, x
        if not whole:
            reach = np.float32(max(0, x.max())) - np.float32(min(0, x.min()))
            scale = np.float32(reach / np.float32(255))
            zero = int(np.rint(-np.float32(min(0, x.min())) / scale))
            q = np.clip(np.rint(x / scale) + zero, 0, 255)
        sums = (q.astype(np.int64) - zero) @ (constants["w"].astype(np.int64) - constants["o"])
        np.testing.assert_array_equal(found[row], sums.astype(np.float32) * (scale * constants["v"]) + constants["k"])


def test_a_bias_and_a_skip_are_added() -> None:
    model = _planned(contrib("BiasAdd", {**X, "k": rows(6, 8)}, "x b k", constants=W))
    given = _given(model)
    np.testing.assert_array_equal(model.run(given)["y"], given["x"] + W["b"] + given["k"])


@pytest.mark.parametrize(("proto", "what"), [
    (contrib("RotaryEmbedding", X, "x"), "RotaryEmbedding"),
    (contrib("QuickGelu", X, "x", other=1), "QuickGelu"),
    (contrib("FusedConv", PICTURE, "x f", constants=W, activation="Mystery"), "FusedConv"),
    (contrib("SkipLayerNormalization", X, "x x g", ("y", "mean"), W), "SkipLayerNormalization")], ids=lambda value: str(value)[:30])
def test_other_ops_and_forms_are_refused_with_the_remedy(proto: onnx.ModelProto, what: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"com\.microsoft\.{what}; export the file without graph optimisation level extended"):
        Model.load(proto)


@pytest.mark.parametrize(("proto", "message"), [
    (contrib("BiasGelu", X, "x"), "expected 2 to 2 operands"),
    (contrib("QLinearAdd", {"x": rows(4, dtype=np.dtype(np.uint8))}, "x v z x s2 z2 s3 z3", constants={**U8, "v": weights(4)}),
     "expected one number as operand 1"),
    (contrib("QGemm", {"x": rows(6, dtype=np.dtype(np.uint8))}, "x s z m s2 o", constants={**U8, "m": integers(np.uint8, 6, 4),
                                                                                         "o": integers(np.uint8, 3)}),
     "expected zero points of a shape that broadcasts")], ids=lambda value: str(value)[:30])
def test_operands_that_do_not_fit_are_refused(proto: onnx.ModelProto, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Model.load(proto)
