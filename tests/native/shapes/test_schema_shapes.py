"""Shapes of ops that have no rule of the project's: they come from ONNX's own inference, and outputs behind them stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import BOOL, F32, I64, Chain, In, one, rows, weights
from native_oracle import assert_near, foreign

import cervello
from cervello.errors import GraphError, UnsupportedError
from cervello.native import Model
from cervello.native.frontend.schema_inference import infer_by_schema
from cervello.native.graph.dims import ROWS, Affine
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value, known

N_ROWS = 3


def _quantised() -> onnx.ModelProto:
    c = Chain(obs=rows(4))
    q, scale, zero = c.add("DynamicQuantizeLinear", "obs", outputs=3)
    product = c.add("MatMulInteger", q, np.arange(8, dtype=np.uint8).reshape(4, 2), zero)
    return c.model(c.add("Mul", c.add("Cast", product, to=onnx.TensorProto.FLOAT), scale))


def _sampled(opset: int, mode: str) -> onnx.ModelProto:
    c = Chain(opset, obs=rows(1, 4, 4), grid=rows(2, 2, 2))
    return c.model(c.add("Flatten", c.add("GridSample", "obs", "grid", mode=mode)))


def _first(c: Chain, op: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    found = c.add(op, *inputs, outputs=outputs, **attributes)
    return c.model(found if outputs == 1 else found[0])


GRAPHS = {
    "Einsum-dots": lambda: _first(Chain(obs=rows(4)), "Einsum", "obs", weights(4, 2), equation="...i,ij->...j"),
    "GridSample-16": lambda: _sampled(16, "bilinear"),
    "GridSample-16-bicubic": lambda: _sampled(16, "bicubic"),
    "GridSample-20": lambda: _sampled(20, "linear"),
    "Compress": lambda: _first(Chain(obs=rows(4)), "Compress", "obs", np.array([True, False, True]), axis=1),
    "Compress-flat": lambda: one("Compress", In((1, 4)), np.array([True, False, True, True])),
    "DynamicQuantizeLinear": _quantised,
    "CenterCropPad": lambda: _first(Chain(18, obs=rows(4, 5)), "CenterCropPad", "obs", np.array([2, 7]), axes=[1, 2]),
    "LpPool": lambda: _first(Chain(obs=rows(2, 6, 6)), "LpPool", "obs", kernel_shape=[2, 2], strides=[2, 2], p=2)}


@pytest.mark.parametrize("name", GRAPHS)
def test_outputs_behind_an_op_without_a_rule_reach_agents(name: str) -> None:
    proto = GRAPHS[name]()
    model = Model.load(proto)
    random = np.random.default_rng(1)
    given = {s.name: random.standard_normal((N_ROWS, *s.shape)).astype(s.dtype) for s in model.inputs.values()}
    assert list(model.outputs) == [proto.graph.output[0].name]
    policy = cervello.Policy(model)
    policy.begin_agents(range(N_ROWS))
    for i, actions in policy.infer({i: {key: a[i] for key, a in given.items()} for i in range(N_ROWS)}).items():
        alone = {key: a[i:i + 1] for key, a in given.items()}
        for key, expected in foreign(proto, alone).items():
            assert_near(actions[key].reshape(-1), expected.reshape(-1), 1e-5, name)


def test_an_output_whose_shape_depends_on_data_is_refused_for_agents_and_given_by_run() -> None:
    c = Chain(obs=rows(4))
    places, action = c.add("NonZero", "obs"), c.dense("obs", 4, 2)
    model = Model.load(c.model(places, action))
    assert model.dynamic_outputs == (places,)
    assert model.run({"obs": np.float32([[0, 1, 0, 1]])})[places].tolist() == [[0, 0], [1, 3]]
    message = rf"expected outputs whose shapes are known ahead, got \['{places}'\], whose shapes depend on data; leave them out with " \
              rf"outputs=\['{action}'\], or run the file with cervello\.Model"
    with pytest.raises(UnsupportedError, match=message):
        cervello.load(c.model(places, action))
    assert list(cervello.load(c.model(places, action), outputs=[action]).outputs) == [action]


def test_a_policy_is_not_replaced_by_a_model_that_lacks_an_output() -> None:
    c = Chain(obs=rows(4))
    action = c.dense("obs", 4, 2)
    policy = cervello.load(c.model(action))
    places = c.add("NonZero", "obs")
    with pytest.raises(UnsupportedError, match="whose shapes depend on data"):
        policy.replace(Model.load(c.model(action, places)))
    assert policy.version == 1


def _node(op: str, opset: int = 20, outputs: int = 1, **attributes: Any) -> Node:
    return Node(op, (), tuple(f"y{i}" for i in range(outputs)), attributes, "", opset=opset)


def test_sizes_that_depend_on_the_batch_are_affine_in_it() -> None:
    picture = Value("x", (ROWS, 8, 4, 4), F32)
    assert infer_by_schema(_node("DepthToSpace", blocksize=2), [picture]) == [((ROWS, 2, 8, 8), F32)]
    assert infer_by_schema(_node("BitwiseNot"), [Value("x", (4, Affine(0, 3)), I64)]) == [((4, Affine(0, 3)), I64)]
    assert infer_by_schema(_node("LpPool", kernel_shape=(2,)), [Value("x", (1, 1, ROWS), F32)]) == [((1, 1, Affine(-1, 1)), F32)]
    assert infer_by_schema(_node("CenterCropPad"), [Value("x", (4,), F32), known("n", np.array([ROWS], object))]) == [((ROWS,), F32)]


def test_a_size_that_is_not_affine_in_the_batch_is_unknown_and_its_type_is_not() -> None:
    halved = _node("LpPool", kernel_shape=(2,), strides=(2,))
    assert infer_by_schema(halved, [Value("x", (1, 1, ROWS), F32)]) == [(None, F32)]
    assert infer_by_schema(_node("NonZero"), [Value("x", (4, 4), F32)]) == [(None, I64)]
    assert infer_by_schema(_node("BitwiseNot"), [Value("x", None, None)]) == [(None, None)]
    assert infer_by_schema(_node("IsNaN"), [Value("x", None, F32)]) == [(None, BOOL)]


@pytest.mark.parametrize(("node", "value", "message"), [
    (_node("DepthToSpace", blocksize="2"), Value("x", (1, 8, 4, 4), F32), "attribute 'blocksize': expected INT, got STRING"),
    (_node("DepthToSpace", blocksize=2, size=3), Value("x", (1, 8, 4, 4), F32), "attribute 'size': expected no such attribute, got INT"),
    (_node("DepthToSpace", blocksize=2), Value("x", (8, 4), F32), r"expected operands that fit DepthToSpace, got \['\(8, 4\)'\]")])
def test_what_contradicts_the_schema_is_refused(node: Node, value: Value, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        infer_by_schema(node, [value])


def test_the_mean_and_deviation_of_a_layer_normalisation_have_their_shapes() -> None:
    proto = one("LayerNormalization", rows(2, 5), weights(5), outputs=3)
    given = {"x0": np.random.default_rng(0).standard_normal((N_ROWS, 2, 5)).astype(np.float32)}
    found = Model.load(proto).run(given)
    for name, expected in foreign(proto, given).items():
        assert_near(found[name], expected, 2e-6, name)
