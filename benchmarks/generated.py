"""Policies made for benchmarks: ONNX bytes with weights from a fixed seed, in the forms that exporters write."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node


def mlp(sizes: Sequence[int], activation: str = "Tanh") -> bytes:
    """obs [N, sizes[0]] → action [N, sizes[-1]]; the activation after every layer but the last (torch's export of nn.Linear)."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "obs"
    for i, (width, height) in enumerate(itertools.pairwise(sizes)):
        final = i == len(sizes) - 2
        weights += [_weight(rng, f"{i}.weight", height, width), _weight(rng, f"{i}.bias", height)]
        nodes.append(node("Gemm", [last, f"{i}.weight", f"{i}.bias"], ["action" if final else f"{i}.sum"], transB=1))
        if not final:
            nodes.append(node(activation, [f"{i}.sum"], [f"{i}.out"]))
            last = f"{i}.out"
    return _model(nodes, {"obs": [sizes[0]]}, {"action": [sizes[-1]]}, weights)


def gru(features: int = 32, hidden: int = 128, actions: int = 8) -> bytes:
    """obs [N, features], h_in [N, hidden] → action, h_out; one step of a GRU between two dense layers."""
    rng = np.random.default_rng(1)
    weights = [_weight(rng, "in.weight", hidden, features), _weight(rng, "w", 1, 3 * hidden, hidden),
               _weight(rng, "r", 1, 3 * hidden, hidden),
               _weight(rng, "b", 1, 6 * hidden), _weight(rng, "out.weight", actions, hidden),
               numpy_helper.from_array(np.array([0], np.int64), "axis")]
    nodes = [node("Gemm", ["obs", "in.weight"], ["in"], transB=1), node("Relu", ["in"], ["features"]),
             node("Unsqueeze", ["features", "axis"], ["x"]), node("Unsqueeze", ["h_in", "axis"], ["h"]),
             node("GRU", ["x", "w", "r", "b", "", "h"], ["", "h_last"], hidden_size=hidden, linear_before_reset=1),
             node("Squeeze", ["h_last", "axis"], ["h_out"]),
             node("Gemm", ["h_out", "out.weight"], ["action"], transB=1)]
    return _model(nodes, {"obs": [features], "h_in": [hidden]}, {"action": [actions], "h_out": [hidden]}, weights)


def cnn(actions: int = 6) -> bytes:
    """image [N, 4, 84, 84] → logits: the network of Mnih et al., Human-level control (2015)."""
    rng = np.random.default_rng(2)
    nodes, weights, last = [], [], "image"
    for i, (channels, filters, kernel, stride) in enumerate([(4, 32, 8, 4), (32, 64, 4, 2), (64, 64, 3, 1)]):
        weights += [_weight(rng, f"{i}.weight", filters, channels, kernel, kernel), _weight(rng, f"{i}.bias", filters)]
        nodes += [node("Conv", [last, f"{i}.weight", f"{i}.bias"], [f"{i}.sum"], kernel_shape=[kernel] * 2, strides=[stride] * 2),
                  node("Relu", [f"{i}.sum"], [f"{i}.out"])]
        last = f"{i}.out"
    weights += [_weight(rng, "trunk.weight", 512, 3136), _weight(rng, "trunk.bias", 512), _weight(rng, "head.weight", actions, 512),
                _weight(rng, "head.bias", actions)]
    nodes += [node("Flatten", [last], ["flat"]), node("Gemm", ["flat", "trunk.weight", "trunk.bias"], ["t"], transB=1),
              node("Relu", ["t"], ["trunk"]), node("Gemm", ["trunk", "head.weight", "head.bias"], ["logits"], transB=1)]
    return _model(nodes, {"image": [4, 84, 84]}, {"logits": [actions]}, weights)


def attention(entities: int = 16, width: int = 64, heads: int = 4, actions: int = 8) -> bytes:
    """entities [N, 16, 64] → action: one block of self-attention over entities, mean, dense."""
    rng = np.random.default_rng(3)
    per_head = width // heads
    weights = [_weight(rng, f"{name}.weight", width, width) for name in ("q", "k", "v", "o")]
    weights += [_weight(rng, "head.weight", actions, width), numpy_helper.from_array(np.float32(per_head ** -0.5), "scale"),
                numpy_helper.from_array(np.array([0, 0, heads, per_head], np.int64), "split"),
                numpy_helper.from_array(np.array([0, 0, width], np.int64), "merge"),
                numpy_helper.from_array(np.array([1], np.int64), "axis"),
                numpy_helper.from_array(np.ones(width, np.float32), "norm")]
    nodes = []
    for name, turn in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [node("MatMul", ["entities", f"{name}.weight"], [f"{name}.flat"]),
                  node("Reshape", [f"{name}.flat", "split"], [f"{name}.split"]),
                  node("Transpose", [f"{name}.split"], [name], perm=turn)]
    nodes += [node("MatMul", ["q", "k"], ["scores"]), node("Mul", ["scores", "scale"], ["scaled"]),
              node("Softmax", ["scaled"], ["shares"], axis=-1), node("MatMul", ["shares", "v"], ["mixed"]),
              node("Transpose", ["mixed"], ["turned"], perm=[0, 2, 1, 3]), node("Reshape", ["turned", "merge"], ["joined"]),
              node("MatMul", ["joined", "o.weight"], ["out"]), node("Add", ["entities", "out"], ["residual"]),
              node("LayerNormalization", ["residual", "norm"], ["normed"], axis=-1),
              node("ReduceMean", ["normed", "axis"], ["mean"], keepdims=0),
              node("Gemm", ["mean", "head.weight"], ["action"], transB=1)]
    return _model(nodes, {"entities": [entities, width]}, {"action": [actions]}, weights, opset=18)


def _model(nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], outputs: dict[str, list[int]],
           weights: list[onnx.TensorProto], opset: int = 17) -> bytes:
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in given.items()]
             for given in (inputs, outputs)]
    graph = helper.make_graph(nodes, "generated", ports[0], ports[1], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString()


def _weight(rng: np.random.Generator, name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((rng.standard_normal(shape) / max(1, int(np.prod(shape[1:]))) ** 0.5).astype(np.float32), name)


POLICIES = {
    "mlp_4_64_64_2": lambda: mlp((4, 64, 64, 2)), "mlp_64_256_256_8": lambda: mlp((64, 256, 256, 8), "Relu"), "gru_128": gru,
    "cnn_atari": cnn, "attention_16x64": attention}
