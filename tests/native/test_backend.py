"""ONNX's backend interface: what the cases of the onnx package do not look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import cervello.onnx_backend as backend
from cervello.errors import ConfigurationError, InputError, UnsupportedError


def graph(nodes: list[Any], inputs: dict[str, tuple[int, ...] | None], outputs: list[str], **constants: Any) -> onnx.ModelProto:
    ports = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()]
    return onnx.helper.make_model(onnx.helper.make_graph(
        nodes, "g", ports, [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(data), name) for name, data in constants.items()]),
        opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)


ADD = graph([onnx.helper.make_node("Add", ["x", "y"], ["z"])], {"x": None, "y": None}, ["z"])


def test_a_graph_runs_with_any_shapes_and_is_planned() -> None:
    prepared = backend.prepare(ADD)
    for shape in ((3,), (2, 1, 4), (), (0, 5)):
        x = np.ones(shape, np.float32)
        (found,) = prepared.run([x, x])
        np.testing.assert_array_equal(found, x + x)
        assert found.shape == shape
        assert prepared.tiers == {"planned": 1, "numpy": 0, "reference": 0}


def test_inputs_come_in_order_or_by_name() -> None:
    x, y = np.ones(3, np.float32), np.arange(3, dtype=np.float32)
    for given in ([x, y], (x, y), {"y": y, "x": x}):
        np.testing.assert_array_equal(backend.run_model(ADD, given)[0], x + y)


def test_one_node_runs_alone() -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    np.testing.assert_array_equal(backend.run_node(node, [np.array([-1, 2], np.float32)])[0], [0, 2])


def test_an_operand_that_is_a_shape_is_read_anew_for_every_value() -> None:
    node = onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])
    model = graph([node], {"x": None}, ["y"])
    model.graph.input.append(onnx.helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, (None,)))
    prepared = backend.prepare(model)
    x = np.arange(6, dtype=np.float32)
    for shape in ((2, 3), (3, 2), (6,), (1, -1)):
        (found,) = prepared.run([x, np.array(shape)])
        np.testing.assert_array_equal(found, x.reshape(shape))
        assert prepared.tiers["planned"] == 1


def test_what_no_kernel_takes_runs_on_a_slower_tier_and_says_so() -> None:
    node = onnx.helper.make_node("Det", ["x"], ["y"])
    prepared = backend.prepare(graph([node], {"x": (2, 2)}, ["y"]))
    np.testing.assert_allclose(prepared.run([np.array([[1, 2], [3, 4]], np.float32)])[0], -2, rtol=1e-6)
    assert prepared.tiers["reference"] == 1
    assert prepared.reasons


def test_other_devices_options_and_inputs_are_refused() -> None:
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(UnsupportedError, match="backend: expected device 'CPU', got 'CUDA'"):
        backend.prepare(ADD, "CUDA")
    for other in (b"x", "model.onnx", None):
        with pytest.raises(ConfigurationError, match="backend: expected a ModelProto, got"):
            backend.prepare(other)  # type: ignore[arg-type]
    x = np.ones(1, np.float32)
    with pytest.raises(InputError, match=r"expected 2 inputs \['x', 'y'\], got 3"):
        backend.prepare(ADD).run([x, x, x])
    with pytest.raises(InputError, match="expected a value for input 'y', got none"):
        backend.prepare(ADD).run([x])
    with pytest.raises(InputError, match="expected no options"):
        backend.prepare(ADD).run([x, x], speed=3)
    assert not backend.is_compatible(ADD, "CUDA")
    assert backend.is_compatible(ADD)
