"""Graphs exported for one row run many, or say what stands in the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model

H = onnx.helper


def exported(nodes: list[Any], shape: tuple[int, ...], outputs: list[str], **constants: Any) -> onnx.ModelProto:
    """A graph of one input `x` for one row."""
    ports = [H.make_tensor_value_info("x", 1, shape)], [H.make_empty_tensor_value_info(name) for name in outputs]
    stored = [onnx.numpy_helper.from_array(np.asarray(data), name) for name, data in constants.items()]
    return H.make_model(H.make_graph(nodes, "g", *ports, stored), opset_imports=[H.make_opsetid("", 17)], ir_version=8)


GEMM = H.make_node("Gemm", ["x", "w"], ["h"])
FREE = {
    "nothing baked": exported([GEMM], (1, 4), ["h"], w=weights(4, 6)),
    "a reshape": exported([H.make_node("Reshape", ["x", "s"], ["r"]), H.make_node("Softmax", ["r"], ["y"], axis=-1)], (1, 12), ["y"],
                          s=np.array([1, 3, 4])),
    "a reshape with -1": exported([H.make_node("Reshape", ["x", "s"], ["y"])], (1, 3, 4), ["y"], s=np.array([1, -1])),
    "a constant row beside": exported([GEMM, H.make_node("Concat", ["c", "h"], ["y"], axis=1)], (1, 4), ["y"], w=weights(4, 6),
                                      c=weights(1, 3)),
    "a baked expand": exported([H.make_node("Expand", ["x", "s"], ["y"])], (1, 1, 4), ["y"], s=np.array([1, 5, 4])),
    "initial states": exported([H.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
                                H.make_node("LSTM", ["t", "w", "r", "", "", "h0", "c0"], ["", "h"], hidden_size=3),
                                H.make_node("Transpose", ["h"], ["y"], perm=[1, 0, 2])], (1, 2, 5), ["y"], w=weights(1, 12, 5),
                               r=weights(1, 12, 3), h0=weights(1, 1, 3), c0=weights(1, 1, 3))}


@pytest.mark.parametrize("name", FREE)
def test_a_baked_batch_is_freed_and_rows_stay_as_they_were(name: str) -> None:
    model = Model.load(FREE[name])
    assert model.batched
    assert not model.slow_nodes
    given = columns(model, 7, special=False)
    found = execute(model, given, range(7))
    assert_same_bits(found, one_by_one(model, given, 7), name)
    for row in range(7):
        alone = foreign(FREE[name], {"x": given["x"][row:row + 1]})
        for key, array in found.items():
            assert_near(array[row:row + 1], alone[key], 1e-4, f"{name}, row {row}", 1e-6)


@pytest.mark.parametrize(("nodes", "reason"), [
    ([H.make_node("Reshape", ["x", "s"], ["y"])], "Reshape"), ([H.make_node("ReduceSum", ["x", "a"], ["y"], keepdims=0)], "ReduceSum"),
    ([H.make_node("Squeeze", ["x", "a"], ["y"])], "Squeeze"), ([H.make_node("Softmax", ["x"], ["y"], axis=0)], "Softmax")])
def test_a_graph_that_cannot_be_freed_names_the_node_and_runs_row_by_row(nodes: list[Any], reason: str) -> None:
    graph = exported(nodes, (1, 4), ["y"], **{k: v for k, v in {"s": np.array([4]), "a": np.array([0])}.items() if k in nodes[0].input})
    model = Model.load(graph)
    assert not model.batched
    assert reason in model.plan().one_row
    given = columns(model, 3, special=False)
    found = execute(model, given, range(3))["y"]
    for row in range(3):
        np.testing.assert_allclose(found[row].ravel(), foreign(graph, {"x": given["x"][row].reshape(1, 4)})["y"].ravel(), rtol=1e-6)


def test_real_policies_exported_for_one_row_are_freed_and_rows_are_as_they_were(shared_models: Any, valid_model: str) -> None:
    """The rows of 64 at once are what onnxruntime gives for each alone."""
    path = str(shared_models.path(valid_model))
    model = Model.load(path)
    assert model.batched, model.plan().one_row
    proto = onnx.load(path, load_external_data=False)
    initial = {tensor.name for tensor in proto.graph.initializer}
    ranks = {port.name: len(port.type.tensor_type.shape.dim) for port in proto.graph.input if port.name not in initial}
    dims = [dim for port in proto.graph.input if port.name not in initial for dim in port.type.tensor_type.shape.dim]
    if any(dim.dim_param or not dim.HasField("dim_value") for dim in dims) or model.random_nodes:
        return  # exported with a batch; compared elsewhere
    given = columns(model, 64, special=False)
    found = execute(model, given, range(64))
    for row in range(0, 64, 9):
        alone = {name: given[name][row:row + 1] if ranks[name] == given[name].ndim else given[name][row] for name in given}
        expected = foreign(path, alone)
        for name, array in found.items():
            spec = model.outputs[name]
            one = np.take(array, row, axis=spec.batch_axis) if spec.batch_axis is not None else array
            assert_near(one.reshape(expected[name].shape), expected[name], 1e-4, f"row {row}, {name}", 1e-5)
