"""Ops that are replaced by others, inside branches and loops: nothing is known of their results until then."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_cases.traditional import classifier, linear, ml, regressor
from native_graphs import rows
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits
from onnx import TensorProto, helper

from cervello.errors import GraphError, UnsupportedError
from cervello.native import Model

Array = np.ndarray[Any, Any]
NODES = {
    "TreeEnsembleRegressor": lambda: regressor(4), "TreeEnsembleClassifier": lambda: classifier(4, (0, 1, 2), (3, 1, 2)),
    "LinearRegressor": lambda: linear(4, 1), "LinearClassifier": lambda: linear(4, 3, (5, 7, 9), post_transform="SOFTMAX"),
    "Scaler": lambda: ml("Scaler", rows(4), offset=[0.5], scale=[2.0])}


def _body(name: str, nodes: list[onnx.NodeProto], outputs: list[str], inputs: tuple[onnx.ValueInfoProto, ...] = ()) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, list(inputs), [helper.make_empty_tensor_value_info(output) for output in outputs])


def _model(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[str], opsets: Any) -> onnx.ModelProto:
    ports = [helper.make_empty_tensor_value_info(name) for name in outputs]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, ports), opset_imports=opsets, ir_version=10)


def in_branches(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The node of a graph in one branch, and in the other with the sign of its last result turned."""
    node = proto.graph.node[0]
    other = onnx.NodeProto()
    other.CopyFrom(node)
    results = list(node.output)
    other.output[:] = [*(f"{name}/other" for name in results[:-1]), "raw"]
    branches = {"then_branch": _body("t", [node], results),
                "else_branch": _body("e", [other, helper.make_node("Neg", ["raw"], ["turned"])], [*other.output[:-1], "turned"])}
    names = [f"r{i}" for i in range(len(results))]
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [1])
    return _model([helper.make_node("If", ["c"], names, **branches)], [*proto.graph.input, condition], names, proto.opset_import)


@pytest.mark.parametrize("name", NODES)
def test_they_are_planned_in_branches(name: str) -> None:
    proto = in_branches(NODES[name]())
    model = Model.load(proto)
    assert model.batched
    assert not model.slow_nodes
    x = np.random.default_rng(0).standard_normal((11, 4)).astype(np.float32)
    for taken in (True, False):
        given = {"x0": x, "c": np.array([taken])}
        found, expected = model.run(given), foreign(proto, given)
        for output, array in found.items():
            assert_near(array, expected[output], 1e-6, f"{name} {taken}")
        rows_alone = [model.run({**given, "x0": x[i:i + 1]}) for i in range(len(x))]
        assert_same_bits(found, {output: np.concatenate([row[output] for row in rows_alone]) for output in found}, name)


def test_they_are_planned_in_loops() -> None:
    """A state that a Scaler makes, and what each turn gives."""
    one = helper.make_node("Scaler", ["s"], ["t"], domain="ai.onnx.ml", offset=[0.5], scale=[2.0])
    body = _body("b", [helper.make_node("Identity", ["go"], ["on"]), one, helper.make_node("Scaler", ["t"], ["o"], domain="ai.onnx.ml",
                                                                                        offset=[1.0], scale=[0.5])], ["on", "t", "o"],
                 (helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                  helper.make_tensor_value_info("s", TensorProto.FLOAT, None)))
    nodes = [helper.make_node("Constant", [], ["m"], value_int=3), helper.make_node("Loop", ["m", "", "x0"], ["last", "all"], body=body),
             helper.make_node("Transpose", ["all"], ["each"], perm=[1, 0, 2])]
    source = ml("Scaler", rows(4))
    proto = _model(nodes, list(source.graph.input), ["last", "each"], source.opset_import)
    model = Model.load(proto)
    assert model.batched
    assert not model.slow_nodes
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    found, states = model.run({"x0": x}), [x]
    for _ in range(3):
        states.append((states[-1] - np.float32(0.5)) * np.float32(2))
    np.testing.assert_array_equal(found["last"], states[-1])
    np.testing.assert_array_equal(found["each"], np.stack([(state - 1) * np.float32(0.5) for state in states[1:]], 1))


def test_a_branch_with_an_op_that_nothing_runs_names_it() -> None:
    with pytest.raises(UnsupportedError, match=r"node CategoryMapper .*expected an op Cervello runs, got ai\.onnx\.ml\.CategoryMapper"):
        Model.load(in_branches(ml("CategoryMapper", rows(3), cats_int64s=[1])))


def test_branches_of_different_shapes_are_refused_when_their_ops_are_replaced() -> None:
    proto = in_branches(regressor(4))
    other = next(a.g for a in proto.graph.node[0].attribute if a.name == "else_branch")
    other.node[0].CopyFrom(ml("LinearRegressor", rows(4), coefficients=[0.5] * 12, targets=3).graph.node[0])
    other.node[0].input[0], other.node[0].output[0] = "x0", "raw"
    with pytest.raises(GraphError, match=r"expected branches that give the same shape and type, got \(1, 1\) float32 and \(1, 3\) float32"):
        Model.load(proto)
