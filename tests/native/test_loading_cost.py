"""What loading costs: operations in proportion to the file for every shape of graph, and memory bounded for all nodes together."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cervello.errors import FormatError, ModelError, UnsupportedError
from cervello.native import Model

ENOUGH_S = 60  # of processor time for 10,000 nodes, which take about 3


def _model(nodes: list[onnx.NodeProto], outputs: list[str], constants: dict[str, Any] | None = None, shape: tuple[Any, ...] = ("N", 4),
           functions: list[onnx.FunctionProto] | None = None, inputs: dict[str, tuple[Any, ...]] | None = None) -> bytes:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (inputs or {"x": shape}).items()]
    graph = helper.make_graph(nodes, "g", ports, [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
                              [numpy_helper.from_array(np.asarray(data), name) for name, data in (constants or {}).items()])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, functions=functions or [], ir_version=9)
    return bytes(proto.SerializeToString())


def _chain(n: int) -> list[onnx.NodeProto]:
    return [helper.make_node("Tanh", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(n)]


def forwards(n: int) -> bytes:
    return _model(_chain(n), [f"v{n}"])


def backwards(n: int) -> bytes:
    return _model(_chain(n)[::-1], [f"v{n}"])


def branches(n: int) -> bytes:
    nodes = [helper.make_node("Tanh", ["x"], [f"v{i}"]) for i in range(n)]
    return _model([*nodes, helper.make_node("Sum", [f"v{i}" for i in range(n)], ["y"])], ["y"])


def halves(n: int) -> bytes:
    """As many values alive at once as half of the nodes, which are then read from the last to the first."""
    nodes = _chain(n // 2)
    nodes += [helper.make_node("Add", [f"a{i}" if i < n // 2 else f"v{i}", f"v{i - 1}"], [f"a{i - 1}"]) for i in range(n // 2, 1, -1)]
    return _model(nodes, ["a1"])


def outputs(n: int) -> bytes:
    return _model([helper.make_node("Tanh", ["x"], [f"v{i}"]) for i in range(n)], [f"v{i}" for i in range(n)])


def inputs(n: int) -> bytes:
    return _model([helper.make_node("Sum", [f"x{i}" for i in range(n)], ["y"])], ["y"], inputs={f"x{i}": ("N", 4) for i in range(n)})


def symbols(n: int) -> bytes:
    return _model([helper.make_node("Concat", [f"x{i}" for i in range(n)], ["y"], axis=0)], ["y"],
                  inputs={f"x{i}": (f"N{i}", 4) for i in range(n)})


def constants(n: int) -> bytes:
    nodes = [helper.make_node("Add", [f"v{i}" if i else "x", f"w{i}"], [f"v{i + 1}"]) for i in range(n)]
    return _model(nodes, [f"v{n}"], {f"w{i}": np.full(4, i, np.float32) for i in range(n)})


def _one(op: str, name: str, source: str) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node(op, [source], [name])], "branch", [],
                             [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])


def ifs(n: int) -> bytes:
    nodes = [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Greater", ["s", "zero"], ["c"])]
    for i in range(n // 3):
        before = f"v{i}" if i else "x"
        nodes.append(helper.make_node("If", ["c"], [f"v{i + 1}"], then_branch=_one("Tanh", f"t{i}", before),
                                      else_branch=_one("Relu", f"e{i}", before)))
    return _model(nodes, [f"v{n // 3}"], {"zero": np.float32(0)}, (1, 4))


SHAPES: list[Callable[[int], bytes]] = [forwards, backwards, branches, halves, outputs, inputs, symbols, constants, ifs]


def _operations(data: bytes) -> int:
    """Calls of Python and C functions while loading."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        Model.load(data)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_operations_grow_with_the_file(shape: Callable[[int], bytes]) -> None:
    Model.load(shape(100))  # compiles
    small, large = _operations(shape(1_200)), _operations(shape(4_800))
    assert large < 5.2 * small


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_ten_thousand_nodes_load_soon(shape: Callable[[int], bytes]) -> None:
    data = shape(9_000 if shape is ifs else 10_000)
    began = time.process_time()
    Model.load(data)
    assert time.process_time() - began < ENOUGH_S


