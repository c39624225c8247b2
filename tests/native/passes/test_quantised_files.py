"""Files that onnxruntime's quantiser writes, as it writes them: planned, batched, and what onnxruntime gives for each row alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import Chain, rows, weights
from native_oracle import assert_near

from cervello.native import Model

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nothing to quantise with")
quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime's quantiser needs packages that are not installed")


def _dense() -> onnx.ModelProto:
    c = Chain(obs=rows(12))
    first = c.add("Relu", c.dense("obs", 12, 32))
    return c.model(c.dense(c.add("Add", c.add("Tanh", c.dense(first, 32, 32, 2)), first), 32, 5, 4))


def _pictures() -> onnx.ModelProto:
    c = Chain(obs=rows(3, 9, 9))
    first = c.add("Relu", c.add("Conv", "obs", weights(8, 3, 3, 3), weights(8), strides=[2, 2]))
    pooled = c.add("MaxPool", c.add("Conv", first, weights(8, 8, 3, 3, seed=1), pads=[1, 1, 1, 1]), kernel_shape=[2, 2])
    flat = c.add("Flatten", c.add("Concat", pooled, pooled, axis=1))
    return c.model(c.add("Softmax", c.add("Add", c.add("MatMul", flat, weights(144, 6, scale=0.02)), weights(6)), axis=-1))


def _matrices() -> onnx.ModelProto:
    c = Chain(obs=rows(12))
    first = c.add("Relu", c.add("Add", c.add("MatMul", "obs", weights(12, 32, scale=0.3)), weights(32)))
    return c.model(c.add("MatMul", first, weights(32, 5, scale=0.3)))


GRAPHS = {"dense": _dense, "pictures": _pictures}


class _Rows(quantization.CalibrationDataReader):  # type: ignore[misc]
    """A few batches that say how large activations become."""

    def __init__(self, shape: tuple[int, ...]):
        self._batches = iter([{"obs": weights(8, *shape, seed=i, scale=1.0)} for i in range(2)])

    def get_next(self) -> Any:
        return next(self._batches, None)


def _quantised(folder: Path, graph: str, form: str, by_channel: bool, activations: str = "QInt8", parameters: str = "QInt8") -> Path:
    """A file of onnxruntime's quantiser; with int8 weights and activations, it computes on every CPU what ONNX says."""
    source, target = folder / "float.onnx", folder / "quantised.onnx"
    proto = {**GRAPHS, "matrices": _matrices}[graph]()
    onnx.save(proto, source)
    if form == "dynamic":
        quantization.quantize_dynamic(source, target, weight_type=quantization.QuantType.QUInt8, per_channel=by_channel)
    else:
        shape = tuple(size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim[1:])
        quantization.quantize_static(source, target, _Rows(shape), quant_format=quantization.QuantFormat[form], per_channel=by_channel,
                                     activation_type=quantization.QuantType[activations], weight_type=quantization.QuantType[parameters])
    return target


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("by_channel", [False, True])
def test_what_the_quantiser_writes_runs_at_once(tmp_path: Path, graph: str, form: str, by_channel: bool) -> None:
    path = _quantised(tmp_path, graph, form, by_channel)
    model = Model.load(path)
    assert model.batched
    assert not model.slow_nodes
    obs = weights(6, *model.inputs["obs"].shape, seed=9, scale=1.0)
    (found,) = model.run({"obs": obs}).values()
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    alone = np.concatenate([session.run(None, {"obs": obs[row:row + 1]})[0] for row in range(6)])
    # A number that lies half-way between two of the grid may fall to either, where functions differ in their last bit.
    if graph == "dense" or form == "dynamic":
        assert_near(found, alone, 2e-6, form, absolute=1e-6)
    else:
        assert np.abs(found - alone).max() <= 1 / 128


def _sums(node: onnx.NodeProto, x: Any, stored: dict[str, Any]) -> Any:
    """The product of a node as int64, its bias among it."""
    w, zero = stored[node.input[3]].astype(np.int64), stored[node.input[5]].astype(np.int64)
    whole = x.astype(np.int64) - int(stored[node.input[2]])
    if node.op_type == "QLinearMatMul":
        return whole @ (w - zero)
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    top, left, bottom, right = attributes.get("pads", [0] * 4)
    down, along = attributes.get("strides", [1, 1])
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(whole, ((0, 0), (0, 0), (top, bottom), (left, right))), w.shape[2:], (2, 3))
    sums = np.einsum("nchwij,ocij->nohw", windows[:, :, ::down, ::along], w - zero.reshape(-1, *(1,) * (3 * zero.ndim)))
    return sums + (stored[node.input[8]].astype(np.int64).reshape(1, -1, 1, 1) if len(node.input) > 8 else 0)


@pytest.mark.parametrize("graph", ["matrices", "pictures"])
@pytest.mark.parametrize("parameters", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("by_channel", [False, True])
def test_uint8_activations_are_multiplied_and_convolved_as_onnx_defines_it(tmp_path: Path, graph: str, parameters: str,
                                                                           by_channel: bool) -> None:
    """onnxruntime saturates sums of uint8 times int8 on CPUs without VNNI; the definition is computed in int64 here."""
    path = _quantised(tmp_path, graph, "QOperator", by_channel, "QUInt8", parameters)
    proto = onnx.load(path)
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in proto.graph.initializer}
    products = [node for node in proto.graph.node if node.op_type in ("QLinearConv", "QLinearMatMul")]
    assert products
    for node in products:
        model = Model.load(path, outputs=[node.input[0], node.output[0]])
        found = model.run({"obs": weights(6, *model.inputs["obs"].shape, seed=9, scale=1.0)})
        x, y = found[node.input[0]], found[node.output[0]]
        assert x.dtype == np.uint8
        scale = stored[node.input[4]].astype(np.float64)
        scale = scale.reshape(-1, 1, 1) if scale.ndim and node.op_type == "QLinearConv" else scale
        exact = _sums(node, x, stored) * (float(stored[node.input[1]]) * scale / float(stored[node.input[6]]))
        half_way = np.abs(exact - np.floor(exact) - 0.5) < 1e-4  # a float32 ratio of scales may move these to either side
        expected = np.clip(np.rint(exact) + int(stored[node.input[7]]), 0, 255)
        np.testing.assert_array_equal(np.where(half_way, expected, y), expected)
        assert np.abs(y.astype(np.int64) - expected).max() <= 1
        assert half_way.mean() < 0.01
