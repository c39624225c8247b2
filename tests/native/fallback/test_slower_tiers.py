"""Ops without a kernel: their results are right, are the caller's own, and fail by the tree."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from native_graphs import I64, Chain, In, one, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one, some

from cervello.errors import ExecutionError, UnsupportedError
from cervello.native import Model
from cervello.native.fallback.table import NUMPY

F64, I8 = np.dtype(np.float64), np.dtype(np.int8)


def _kept(op: str) -> Any:
    """A value that an op of a slower tier gives as a view, read after the memory it looks at has been used again."""
    c = Chain(x=In((1, 4)), start=In((1,), I64), end=In((1,), I64))
    view = c.add(op, c.add("Tanh", "x"), "start", "end", np.array([1]))
    return c.model(c.add("Add", view, c.add("MatMul", c.add("Exp", "x"), np.eye(4, dtype=np.float32))))


def test_what_a_slower_tier_gives_is_kept_as_a_copy() -> None:
    proto, given = _kept("Slice"), {"x": np.full((1, 4), 0.5, np.float32), "start": np.array([0]), "end": np.array([4])}
    for key, expected in foreign(proto, given).items():
        assert_near(Model.load(proto).run(given)[key], expected, 1e-6, key)


@pytest.mark.parametrize("before", ["Relu", None])
def test_results_of_slower_tiers_belong_to_the_caller(before: str | None) -> None:
    c = Chain(x=In((1, 4)), start=In((1,), I64), end=In((1,), I64))
    c.nodes.append(one("Slice", In((1,)), outputs=["y"]).graph.node[0])
    c.nodes[0].input[:] = ["x", "start", "end", c.const(np.array([1]))]
    if before:
        c.nodes[0].input[0] = c.add(before, "x")
        c.nodes.reverse()
    model = Model.load(c.model("y"))
    x, cut = np.full((1, 4), 5, np.float32), {"start": np.array([1]), "end": np.array([3])}
    first = model.run({"x": x, **cut})["y"]
    x[...] = 9
    model.run({"x": x, **cut})
    assert first.tolist() == [[5, 5]]
    assert all(not run.values for run in model.idle)


def test_a_slower_tier_that_gives_another_shape_or_type_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = Model.load(one("Mod", rows(3), np.ones(3, np.float32), fmod=1)), {"x0": np.ones((2, 3), np.float32)}
    for result, got in ((np.zeros((3, 2), np.float32), r"\(3, 2\) float32"), (np.zeros((2, 3), complex), r"\(2, 3\) complex128")):
        monkeypatch.setitem(NUMPY, "Mod", lambda node, x, y, result=result: result)
        with pytest.raises(ExecutionError, match=rf"node Mod.* expected a result \(2, 3\) float32, got {got}"):
            model.run(given)


def _average(**attributes: Any) -> Any:
    return one("AveragePool", rows(2, 7, 8), kernel_shape=[3, 3], opset=19, **attributes)


RIGHT: dict[str, Any] = {
    "LRN": lambda: one("LRN", rows(5, 2, 2), size=3, alpha=1.0),
    "LRN-image": lambda: one("LRN", rows(6, 2, 3), size=5, alpha=0.5, bias=2.0),
    "Hardmax": lambda: one("Hardmax", rows(3, 5), axis=1), "Hardmax-opset-11": lambda: one("Hardmax", rows(3, 5), opset=11),
    "MaxPool-float64": lambda: one("MaxPool", rows(2, 7, 8, dtype=F64), kernel_shape=[2, 3], strides=[3, 2], auto_pad="SAME_LOWER"),
    "MaxPool-int8": lambda: one("MaxPool", rows(2, 7, 8, dtype=I8), kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
    "MaxPool-dilated": lambda: one("MaxPool", rows(2, 9, dtype=F64), kernel_shape=[3], dilations=[2], ceil_mode=1, strides=[2]),
    "AveragePool-ceil-counted": lambda: _average(strides=[3, 3], pads=[2, 2, 0, 0], ceil_mode=1, count_include_pad=1),
    "AveragePool-ceil-counted-behind": lambda: _average(strides=[2, 3], pads=[0, 1, 1, 2], ceil_mode=1, count_include_pad=1),
    "Pad-reflect-opset-10": lambda: one("Pad", rows(5), pads=[0, 2, 0, 1], mode="reflect", opset=10),
    "Pad-edge-opset-10": lambda: one("Pad", rows(5), pads=[0, 2, 0, 1], mode="edge", opset=10),
    "Pad-edge-cut": lambda: one("Pad", rows(5, 4), np.array([0, -1, 2, 0, 1, -1]), mode="edge"),
    "Pad-half": lambda: one("Pad", rows(5, dtype=np.float16), np.array([0, 1, 0, 1]), np.float16(-2.5)),
    "Pad-bool": lambda: one("Pad", rows(5, dtype=np.dtype(bool)), np.array([0, 1, 0, 1]), np.array(True)),
    "Pad-int64": lambda: one("Pad", rows(5, dtype=I64), np.array([0, 1, 0, 1]), np.array(-3)),
    "ReduceLogSumExp": lambda: one("ReduceLogSumExp", rows(5, dtype=F64), axes=[1], opset=13),
    "ReduceLogSumExp-folded": lambda: _folded("ReduceLogSumExp"),
    "Gemm-of-computed": lambda: one("Gemm", In((3, 4)), In((4, 5)), In((5,)), beta=0.5),
    "Clip-high-only": lambda: one("Clip", rows(4, dtype=F64), None, np.float64(0.5))}


def _folded(op: str) -> Any:
    c = Chain(opset=13, x=rows(5))
    return c.model(c.add("Add", "x", c.add(op, weights(5), axes=[0])))


@pytest.mark.parametrize("name", RIGHT)
def test_slower_tiers_give_what_onnxruntime_gives(name: str) -> None:
    proto = RIGHT[name]()
    model = Model.load(proto)
    n_rows = 4 if model.batched else 1
    given = columns(model, n_rows, special=False)
    if not model.batched:
        given = {key: array[0] for key, array in given.items()}
    found = model.run(given, out={spec.name: np.ones(spec.batched(n_rows), spec.dtype) for spec in model.outputs.values()})
    for key, expected in foreign(proto, given).items():
        assert_near(found[key].reshape(expected.shape), expected, 2e-6, name)


def test_old_forms_of_ops_that_changed_are_run_as_their_newest() -> None:
    found = Model.load(one("Hardmax", rows(2, 2), opset=12)).run({"x0": np.float32([[[1, 2], [4, 3]]])})["y0"]
    assert found.tolist() == [[[0, 0], [1, 0]]]


def test_the_indices_of_a_pooling_are_refused_and_ignored_when_nobody_reads_them() -> None:
    proto = one("MaxPool", rows(2, 6), kernel_shape=[2], outputs=2)
    with pytest.raises(UnsupportedError, match="got a reader of their indices"):
        Model.load(proto)
    del proto.graph.output[1]
    assert not Model.load(proto).slow_nodes


def test_a_negative_exponent_of_an_integer_concerns_its_own_row_only() -> None:
    model = Model.load(one("Pow", rows(1, dtype=I64), rows(1, dtype=I64)))
    base, exponent = np.array([[2], [2], [1], [-1], [-1], [3]]), np.array([[3], [-1], [-5], [-3], [-2], [0]])
    assert model.run({"x0": base, "x1": exponent})["y0"].reshape(-1).tolist() == [8, 0, 1, -1, 1, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bound_that_clip_lacks_is_the_types_own(dtype: Any) -> None:
    model = Model.load(one("Clip", rows(2, dtype=np.dtype(dtype)), None, np.ones((), dtype)))
    assert model.run({"x0": np.array([[-np.inf, 3]], dtype)})["y0"].tolist() == [[np.finfo(dtype).min, 1]]


@pytest.mark.parametrize("op", ["Acosh", "Atanh"])
def test_numbers_outside_an_ops_range_warn_nobody(op: str) -> None:
    model = Model.load(one(op, rows(2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(model.run({"x0": np.float32([[-2, np.nan]])})["y0"]).all()


def test_amounts_and_axes_that_come_with_the_inputs_are_obeyed() -> None:
    x = np.float32([[1, 2]])
    padded = Model.load(one("Pad", In((1, 2)), In((4,), I64)))
    assert padded.run({"x0": x, "x1": np.array([0, 1, 0, 2])})["y0"].tolist() == [[0, 1, 2, 0, 0]]
    kept = Model.load(one("ReduceSum", In((1, 2)), In((0,), I64), noop_with_empty_axes=1))
    assert kept.run({"x0": x, "x1": np.zeros(0, np.int64)})["y0"].tolist() == [[1, 2]]
    summed = Model.load(one("ReduceSum", In((1, 2)), In((1,), I64)))
    assert summed.run({"x0": x, "x1": np.array([1])})["y0"].tolist() == [[3]]


@pytest.mark.parametrize(("op", "dtype", "expected"), [("ReduceMax", F64, -np.inf), ("ReduceMin", F64, np.inf), ("ReduceMax", I64, -2**63),
                                                       ("ReduceMin", np.dtype(bool), True), ("ReduceMax", np.float32, -np.inf)])
def test_the_extreme_of_nothing_is_beyond_every_number(op: str, dtype: Any, expected: Any) -> None:
    model = Model.load(one(op, rows(0, dtype=dtype), np.array([1]), opset=20))
    assert model.run({"x0": np.zeros((2, 0), dtype)})["y0"].tolist() == [[expected]] * 2


def _statistics(dtype: Any, *shape: int) -> list[Any]:
    random = np.random.default_rng(2)
    return [np.asarray(a).astype(dtype) for a in (random.uniform(0.5, 2, shape), random.normal(size=shape), random.normal(size=shape),
                                                  random.uniform(0.5, 4, shape))]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("opset", [7, 8, 9, 11, 13, 14, 15])
def test_a_batch_normalisation_uses_the_statistics_it_is_given(opset: int, dtype: Any) -> None:
    operands = _statistics(dtype, 4)
    model = Model.load(one("BatchNormalization", rows(4, 3, dtype=np.dtype(dtype)), *operands, opset=opset, momentum=0.9))
    x = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(dtype)
    scale, bias, mean, variance = (a.astype(np.float64)[:, None] for a in operands)
    expected = (x.astype(np.float64) - mean) / np.sqrt(variance + np.float32(1e-5)) * scale + bias
    found = model.run({"x0": x})["y0"]
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.finfo(dtype).eps * np.abs(expected).max())
    assert np.array_equal(model.run({"x0": x[2:3]})["y0"], found[2:3])


def test_statistics_by_element_of_an_old_batch_normalisation_are_obeyed() -> None:
    operands = _statistics(np.float64, 4, 3)
    model = Model.load(one("BatchNormalization", rows(4, 3, dtype=F64), *operands, opset=7, spatial=0))
    x = np.random.default_rng(0).standard_normal((5, 4, 3))
    scale, bias, mean, variance = operands
    np.testing.assert_allclose(model.run({"x0": x})["y0"], (x - mean) / np.sqrt(variance + np.float32(1e-5)) * scale + bias, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_long_sums_of_other_types_keep_their_types_precision(dtype: Any) -> None:
    random, kind = np.random.default_rng(3), np.dtype(dtype)
    x, kernel = random.uniform(0, 1, (2, 64, 5, 5)).astype(dtype), random.uniform(0, 1, (2, 64, 3, 3)).astype(dtype)
    flat, matrix = x.reshape(2, -1), random.uniform(0, 1, (1600, 3)).astype(dtype)
    wide, many = x.astype(np.float64), np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    exact = {"Conv": np.einsum("nchwij,ocij->nohw", many, kernel.astype(np.float64)),
             "MatMul": flat.astype(np.float64) @ matrix.astype(np.float64),
             "ReduceL2": np.sqrt((wide * wide).sum((1, 2, 3), keepdims=True)),
             "ReduceMean": wide.mean((1, 2, 3), keepdims=True)}
    for op, given, proto in (("Conv", x, one("Conv", rows(64, 5, 5, dtype=kind), kernel)),
                             ("MatMul", flat, one("MatMul", rows(1600, dtype=kind), matrix)),
                             ("ReduceL2", x, one("ReduceL2", rows(64, 5, 5, dtype=kind), axes=[1, 2, 3])),
                             ("ReduceMean", x, one("ReduceMean", rows(64, 5, 5, dtype=kind), axes=[1, 2, 3]))):
        found = Model.load(proto).run({"x0": given})["y0"]
        np.testing.assert_allclose(found, exact[op], rtol=(1 if kind == np.float16 else 16) * np.finfo(dtype).eps, err_msg=op)


def _vector_for_all() -> Any:
    c = Chain(x=rows(9, dtype=F64), vector=In((64,), F64))
    return c.model(c.add("MatMul", c.add("MatMul", "x", weights(9, 64).astype(np.float64)), "vector"))


def _weights_per_agent() -> Any:
    c = Chain(x=rows(3, 6, dtype=F64))
    turned = c.add("Transpose", "x", perm=[1, 0, 2])
    return c.model(c.add("Transpose", c.add("MatMul", turned, weights(3, 6, 4).astype(np.float64)), perm=[1, 0, 2]))


def _absorbed_axes() -> Any:
    """Rows that repeat along an axis that has absorbed another before it."""
    c = Chain(x=rows(3, 6, dtype=F64))
    flat = c.add("Reshape", c.add("Transpose", "x", perm=[1, 0, 2]), np.array([-1, 6]))
    product = c.add("Softmax", c.add("MatMul", flat, weights(6, 4).astype(np.float64)), axis=-1)
    return c.model(c.add("Transpose", c.add("Reshape", product, np.array([3, -1, 4])), perm=[1, 0, 2]))


LAW: dict[str, Any] = {
    "a vector that all rows share": _vector_for_all, "weights per agent": _weights_per_agent, "absorbed axes": _absorbed_axes,
    "MatMul-float64": lambda: one("MatMul", rows(97, dtype=F64), weights(97, 33).astype(np.float64)),
    "LRN-float16": lambda: one("LRN", rows(7, 3, 3, dtype=np.float16), size=3),
    "Gemm-float64": lambda: one("Gemm", rows(97, dtype=F64), weights(33, 97).astype(np.float64), weights(33).astype(np.float64), transB=1),
    "Conv-float64": lambda: one("Conv", rows(3, 9, 9, dtype=F64), weights(5, 3, 3, 3).astype(np.float64)),
    "Tanh-float64": lambda: one("Tanh", rows(13, dtype=F64)),
    "ReduceSum-float64": lambda: one("ReduceSum", rows(97, dtype=F64), np.array([1])),
    "LayerNormalization-float64": lambda: one("LayerNormalization", rows(97, dtype=F64), weights(97).astype(np.float64))}


@pytest.mark.parametrize("name", LAW)
def test_rows_on_slower_tiers_have_the_same_bits_in_any_batch(name: str) -> None:
    model = Model.load(LAW[name]())
    assert model.batched
    assert model.slow_nodes
    given = columns(model, 33, special="float16" not in name)
    alone = one_by_one(model, given, 33)
    for some_rows in (range(33), range(5), [7, 3], range(16, 33)):
        assert_same_bits(execute(model, given, list(some_rows)), some(model, alone, list(some_rows)), f"{name}, {some_rows}")


def test_rows_of_absorbed_axes_are_told_apart() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 6))
    found = Model.load(_absorbed_axes()).run({"x": x})
    logits = x @ weights(6, 4).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(next(iter(found.values())), expected, rtol=1e-13)


def test_rounding_to_a_narrow_type_warns_nobody_of_overflow() -> None:
    model = Model.load(one("LpPool", rows(1, 2, dtype=np.float16), kernel_shape=[2], p=1))
    assert model.slow_nodes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.run({"x0": np.full((2, 1, 2), 60000, np.float16)})["y0"].tolist() == [[[np.inf]]] * 2


@pytest.mark.parametrize("opset", [10, 13])
def test_old_versions_that_the_reference_lacks_are_run_as_newer_ones(opset: int) -> None:
    model = Model.load(one("DequantizeLinear", rows(3, dtype=np.dtype(np.uint8)), np.float32(0.5), np.uint8(2), opset=opset))
    assert model.run({"x0": np.array([[0, 2, 7]], np.uint8)})["y0"].tolist() == [[-1, 0, 2.5]]


def test_lengths_of_keys_beside_is_causal_are_not_left_to_the_reference() -> None:
    keys = np.ones((1, 2, 6, 8))
    proto = one("Attention", In((1, 2, 4, 8), np.dtype(np.float64)), keys, keys, None, None, None, np.array([3]), is_causal=1, opset=24)
    with pytest.raises(UnsupportedError, match="got lengths of keys beside is_causal"):
        Model.load(proto).run({"x0": np.ones((1, 2, 4, 8))})


def test_a_transposed_convolution_cuts_the_front_where_its_shape_is_asked_for() -> None:
    """As ONNX says; the reference implementation cuts the end off."""
    x, w = (np.random.default_rng(seed).standard_normal((1, 1, 3, 3)).astype(np.float32) for seed in (0, 1))
    full = np.zeros((11, 8))
    for i in range(3):
        for j in range(3):
            full[3 * i:3 * i + 3, 2 * j:2 * j + 3] += x[0, 0, i, j].astype(np.float64) * w[0, 0]
    proto = one("ConvTranspose", In((1, 1, 3, 3)), In((1, 1, 3, 3)), output_padding=[2, 1], output_shape=[10, 8], strides=[3, 2])
    model = Model.load(proto, batch_axis=None)
    found = model.run({"x0": x, "x1": w})["y0"]
    np.testing.assert_allclose(found.reshape(10, 8), full[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("scale", [0.5, 0.0, [0.5, 2.0, 0.0, 1e-30]])
def test_a_quantisation_saturates_however_far_a_number_lies(dtype: Any, scale: Any) -> None:
    x = np.array([[1e10, -1e10, np.inf, -np.inf], [1, 2, 1e38, -3e38]], np.float32)
    info, s = np.iinfo(dtype), np.array(scale, np.float32)
    model = Model.load(one("QuantizeLinear", rows(4), s, np.full(s.shape, 3, dtype), axis=1, opset=21))
    with np.errstate(divide="ignore"):
        expected = np.clip(np.rint(x.astype(np.float64) / s) + 3, info.min, info.max)
    assert next(iter(model.run({"x0": x}).values())).tolist() == expected.tolist()