@pytest.mark.parametrize("shape", [backwards, branches, halves, ifs], ids=lambda shape: shape.__name__)
def test_a_large_graph_gives_what_its_definition_says(shape: Callable[[int], bytes]) -> None:
    n = 3_000
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    model = Model.load(shape(n))
    (found,) = model.run({"x": x}).values()
    expected = x.astype(np.float64)
    if shape is branches:
        expected = n * np.tanh(expected)
    elif shape is halves:
        values = [expected]
        for _ in range(n // 2):
            values.append(np.tanh(values[-1]))
        expected = np.sum(values[1:], axis=0)
    elif shape is ifs:
        for _ in range(n // 3):
            expected = np.tanh(expected) if x.sum() > 0 else np.maximum(expected, 0)
    else:
        for _ in range(n):
            expected = np.tanh(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# Memory and work ------------------------------------------------------------------------------------------------------------------------


def _folds(op: str, n: int, *operands: str, **attributes: Any) -> bytes:
    """n constants, each of them 64 MiB, in a file of a few hundred bytes."""
    nodes = [helper.make_node(op, [*operands], [f"c{i}"], **attributes) for i in range(n)]
    nodes += [helper.make_node("Concat", [f"c{i}" for i in range(n)], ["c"], axis=0),
              helper.make_node("ReduceMax", ["c"], ["m"], keepdims=0), helper.make_node("Add", ["x", "m"], ["y"])]
    size = 1 << 24
    return _model(nodes, ["y"], {"one": np.ones(1, np.float32), "size": np.int64([size]), "zero": np.float32(0), "end": np.float32(size),
                                 "step": np.float32(1), "pads": np.int64([0, size - 1])})


@pytest.mark.parametrize("data", [
    _folds("Expand", 20, "one", "size"), _folds("Tile", 20, "one", "size"), _folds("Range", 20, "zero", "end", "step"),
    _folds("Pad", 20, "one", "pads")], ids=["Expand", "Tile", "Range", "Pad"])
def test_many_nodes_cannot_fold_to_more_than_one_may(data: bytes) -> None:
    with pytest.raises(UnsupportedError, match=r"expected constants of at most 25\d MiB in all, made of those in the file, got \d+ MiB"):
        Model.load(data)


def test_constants_of_the_file_may_be_folded_many_times() -> None:
    """What a file's own size allows: eight conversions of each of its weights."""
    weights, nodes = np.ones((2048, 2048), np.float16), []
    for i in range(8):
        nodes += [helper.make_node("Cast", ["w"], [f"f{i}"], to=1), helper.make_node("Transpose", [f"f{i}"], [f"t{i}"], perm=[1, 0])]
        nodes.append(helper.make_node("MatMul", [f"v{i}" if i else "x", f"t{i}"], [f"v{i + 1}"]))
    model = Model.load(_model(nodes, ["v8"], {"w": weights}, ("N", 2048)))
    np.testing.assert_array_equal(model.run({"x": np.eye(1, 2048, dtype=np.float32)})["v8"], 2048.0**7)


def test_products_of_constants_that_cost_too_much_are_left_to_the_run() -> None:
    n = 40
    nodes = [helper.make_node("Expand", ["one", "sizes"], ["c0"])]
    nodes += [helper.make_node("MatMul", ["c0" if i % 2 else f"c{i}", "c0"], [f"c{i + 1}"]) for i in range(n)]
    nodes += [helper.make_node("ReduceMax", [f"c{n}"], ["m"], keepdims=0), helper.make_node("Add", ["x", "m"], ["y"])]
    data = _model(nodes, ["y"], {"one": np.zeros((1, 1), np.float32), "sizes": np.int64([1500, 1500])})
    began = time.process_time()
    try:
        Model.load(data)
    except ModelError as error:
        assert "at most" in str(error)  # noqa: PT017  (either end is right: refused, or left to the run)
    assert time.process_time() - began < ENOUGH_S


def test_values_of_gigabytes_are_refused_before_anything_is_lowered() -> None:
    data = _model([helper.make_node("Expand", ["x", "size"], ["e"]), helper.make_node("ReduceMax", ["e"], ["y"])], ["y"],
                  {"size": np.int64([1 << 26, 1, 4])})
    with pytest.raises(ModelError, match=r"expected at most 512 MiB of values for one row, got"):
        Model.load(data)


def _doubling(depth: int, leaf: list[onnx.NodeProto]) -> list[onnx.FunctionProto]:
    functions = [helper.make_function("mine", "f0", ["a"], ["r"], leaf, [helper.make_opsetid("", 18)])]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    for d in range(1, depth):
        calls = [helper.make_node(f"f{d - 1}", ["a"], ["b"], domain="mine"), helper.make_node(f"f{d - 1}", ["b"], ["r"], domain="mine")]
        functions.append(helper.make_function("mine", f"f{d}", ["a"], ["r"], calls, opsets))
    return functions


@pytest.mark.parametrize("depth", [14, 30, 60])
def test_functions_that_double_are_refused(depth: int) -> None:
    functions = _doubling(depth, [helper.make_node("Tanh", ["a"], ["r"])])
    with pytest.raises(UnsupportedError, match="expected at most 10000 nodes in branches, loops and functions, got more"):
        Model.load(_model([helper.make_node(f"f{depth - 1}", ["x"], ["y"], domain="mine")], ["y"], functions=functions))


def test_calls_inside_calls_are_refused_at_some_depth() -> None:
    functions = [helper.make_function("mine", "f0", ["a"], ["r"], [helper.make_node("Tanh", ["a"], ["r"])], [helper.make_opsetid("", 18)])]
    for d in range(1, 300):
        functions.append(helper.make_function("mine", f"f{d}", ["a"], ["r"], [helper.make_node(f"f{d - 1}", ["a"], ["r"], domain="mine")],
                                              [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]))
    with pytest.raises(UnsupportedError, match="expected at most 64 calls inside each other, got more"):
        Model.load(_model([helper.make_node("f299", ["x"], ["y"], domain="mine")], ["y"], functions=functions))


def test_calls_of_a_function_share_its_constants() -> None:
    from cervello.native.frontend.importer import read

    data = numpy_helper.from_array(np.ones(1 << 16, np.float32))
    leaf = [helper.make_node("Constant", [], ["c"], value=data), helper.make_node("ReduceMax", ["c"], ["m"], keepdims=0),
            helper.make_node("Add", ["a", "m"], ["r"])]
    graph = read(_model([helper.make_node("f7", ["x"], ["y"], domain="mine")], ["y"], functions=_doubling(8, leaf)))
    large = [array for array in graph.constants.values() if array.size == 1 << 16]
    assert len(large) == 128
    assert len({id(array) for array in large}) == 1


def test_long_names_inside_functions_are_refused() -> None:
    """Each call has names of its own for what is in the function."""
    long = "n" * 1_000_000
    leaf = [helper.make_node("Tanh", ["a"], [long]), helper.make_node("Tanh", [long], ["r"])]
    with pytest.raises(UnsupportedError, match=r"expected (at most 10000 nodes|names of at most 67108864 characters)"):
        Model.load(_model([helper.make_node("f9", ["x"], ["y"], domain="mine")], ["y"], functions=_doubling(10, leaf)))


def test_sequences_that_become_too_many_nodes_are_refused() -> None:
    weights = np.ones((1, 8, 2), np.float32)
    nodes = [helper.make_node("Reshape", ["x", "sizes"], ["v0"])]
    for i in range(100):
        nodes += [helper.make_node("LSTM", [f"v{i}", "W", "R"], [f"l{i}"], hidden_size=2, clip=1.0),
                  helper.make_node("Squeeze", [f"l{i}", "axis"], [f"v{i + 1}"])]
    data = _model(nodes, ["v100"], {"W": weights, "R": weights, "sizes": np.int64([64, -1, 2]), "axis": np.int64([1])}, ("N", 128))
    with pytest.raises(UnsupportedError, match="expected decompositions that add at most 20000 nodes in all, got more"):
        Model.load(data)


def test_names_without_end_cost_no_more_than_others() -> None:
    """Results without a name used to be told apart by ever longer names."""
    nodes = [helper.make_node("Squeeze", ["x"], [""], axes=[0]) for _ in range(3_000)] + [helper.make_node("Tanh", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 4))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=9).SerializeToString()
    from cervello.native.frontend.importer import read
    from cervello.native.frontend.opset_upgrade import upgrade_opset

    assert max(map(len, upgrade_opset(read(data)).constants)) < 20


def _external(folder: Path, offsets: list[int], count: int = 1 << 16) -> Path:
    """A model whose weights are stretches of one file, of a megabyte."""
    (folder / "weights.bin").write_bytes(np.ones(1 << 18, np.float32).tobytes())
    nodes = [helper.make_node("ReduceMax", [f"w{i}"], [f"m{i}"], keepdims=0) for i in range(len(offsets))]
    nodes.append(helper.make_node("Sum", ["x", *(f"m{i}" for i in range(len(offsets)))], ["y"]))
    proto = onnx.load_model_from_string(_model(nodes, ["y"]))
    for i, offset in enumerate(offsets):
        tensor = proto.graph.initializer.add(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[count], data_location=TensorProto.EXTERNAL)
        for key, value in {"location": "./" * (i % 3) + "weights.bin", "offset": offset, "length": 4 * count}.items():
            tensor.external_data.add(key=key, value=str(value))
    (folder / "policy.onnx").write_bytes(proto.SerializeToString())
    return folder / "policy.onnx"


def test_one_stretch_of_a_file_serves_many_weights(tmp_path: Path) -> None:
    from cervello.native.frontend.importer import read

    path = _external(tmp_path, [0, 0, 0] + [1 << 18] * 3)
    graph = read(path)
    assert len({id(graph.constants[f"w{i}"]) for i in range(6)}) == 2
    assert Model.load(path).run({"x": np.zeros((1, 4), np.float32)})["y"].tolist() == [[6.0] * 4]


def test_stretches_of_a_file_that_overlap_are_not_read_again_and_again(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"expected ranges in 'weights\.bin' that do not overlap, got \d+ bytes of \d+"):
        Model.load(_external(tmp_path, [64 * i for i in range(1000)]))
