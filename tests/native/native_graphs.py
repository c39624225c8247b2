"""Small ONNX graphs for tests: one op, or a chain of them, with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

F32, I64, BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(bool)
OPSET = 17


class In(NamedTuple):
    """A graph input: sizes or symbols, and an element type."""

    shape: tuple[int | str | None, ...]
    dtype: Any = F32


def rows(*shape: int | str, dtype: Any = F32) -> In:
    """An input whose batch lies in front."""
    return In(("N", *shape), dtype)


def weights(*shape: int, seed: int = 0, scale: float = 0.5) -> np.ndarray[Any, Any]:
    """Normal float32 numbers."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def graph(nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, In], outputs: Sequence[str],
          constants: Mapping[str, np.ndarray[Any, Any]] | None = None, opset: int = OPSET) -> onnx.ModelProto:
    """A model whose outputs carry no declared shape."""
    described = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(given.dtype)), given.shape)
                 for name, given in inputs.items()]
    stored = [numpy_helper.from_array(np.asarray(data), name) for name, data in (constants or {}).items()]
    proto = helper.make_graph(list(nodes), "g", described, [helper.make_empty_tensor_value_info(name) for name in outputs], stored)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def one(op: str, *operands: In | np.ndarray[Any, Any] | None, outputs: int | Sequence[str] = 1, opset: int = OPSET,
        **attributes: Any) -> onnx.ModelProto:
    """A graph of a single node; operands are inputs, constants, or absent. Outputs are called y0, y1, …; "" is left out."""
    inputs: dict[str, In] = {}
    constants: dict[str, np.ndarray[Any, Any]] = {}
    names = []
    for i, operand in enumerate(operands):
        if operand is None:
            names.append("")
        elif isinstance(operand, In):
            names.append(f"x{i}")
            inputs[f"x{i}"] = operand
        else:
            names.append(f"c{i}")
            constants[f"c{i}"] = operand
    results = [f"y{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
    return graph([node(op, names, results, **attributes)], inputs, [name for name in results if name], constants, opset)


def along(proto: onnx.ModelProto, symbol: str = "N") -> dict[str, int | None]:
    """Where a symbol lies in every input, as `batch_axis=` takes it."""
    shapes = {port.name: [dim.dim_param for dim in port.type.tensor_type.shape.dim] for port in proto.graph.input}
    return {name: shape.index(symbol) if symbol in shape else None for name, shape in shapes.items()}


class Chain:
    """Builds a longer graph node by node; mutable."""

    def __init__(self, opset: int = OPSET, **inputs: In):
        self.inputs, self.opset = inputs, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}

    def const(self, data: Any) -> str:
        """The name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(data)
        return name

    def add(self, op: str, *inputs: str | np.ndarray[Any, Any], outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; constants may be given as arrays. Returns its output's name, or a list of names."""
        names = [i if isinstance(i, str) else self.const(i) for i in inputs]
        results = [f"{op.lower()}{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(node(op, names, results, **attributes))
        return results[0] if outputs == 1 else results

    def dense(self, x: str, k: int, width: int, seed: int = 0, scale: float = 0.3) -> str:
        """A Gemm with bias."""
        return str(self.add("Gemm", x, weights(k, width, seed=seed, scale=scale), weights(width, seed=seed + 1)))

    def model(self, *outputs: str) -> onnx.ModelProto:
        return graph(self.nodes, self.inputs, outputs, self.constants, self.opset)


def policy(seed: int = 0, n_obs: int = 4, width: int = 64, n_actions: int = 2) -> onnx.ModelProto:
    """A tanh policy: obs → action."""
    c = Chain(obs=rows(n_obs))
    h = c.add("Tanh", c.dense("obs", n_obs, width, seed))
    h = c.add("Tanh", c.dense(h, width, width, seed + 2))
    c.nodes.append(node("Gemm", [h, c.const(weights(width, n_actions, seed=seed + 4)), c.const(weights(n_actions, seed=seed + 5))],
                        ["action"]))
    return c.model("action")
