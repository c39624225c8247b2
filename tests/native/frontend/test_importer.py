"""Files: what is read, whatever its form, and what is refused, with the place and the reason."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import F32, Chain, In, graph, node, one, policy, rows, weights
from onnx import helper, numpy_helper

from cervello.errors import FormatError, GraphError, MissingFileError, ModelError, UnsupportedError
from cervello.native import Model

OBS = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


@pytest.mark.parametrize(("data", "message"), [
    (b"", "expected an ONNX file, got 0 bytes; export it again"),
    (b"not an onnx file at all", "expected an ONNX file, got 23 bytes that are truncated or not ONNX|without; is it an ONNX file"),
    (b"\x89PNG\r\n\x1a\n" + bytes(100), "expected an ONNX file|expected a graph and an opset"),
    (bytes(64), "expected an ONNX file|graph and an opset"),
    (onnx.ModelProto(ir_version=8).SerializeToString(), "expected a graph and an opset, got 2 bytes without; is it an ONNX file")])
def test_bytes_that_are_no_model_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        Model.load(data)
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="model 'broken': "):
        Model.load(path)


def test_a_truncated_file_is_refused_wherever_it_ends() -> None:
    data = policy().SerializeToString()
    for end in [*range(1, 200, 7), *range(200, len(data) - 1, 997)]:
        with pytest.raises(ModelError):
            Model.load(data[:end])


def test_damaged_files_raise_nothing_but_model_errors() -> None:
    """Random bytes changed anywhere in the structure: refused by the tree, or loaded."""
    random = np.random.default_rng(1)
    c = Chain(x=rows(4))
    y = c.add("Concat", c.add("Softmax", c.dense("x", 4, 3)), c.add("Slice", "x", np.array([0]), np.array([2]), np.array([1])), axis=1)
    sound = c.model(c.add("Reshape", y, np.array([-1, 5]))).SerializeToString()
    refused = 0
    for _ in range(1500):
        data = bytearray(sound)
        for at in random.integers(0, len(data), random.integers(1, 4)):
            data[at] = random.integers(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # weights may have become NaN
                Model.load(bytes(data))
        except ModelError:
            refused += 1
    assert refused > 300


def test_a_file_that_is_not_there_is_a_model_error_and_an_ordinary_one() -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx.: expected a file, found none"):
        Model.load("nowhere.onnx")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Model.load("nowhere.onnx")


def test_path_bytes_and_proto_give_equal_results(tmp_path: Path) -> None:
    proto = policy()
    path = tmp_path / "racer.onnx"
    onnx.save(proto, str(path))
    data = path.read_bytes()
    models = [Model.load(source) for source in (proto, path, str(path), data, bytearray(data), memoryview(data))]
    assert [m.name for m in models] == ["g", "racer", "racer", "model", "model", "model"]
    results = [m.run({"obs": OBS})["action"] for m in models]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(("model", "message"), [
    (graph([node("Relu", ["x"], ["y"])], {"x": rows(2)}, ["y", "z"]),
     r"model 'g', output 'z': expected a node that produces it, found none \(a dangling output\)"),
    (graph([node("Add", ["x", "w"], ["y"])], {"x": rows(2)}, ["y"]),
     r"expected its input 'w' to be produced by a node, an input or an initializer, found none \(a dangling input\)"),
    (graph([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], {"x": rows(2)}, ["y"]),
     "expected a new name, got 'y', which is defined"),
    (graph([node("Relu", ["x"], ["x"])], {"x": rows(2)}, ["x"]), "expected a new name, got 'x', which is defined twice"),
    (graph([node("Relu", ["x"], ["c"])], {"x": rows(2)}, ["c"], {"c": weights(2)}), "expected a new name, got 'c', which is defined twice"),
    (graph([node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"])], {"x": rows(2)}, ["b"]),
     "expected an acyclic graph, got a cycle through 'b'"),
    (graph([node("Neg", ["a"], ["a"])], {"x": rows(2)}, ["a"]), "expected an acyclic graph, got a cycle through 'a'"),
    (graph([node("Relu", ["x"], ["y"])], {"x": rows(2)}, []), "expected at least one output, got none"),
    (one("Gemm", rows(3), weights(4, 2)), "expected equal inner sizes, got .* and "),
    (one("Add", rows(3), weights(4)), "expected shapes that broadcast"),
    (one("Concat", rows(3), rows(2, 2), axis=1), "expected equal sizes off axis"),
    (one("Softmax", rows(3), axis=5), "expected an axis within rank 2, got 5")])
def test_graphs_that_contradict_themselves_are_refused(model: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Model.load(model)


def test_a_name_given_to_two_inputs_is_refused() -> None:
    model = graph([node("Relu", ["x"], ["y"])], {"x": rows(2)}, ["y"])
    model.graph.input.append(model.graph.input[0])
    with pytest.raises(GraphError, match="input 'x': expected a new name, got one that is defined twice"):
        Model.load(model)


def test_nodes_in_any_order_are_sorted() -> None:
    model = policy()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    np.testing.assert_array_equal(Model.load(model).run({"obs": OBS})["action"], Model.load(policy()).run({"obs": OBS})["action"])


@pytest.mark.parametrize("opset", [0, onnx.defs.onnx_opset_version() + 1])
def test_an_opset_outside_the_supported_range_is_refused(opset: int) -> None:
    with pytest.raises(UnsupportedError, match=f"expected opset 1 to {onnx.defs.onnx_opset_version()}, got {opset}"):
        Model.load(one("Relu", rows(2), opset=opset))


def test_an_op_from_before_opset_7_that_meant_something_else_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"node Add '.*': expected opset 7 or later, got 6"):
        Model.load(one("Add", rows(2), np.ones(2, np.float32), opset=6, axis=0, broadcast=1))


@pytest.mark.parametrize("opset", [6, 7, 8, 11, 17, onnx.defs.onnx_opset_version()])
def test_every_opset_between_is_read(opset: int) -> None:
    assert Model.load(one("Relu", rows(2), opset=opset)).run({"x0": -np.ones((1, 2))})["y0"].tolist() == [[0, 0]]


def test_an_op_of_an_unknown_domain_is_refused() -> None:
    model = graph([helper.make_node("Magic", ["x"], ["y"], domain="com.example")], {"x": rows(2)}, ["y"])
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(UnsupportedError, match=r"^model '\w+', node Magic.*expected an op Cervello runs, got com\.example\.Magic "
                                               r"\(no kernel for this op\); register one with cervello\.ops \(examples/own_ops\.py\)$"):
        Model.load(model)


def test_an_unknown_op_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"got ai\.onnx\.Reluu|expected an op"):
        Model.load(one("Reluu", rows(2))).run({"x0": np.zeros((1, 2), np.float32)})


def test_a_branch_that_is_missing_is_refused() -> None:
    branch = helper.make_graph([node("Relu", ["x"], ["r"])], "then", [], [helper.make_empty_tensor_value_info("r")])
    model = graph([node("If", ["c"], ["y"], then_branch=branch)], {"c": In((), bool), "x": rows(2)}, ["y"])
    with pytest.raises(GraphError, match="expected a condition and two branches"):
        Model.load(model)


def _external(tmp_path: Path, location: str, **facts: Any) -> Path:
    model = one("Gemm", rows(4), weights(4, 3))
    tensor = model.graph.initializer[0]
    (tmp_path / "inside").mkdir(exist_ok=True)
    for name in ("weights.bin", "inside/weights.bin"):
        (tmp_path / name).write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **facts}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path = tmp_path / "inside" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_are_read_from_the_models_folder(tmp_path: Path) -> None:
    expected = Model.load(one("Gemm", rows(4), weights(4, 3))).run({"x0": OBS})["y0"]
    for facts in ({}, {"offset": 0, "length": 48}):
        np.testing.assert_array_equal(Model.load(_external(tmp_path, "weights.bin", **facts)).run({"x0": OBS})["y0"], expected)


@pytest.mark.parametrize(("location", "facts", "message"), [
    ("../weights.bin", {}, r"initializer 'c1': expected a file inside the model's folder, got '\.\./weights\.bin'"),
    ("/etc/hostname", {}, "expected a file inside the model's folder"), ("", {}, "expected a file inside the model's folder, got ''"),
    (".", {}, "expected a file inside the model's folder"),
    ("weights.bin", {"offset": 4}, "expected 48 bytes at 4 of 'weights.bin', got a file of 48 bytes"),
    ("weights.bin", {"offset": -4}, "expected 48 bytes at -4"), ("weights.bin", {"length": 40}, "expected 48 bytes at 0"),
    ("weights.bin", {"offset": "x"}, r"expected \[4, 3\] elements of type 1, got unreadable data")])
def test_external_weights_outside_or_short_are_refused(tmp_path: Path, location: str, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Model.load(_external(tmp_path, location, **facts))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = _external(tmp_path, "link.bin")
    try:
        (path.parent / "link.bin").symlink_to(tmp_path / "weights.bin")
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(FormatError, match="expected a file inside the model's folder"):
        Model.load(path)


def test_external_weights_that_are_missing_are_named_with_the_places(tmp_path: Path) -> None:
    path = _external(tmp_path, "missing.bin")
    with pytest.raises(MissingFileError, match=r"initializer 'c1': expected its data in the file 'missing\.bin', found no such file in "
                                               rf"'{tmp_path / 'inside'}'; put it there"):
        Model.load(path)


def _cached(tmp_path: Path) -> Path:
    """A model and its data as links into another folder, which knows them by other names."""
    (blobs := tmp_path / "blobs").mkdir()
    (revision := tmp_path / "snapshots" / "1").mkdir(parents=True)
    path = _external(tmp_path, "weights.bin")
    try:
        for i, name in enumerate(("model.onnx", "weights.bin")):
            (path.parent / name).rename(blobs / str(i))
            (revision / name).symlink_to(Path("..", "..", "blobs", str(i)))
    except OSError:
        pytest.skip("no links here")
    return revision / "model.onnx"


def test_external_weights_are_found_through_the_links_of_a_cache(tmp_path: Path) -> None:
    path = _cached(tmp_path)
    expected = Model.load(one("Gemm", rows(4), weights(4, 3))).run({"x0": OBS})["y0"]
    model = Model.load(path)
    np.testing.assert_array_equal(model.run({"x0": OBS})["y0"], expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).run({"x0": OBS})["y0"], expected)


@pytest.mark.parametrize("beside", ["link", "file"])
def test_external_weights_lie_beside_a_linked_model_or_beside_the_file_it_links_to(tmp_path: Path, beside: str) -> None:
    path = _cached(tmp_path)
    (path.parent / "weights.bin").unlink()
    (tmp_path / "blobs" / "1").rename((path.parent if beside == "link" else tmp_path / "blobs") / "weights.bin")
    assert Model.load(path).run({"x0": OBS})["y0"].shape == (3, 3)


def test_a_cache_whose_data_are_missing_or_elsewhere_is_refused(tmp_path: Path) -> None:
    path = _cached(tmp_path)
    (tmp_path / "blobs" / "1").unlink()
    with pytest.raises(MissingFileError, match=rf"found no such file in '{path.parent}' and '{tmp_path / 'blobs'}'"):
        Model.load(path)
    (path.parent / "weights.bin").unlink()
    (path.parent / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(FormatError, match="expected a file inside the model's folder"):
        Model.load(path)


def test_external_weights_of_a_model_without_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"got external file 'weights\.bin'; load the model by path"):
        Model.load(_external(tmp_path, "weights.bin").read_bytes())


def test_an_initializer_with_too_little_data_is_refused() -> None:
    model = one("Gemm", rows(4), weights(4, 3))
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    with pytest.raises(FormatError, match=r"initializer 'c1': expected \[4, 3\] elements of type 1, got unreadable data"):
        Model.load(model)


def test_initializers_listed_as_inputs_are_constants() -> None:
    model = one("Gemm", rows(4), weights(4, 3))
    model.graph.input.append(helper.make_tensor_value_info("c1", onnx.TensorProto.FLOAT, [4, 3]))
    loaded = Model.load(model)
    assert list(loaded.inputs) == ["x0"]
    np.testing.assert_array_equal(loaded.run({"x0": OBS})["y0"], Model.load(one("Gemm", rows(4), weights(4, 3))).run({"x0": OBS})["y0"])


@pytest.mark.parametrize("name", [":0", "dense/BiasAdd:0", "model::forward::x", "with some spaces", "17", "a.b.c", "näme", "'", "/"])
def test_any_tensor_name_works(name: str) -> None:
    model = Model.load(graph([node("Neg", [name], [name + "y"])], {name: rows(2)}, [name + "y"]))
    assert model.run({name: np.ones((1, 2))})[name + "y"].tolist() == [[-1, -1]]
    assert str(model.plan())


def test_an_output_named_twice_is_given_once() -> None:
    model = Model.load(graph([node("Neg", ["x"], ["y"])], {"x": rows(2)}, ["y", "y"]))
    assert list(model.outputs) == ["y"]
    assert model.run({"x": np.ones((1, 2))})["y"].tolist() == [[-1, -1]]


def test_an_output_that_is_an_input_is_copied() -> None:
    model = Model.load(graph([node("Neg", ["x"], ["y"])], {"x": rows(2)}, ["x", "y"]))
    x = np.ones((2, 2), np.float32)
    found = model.run({"x": x})
    assert found["x"] is not x
    np.testing.assert_array_equal(found["x"], x)


def test_outputs_that_no_input_reaches_are_constants() -> None:
    c = Chain(x=rows(2))
    c.nodes += [node("Identity", [c.const(np.float32([3]))], ["version"]), node("Neg", ["x"], ["y"])]
    c.constants["size"] = np.array([7], np.int64)
    model = Model.load(c.model("version", "size", "y"))
    assert {name: value.tolist() for name, value in model.constants.items()} == {"version": [3], "size": [7]}
    assert list(model.run({"x": np.ones((1, 2))})) == ["y"]


def test_rank_one_exports_gain_a_batch_axis() -> None:
    c = Chain(x=In((4,)))
    model = Model.load(c.model(c.add("Tanh", c.add("MatMul", "x", weights(4, 3)))))
    assert model.inputs["x"].shape == (4,)
    assert model.batched
    together = next(iter(model.run({"x": OBS}).values()))
    assert together.shape == (3, 3)
    for row, result in zip(OBS, together, strict=True):
        np.testing.assert_array_equal(next(iter(model.run({"x": row}).values())).reshape(-1), result)


def test_a_batch_of_one_baked_in_runs_rows_one_by_one() -> None:
    model = Model.load(one("Reshape", In((1, 4)), np.array([1, 2, 2])))
    assert model.run({"x0": OBS})["y0"].shape == (3, 2, 2)


def test_unnamed_batch_dims_are_free() -> None:
    model = Model.load(one("Relu", In((None, 4), F32)))
    assert model.batched
    assert model.run({"x0": OBS})["y0"].shape == (3, 4)


def test_constants_in_every_attribute_form() -> None:
    c = Chain(x=rows(2))
    for i, (kind, value) in enumerate([("value_float", 2.0), ("value_floats", [2.0, 2.0]),
                                       ("value", numpy_helper.from_array(np.float32([[2, 2]])))]):
        c.nodes.append(helper.make_node("Constant", [], [f"k{i}"], **{kind: value}))
    model = Model.load(c.model(*[c.add("Mul", "x", f"k{i}") for i in range(3)]))
    assert [found.tolist() for found in model.run({"x": np.ones((1, 2))}).values()] == [[[2, 2]]] * 3


def test_any_tensor_of_the_graph_can_be_an_output() -> None:
    model = Model.load(policy(), outputs=["tanh1_0", "action"])
    found = model.run({"obs": OBS})
    assert found["tanh1_0"].shape == (3, 64)
    with pytest.raises(GraphError, match=r"expected outputs among its tensors, got 'nope'; it declares \['action'\]"):
        Model.load(policy(), outputs=["nope"])


def test_strict_loading_refuses_slow_ops_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"expected every op on the planned tier \(strict=True\), got node Mod|Mod"):
        Model.load(one("Mod", rows(2), np.ones(2, np.float32), fmod=1), strict=True)
    assert Model.load(one("Mod", rows(2), np.ones(2, np.float32), fmod=1)).slow_nodes
