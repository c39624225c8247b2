"""Graphs exported for one row run many, or say what stands in the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello import Policy
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
                               r=weights(1, 12, 3), h0=weights(1, 1, 3), c0=weights(1, 1, 3)),
    "attention with two heads in the batch": exported([
        H.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), H.make_node("Reshape", ["t", "s"], ["r"]),
        H.make_node("Transpose", ["r"], ["k"], perm=[1, 2, 0]), H.make_node("Transpose", ["r"], ["q"], perm=[1, 0, 2]),
        H.make_node("MatMul", ["q", "k"], ["a"]), H.make_node("Softmax", ["a"], ["p"]), H.make_node("MatMul", ["p", "q"], ["v"]),
        H.make_node("Transpose", ["v"], ["b"], perm=[1, 0, 2]), H.make_node("Reshape", ["b", "e"], ["c"]),
        H.make_node("Transpose", ["c"], ["y"], perm=[1, 0, 2])], (1, 6, 16), ["y"], s=np.array([6, 2, 8]), e=np.array([6, 1, 16]))}


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


def recurrent(layers: int) -> onnx.ModelProto:
    """GRU layers as torch's new exporter writes them for one row: the state is sliced by layer."""
    nodes, below = [H.make_node("Unsqueeze", ["obs", "p0"], ["s"])], "s"
    constants: dict[str, Any] = {}
    for k in range(layers):
        constants |= {f"w{k}": weights(1, 24, 5 if k == 0 else 8), f"r{k}": weights(1, 24, 8)}
        nodes += [H.make_node("Slice", ["h_in", f"p{k}", f"p{k + 1}", "p0"], [f"i{k}"]),
                  H.make_node("GRU", [below, f"w{k}", f"r{k}", "", "", f"i{k}"], [f"y{k}", f"h{k}"], hidden_size=8),
                  H.make_node("Squeeze", [f"y{k}", "p1"], [f"m{k}"])]
        below = f"m{k}"
    nodes += [H.make_node("Squeeze", [below, "p0"], ["q"]), H.make_node("MatMul", ["q", "wo"], ["action"]),
              H.make_node("Concat", [f"h{k}" for k in range(layers)], ["h_out"], axis=0)]
    constants |= {"wo": weights(8, 2), **{f"p{k}": np.array([k]) for k in range(layers + 1)}}
    ports = [[H.make_tensor_value_info("obs", 1, (1, 5)), H.make_tensor_value_info("h_in", 1, (layers, 1, 8))],
             [H.make_empty_tensor_value_info("action"), H.make_empty_tensor_value_info("h_out")]]
    stored = [onnx.numpy_helper.from_array(np.asarray(data), name) for name, data in constants.items()]
    return H.make_model(H.make_graph(nodes, "g", *ports, stored), opset_imports=[H.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_files_for_one_row_are_freed_with_layers_in_front_of_the_state(layers: int) -> None:
    proto = recurrent(layers)
    model = Model.load(proto)
    assert model.batched, model.plan(1).one_row
    assert not model.slow_nodes
    assert model.inputs["obs"].shape == (5,)
    given = columns(model, 7, special=False)
    found = execute(model, given, range(7))
    assert_same_bits(found, one_by_one(model, given, 7), f"{layers} layers")
    axes = {name: spec.batch_axis or 0 for name, spec in (*model.inputs.items(), *model.outputs.items())}
    for row in range(7):
        alone = foreign(proto, {name: np.take(data, [row], axes[name]) for name, data in given.items()})
        for name, array in found.items():
            assert_near(np.take(array, [row], axes[name]), alone[name], 1e-4, f"row {row}, {name}", 1e-6)


def test_a_slice_of_an_open_batch_is_the_first_row_and_not_all_of_them() -> None:
    graph = exported([H.make_node("Slice", ["x", "a", "b"], ["f"]), H.make_node("Reshape", ["f", "s"], ["r"]),
                      H.make_node("Sub", ["x", "r"], ["y"])], (1, 4), ["y"], a=np.array([0]), b=np.array([1]), s=np.array([1, 4]))
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    assert not Model.load(graph).batched


def test_metadata_of_the_file_is_shown() -> None:
    graph = exported([GEMM], (1, 4), ["h"], w=weights(4, 6))
    H.set_model_props(graph, {"joint_names": "hip,knee"})
    assert dict(Model.load(graph).metadata) == {"joint_names": "hip,knee"}
    assert dict(Policy(Model.load(graph)).metadata) == {"joint_names": "hip,knee"}


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_the_larger_of_two_batch_sizes_is_known(op: str) -> None:
    graph = exported([H.make_node("Shape", ["x"], ["s"], start=0, end=1), H.make_node("Mul", ["s", "two"], ["t"]),
                      H.make_node(op, ["s", "t"], ["u"]), H.make_node("Concat", ["u", "rest"], ["v"], axis=0),
                      H.make_node("Reshape", ["x", "v"], ["r"]), H.make_node("Relu", ["r"], ["z"]),
                      H.make_node("Reshape", ["z", "back"], ["y"])], (1, 6), ["y"], two=np.array([2]), rest=np.array([-1]),
                     back=np.array([-1, 6]))
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    model = Model.load(graph)
    assert model.batched, model.plan(1).one_row
    given = columns(model, 3, special=False)
    assert_same_bits(execute(model, given, range(3)), {"y": np.maximum(given["x"], 0)}, op)
