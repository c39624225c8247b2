"""Policies made for benchmarks: ONNX bytes with weights from a fixed seed, in the forms that exporters write."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def mlp(sizes: Sequence[int], activation: str = "Tanh") -> bytes:
    """obs [N, sizes[0]] → action [N, sizes[-1]]; the activation after every layer but the last (torch's export of nn.Linear)."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "obs"
    for i, (width, height) in enumerate(itertools.pairwise(sizes)):
        final = i == len(sizes) - 2
        weights += [numpy_helper.from_array((rng.standard_normal((height, width)) / width ** 0.5).astype(np.float32), f"{i}.weight"),
                    numpy_helper.from_array((rng.standard_normal(height) * 0.1).astype(np.float32), f"{i}.bias")]
        nodes.append(helper.make_node("Gemm", [last, f"{i}.weight", f"{i}.bias"], ["action" if final else f"{i}.sum"], transB=1))
        if not final:
            nodes.append(helper.make_node(activation, [f"{i}.sum"], [f"{i}.out"]))
            last = f"{i}.out"
    return _model(nodes, {"obs": [sizes[0]]}, {"action": [sizes[-1]]}, weights)


def _model(nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], outputs: dict[str, list[int]],
           weights: list[onnx.TensorProto]) -> bytes:
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in given.items()]
             for given in (inputs, outputs)]
    graph = helper.make_graph(nodes, "generated", ports[0], ports[1], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
