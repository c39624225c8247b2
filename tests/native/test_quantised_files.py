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


GRAPHS = {"dense": _dense, "pictures": _pictures}


class _Rows(quantization.CalibrationDataReader):  # type: ignore[misc]
    """A few batches that say how large activations become."""

    def __init__(self, shape: tuple[int, ...]):
        self._batches = iter([{"obs": weights(8, *shape, seed=i, scale=1.0)} for i in range(2)])

    def get_next(self) -> Any:
        return next(self._batches, None)


def _quantised(folder: Path, graph: str, form: str, by_channel: bool) -> Path:
    """A file with int8 weights and activations, for which onnxruntime computes on every CPU what ONNX says."""
    source, target = folder / "float.onnx", folder / "quantised.onnx"
    proto = GRAPHS[graph]()
    onnx.save(proto, source)
    signed = quantization.QuantType.QInt8
    if form == "dynamic":
        quantization.quantize_dynamic(source, target, weight_type=quantization.QuantType.QUInt8, per_channel=by_channel)
    else:
        shape = tuple(size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim[1:])
        quantization.quantize_static(source, target, _Rows(shape), quant_format=quantization.QuantFormat[form], per_channel=by_channel,
                                     activation_type=signed, weight_type=signed)
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
