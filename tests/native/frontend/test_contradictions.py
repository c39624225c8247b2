"""Files that contradict ONNX or themselves are refused at load; legal ones that look odd are not."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import I64, Chain, In, graph, node, one, rows, weights
from native_oracle import foreign
from onnx import helper, numpy_helper

from cervello.errors import FormatError, GraphError, ModelError, UnsupportedError
from cervello.native import Model

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _constants(*names: str) -> onnx.ModelProto:
    made = [helper.make_node("Constant", [], [name] if name else [], value_float=float(i)) for i, name in enumerate(names)]
    return graph([*made, node("Add", ["x", names[-1]] if names[-1] else ["x", "x"], ["y"])], {"x": rows(4)}, ["y"])


def _initializers_of_one_name() -> onnx.ModelProto:
    model = one("Add", rows(4), weights(4))
    model.graph.initializer.append(numpy_helper.from_array(weights(4, seed=1), "c1"))
    return model


@pytest.mark.parametrize(("model", "message"), [
    (lambda: one("Transpose", rows(4), perm=[0]), r"expected an order of 2 axes, got \[0\]"),
    (lambda: one("Transpose", rows(4), perm=[0, 0]), r"expected an order of 2 axes, got \[0, 0\]"),
    (lambda: one("Unsqueeze", rows(4), _a(1, 1)), r"expected each new axis once, got \[1, 1\]"),
    (lambda: one("Add", rows(4), None), r"node Add.*: expected operand 1 \(B\), got none"),
    (lambda: one("Where", rows(4, dtype=bool), None, weights(4)), r"expected operand 1 \(X\), got none"),
    (lambda: one("Max", rows(4), None, weights(4)), "expected operand 1 .*, got none"),
    (lambda: one("Relu", rows(4), weights(4)), "expected at most 1 operands and 1 results, got 2 and 1"),
    (lambda: one("Relu", rows(4), outputs=2), "expected at most 1 operands and 1 results, got 1 and 2"),
    (lambda: one("Add", rows(4), _a(0, 1, 2, 3)), "expected operands of one element type, got float32 and int64"),
    (lambda: one("Less", rows(4), rows(4, dtype=np.float64)), "expected operands of one element type, got float32 and float64"),
    (lambda: one("MatMul", rows(4), rows(4, 2, dtype=I64)), "expected operands of one element type"),
    (lambda: one("Gemm", In((2, 4)), In((4, 3)), np.ones((1, 6), np.float32)),
     r"expected a shape that broadcasts to \(2, 3\), got \(1, 6\)"),
    (lambda: _constants("c", "c"), "Constant 'c': expected a new name, got one that is defined twice"),
    (lambda: _constants("x"), "Constant 'x': expected a new name, got one that is defined twice"),
    (lambda: _constants(""), "Constant '': expected a result, got none"),
    (_initializers_of_one_name, "initializer 'c1': expected a new name, got one that is defined twice"),
    (lambda: one("TopK", rows(4), _a(5), outputs=2), "expected at most 4 on axis 1, got 5"),
    (lambda: one("Einsum", rows(4), weights(3), equation="bi,i->b"), "expected one size for 'i', got 4 and 3"),
    (lambda: one("Einsum", rows(4), equation="bi->bk"), "expected an equation like"),
    (lambda: one("Range", _a(0)[0], _a(4)[0], _a(0)[0]), "expected operands that fit Range")])
def test_files_that_contradict_onnx_are_refused(model: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Model.load(model())


@pytest.mark.parametrize(("model", "message"), [
    (lambda: one("Identity", In(("N", 3), object)), "value 'x0': expected numbers, got strings"),
    (lambda: one("Equal", rows(1, dtype=I64), np.array(["a"], object)), "initializer 'c1': expected numbers, got strings"),
    (lambda: one("Cast", rows(3), to=onnx.TensorProto.STRING), "expected numbers, got a cast to strings")])
def test_strings_are_refused(model: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Model.load(model())


def _then_added(op: str, *operands: Any, **attributes: Any) -> onnx.ModelProto:
    """x + the sum of what an op makes of constants."""
    c = Chain(x=rows(4))
    total = c.add("ReduceSum", c.add("Cast", c.add(op, *operands, **attributes), to=1), keepdims=0)
    return c.model(c.add("Add", "x", total))


@pytest.mark.parametrize("model", [
    lambda: _then_added("Range", _a(0)[0], _a(10**12)[0], _a(1)[0]), lambda: _then_added("Tile", weights(1), _a(10**10)),
    lambda: _then_added("Expand", weights(1, 1), _a(10**6, 10**6)), lambda: _then_added("Pad", weights(1), _a(0, 10**11)),
    lambda: _then_added("ConstantOfShape", _a(10**6, 10**6)), lambda: _then_added("Add", np.zeros((1 << 14, 1)), np.zeros(1 << 14)),
    lambda: _then_added("HannWindow", np.array(10**10)), lambda: _then_added("OneHot", _a(0), _a(10**10), np.float32([0, 1]))])
def test_a_small_file_cannot_ask_for_a_large_constant(model: Any) -> None:
    proto = model()
    began = time.perf_counter()
    with pytest.raises(GraphError, match="expected a constant of at most 67108864 elements, got"):
        Model.load(proto)
    assert time.perf_counter() - began < 20  # it took minutes, or all memory


@pytest.mark.parametrize("source", [None, 5, ["a.onnx"], object()])
def test_what_is_neither_path_nor_file_is_refused(source: Any) -> None:
    with pytest.raises(FormatError, match=f"expected a path, the bytes of a file or a ModelProto, got {type(source).__name__}"):
        Model.load(source)
    with pytest.raises(ModelError):
        Model.load(source)


def test_an_output_asked_for_twice_is_given_once() -> None:
    model = Model.load(graph([node("Relu", ["x"], ["h"]), node("Neg", ["h"], ["z"])], {"x": rows(4)}, ["z"]), outputs=["h", "z", "h"])
    assert list(model.outputs) == ["h", "z"]
    assert {name: value.tolist() for name, value in model.run({"x": X}).items()} == {"h": X.tolist(), "z": (-X).tolist()}


_STATISTICS = [np.float32([1, 2, 3, 4])] * 4


def _normalised(opset: int) -> onnx.ModelProto:
    """With all its results listed, three of which exist since opset 14."""
    return one("BatchNormalization", rows(4), *_STATISTICS, outputs=5 if opset < 14 else 3, opset=opset)


def _trimmed(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.output[1:]
    return model


def _cut(then: str, *operands: Any, **attributes: Any) -> onnx.ModelProto:
    """An op on a part of no elements."""
    c = Chain(x0=rows(4, 3))
    return c.model(c.add(then, c.add("Slice", "x0", _a(0), _a(0), _a(1)), *operands, **attributes))


@pytest.mark.parametrize(("model", "shapes"), [
    (lambda: _trimmed(_normalised(opset=15)), [(4,)]),
    (lambda: _trimmed(one("LayerNormalization", rows(4), weights(4), outputs=2)), [(4,)]),
    (lambda: one("BatchNormalization", rows(4), *_STATISTICS, outputs=["y0", "", "", "", ""], opset=9), [(4,)]),
    (lambda: one("Dropout", rows(4), outputs=2), [(4,)]),
    (lambda: one("Concat", rows(4), rows(0), axis=1), [(4,), (0,)]), (lambda: _cut("Reshape", _a(0, 0)), [(4, 3)]),
    (lambda: _cut("Flatten"), [(4, 3)]), (lambda: _cut("Transpose", perm=[0, 2, 1]), [(4, 3)]),
    (lambda: one("Gemm", rows(4), weights(4, 3), rows(3), beta=0.5, alpha=2.0), [(4,), None, (3,)]),
    (lambda: one("Gemm", rows(4), weights(4, 3), weights(1, 1), beta=0.25), [(4,)]),
    (lambda: one("Gemm", rows(4), weights(4, 3), rows(1), beta=3.0), [(4,), None, (1,)])])
def test_legal_files_that_look_odd_run(model: Any, shapes: list[Any]) -> None:
    proto = model()
    random = np.random.default_rng(0)
    given = {f"x{i}": random.standard_normal((3, *shape)).astype(np.float32) for i, shape in enumerate(shapes) if shape is not None}
    loaded = Model.load(proto)
    assert loaded.batched
    assert not loaded.slow_nodes
    found = loaded.run(given)
    del proto.graph.node[-1].output[len(proto.graph.output):]  # onnxruntime trips over results that nobody reads
    for name, expected in foreign(proto, given).items():
        assert found[name].shape == expected.shape
        assert found[name].dtype == expected.dtype
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [lambda: _normalised(9), lambda: _trimmed(_normalised(9)), lambda: _normalised(15)])
def test_a_normalisation_that_gives_its_statistics_is_in_training_and_refused(model: Any) -> None:
    """Before opset 14, listing them was enough to normalise by the batch at hand; onnxruntime does so."""
    with pytest.raises(UnsupportedError, match="expected statistics that are fixed, got training mode"):
        Model.load(model())


@pytest.mark.parametrize(("opset", "dtype"), [(9, np.float32), (10, bool), (13, bool)])
def test_a_dropout_that_keeps_everything_has_a_mask_that_says_so(opset: int, dtype: Any) -> None:
    mask = Model.load(one("Dropout", rows(4), outputs=2, opset=opset)).run({"x0": X})["y1"]
    assert mask.dtype == dtype
    assert mask.all()


def test_a_dropout_in_training_is_refused_unless_it_drops_nothing() -> None:
    with pytest.raises(UnsupportedError, match="expected dropout for inference, got training_mode"):
        Model.load(one("Dropout", rows(4), np.float32(0.5), np.array(True)))
    for ratio, training in ((0.0, True), (0.5, False)):
        assert Model.load(one("Dropout", rows(4), np.float32(ratio), np.array(training))).run({"x0": X})["y0"].tolist() == X.tolist()
