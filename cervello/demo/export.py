"""Writes trained weights as ONNX models, in the forms that exporters of training frameworks produce.

Opset 17, IR version 8; the batch dimension is symbolic and called N. What lives outside the model is an input: the
grazer's noise (`epsilon`) and the hunter's recurrent state (`h_in`, handed back as `h_out`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cervello.demo import training_hunter, training_scout
from cervello.demo.herd import FloatArray
from cervello.demo.species import GRAZER, HUNTER, SCOUT, Species
from cervello.demo.training_adam import Parameters

BATCH = "N"
_OPSET = 17
_IR_VERSION = 8


def grazer_model(weights: Parameters) -> onnx.ModelProto:
    """obs [N, 16], epsilon [N, 2] -> action [N, 2] = tanh(mean + exp(log_std) * epsilon)."""
    nodes = [
        helper.make_node("Gemm", ["obs", "trunk.weight", "trunk.bias"], ["trunk"], name="trunk", transB=1),
        helper.make_node("Tanh", ["trunk"], ["features"], name="trunk_tanh"),
        helper.make_node("Gemm", ["features", "mean.weight", "mean.bias"], ["mean"], name="mean", transB=1),
        helper.make_node("Exp", ["log_std"], ["std"], name="std"),
        helper.make_node("Mul", ["std", "epsilon"], ["noise"], name="noise"),
        helper.make_node("Add", ["mean", "noise"], ["wish"], name="wish"),
        helper.make_node("Tanh", ["wish"], ["action"], name="action"),
    ]
    tensors = {
        "trunk.weight": weights["w1"].T,
        "trunk.bias": weights["b1"],
        "mean.weight": weights["w2"].T,
        "mean.bias": weights["b2"],
        "log_std": weights["log_std"],
    }
    inputs = {"obs": GRAZER.observation_shape, "epsilon": GRAZER.output_shape}
    return _model(GRAZER, nodes, tensors, inputs, {"action": GRAZER.output_shape})


def hunter_model(weights: Parameters) -> onnx.ModelProto:
    """obs [N, 9], h_in [N, 24] -> action [N, 2], h_out [N, 24]; one step of a batch-first GRU."""
    nodes = [
        helper.make_node("Unsqueeze", ["obs", "axis_1"], ["obs_sequence"], name="obs_sequence"),  # [N, 1, D]
        helper.make_node("Transpose", ["obs_sequence"], ["obs_time_first"], name="obs_time_first", perm=[1, 0, 2]),
        helper.make_node("Unsqueeze", ["h_in", "axis_0"], ["h_in_directions"], name="h_in_directions"),  # [1, N, H]
        helper.make_node(
            "GRU",
            ["obs_time_first", "gru.weight", "gru.recurrence", "gru.bias", "", "h_in_directions"],
            ["gru_y", "gru_h"],
            name="gru",
            hidden_size=training_hunter.STATE,
            linear_before_reset=1,
        ),
        helper.make_node("Squeeze", ["gru_y", "axis_1"], ["gru_time_first"], name="gru_time_first"),  # [1, N, H]
        helper.make_node("Transpose", ["gru_time_first"], ["gru_sequence"], name="gru_sequence", perm=[1, 0, 2]),
        helper.make_node("Squeeze", ["gru_sequence", "axis_1"], ["memory"], name="memory"),  # [N, H]
        helper.make_node("Gemm", ["memory", "trunk.weight", "trunk.bias"], ["trunk"], name="trunk", transB=1),
        helper.make_node("Relu", ["trunk"], ["features"], name="trunk_relu"),
        helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["wish"], name="head", transB=1),
        helper.make_node("Tanh", ["wish"], ["action"], name="action"),
        helper.make_node("Squeeze", ["gru_h", "axis_0"], ["h_out"], name="h_out"),
    ]
    tensors = {
        "gru.weight": weights["w"].T[None],  # gates update, reset, candidate: the order of ONNX
        "gru.recurrence": weights["r"].T[None],
        "gru.bias": np.concatenate([weights["wb"], weights["rb"]])[None],
        "trunk.weight": weights["w1"].T,
        "trunk.bias": weights["b1"],
        "head.weight": weights["w2"].T,
        "head.bias": weights["b2"],
    }
    state = (training_hunter.STATE,)
    inputs = {"obs": HUNTER.observation_shape, "h_in": state}
    outputs = {"action": HUNTER.output_shape, "h_out": state}
    return _model(HUNTER, nodes, tensors, inputs, outputs, {"axis_0": 0, "axis_1": 1})


def scout_model(weights: Parameters) -> onnx.ModelProto:
    """image [N, 3, 11, 11] -> logits [N, 8]; rows of the image grow with the arena's y."""
    kernel = (training_scout.KERNEL, training_scout.KERNEL)
    first, second = training_scout.FILTERS
    nodes = []
    for name, source, stride in (("conv_1", "image", 0), ("conv_2", "conv_1_relu", 1)):
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}.weight", f"{name}.bias"],
                [name],
                name=name,
                kernel_shape=kernel,
                strides=[training_scout.STRIDES[stride]] * 2,
                pads=[0, 0, 0, 0],
                dilations=[1, 1],
                group=1,
            )
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}_relu"], name=f"{name}_relu"))
    nodes += [
        helper.make_node("Flatten", ["conv_2_relu"], ["flat"], name="flat", axis=1),
        helper.make_node("Gemm", ["flat", "trunk.weight", "trunk.bias"], ["trunk"], name="trunk", transB=1),
        helper.make_node("Relu", ["trunk"], ["features"], name="trunk_relu"),
        helper.make_node("Gemm", ["features", "logits.weight", "logits.bias"], ["logits"], name="logits", transB=1),
    ]
    tensors = {
        "conv_1.weight": weights["k1"].T.reshape(first, SCOUT.observation_shape[0], *kernel),
        "conv_1.bias": weights["c1"],
        "conv_2.weight": weights["k2"].T.reshape(second, first, *kernel),
        "conv_2.bias": weights["c2"],
        "trunk.weight": weights["w1"].T,
        "trunk.bias": weights["b1"],
        "logits.weight": weights["w2"].T,
        "logits.bias": weights["b2"],
    }
    return _model(SCOUT, nodes, tensors, {"image": SCOUT.observation_shape}, {"logits": SCOUT.output_shape})


def _model(
    species: Species,
    nodes: list[onnx.NodeProto],
    tensors: Mapping[str, FloatArray],
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Mapping[str, tuple[int, ...]],
    axes: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Puts a checked model together.

    Args:
      tensors: float weights by name. axes: int64 one-element tensors by name, for Squeeze and Unsqueeze.
      inputs, outputs: shapes by name, without the batch dimension.
    """
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name) for name, value in tensors.items()
    ]
    initializers += [numpy_helper.from_array(np.array([axis], np.int64), name) for name, axis in (axes or {}).items()]
    graph = helper.make_graph(
        nodes,
        species.name,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *shape]) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *shape]) for name, shape in outputs.items()],
        initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="cervello.demo",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        doc_string=f"{species.name} of the demo arena; {species.observation_name}: "
        + "; ".join(species.observation_layout),
    )
    onnx.checker.check_model(model, full_check=True)
    return model
