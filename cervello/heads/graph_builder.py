"""Builds small graphs node by node: a head's computation runs on the executor of policies, so its bits obey law 1.

numpy is not suitable: its vector bodies and remainders may round differently, so a row's bits would depend on its batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from cervello.native import Model
from cervello.spec import Array

Port = tuple[str, str, tuple[int, ...]]  # value, dtype, row
_KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


class GraphBuilder:
    """Builder of a graph. Values are names; numbers and arrays become constants."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._constants: list[Any] = []

    def input(self, name: str, dtype: str, *row: int) -> str:
        """An input [N, *row]."""
        self._inputs.append(helper.make_tensor_value_info(name, _KINDS[dtype], ["N", *row]))
        return name

    def add(self, op: str, *operands: str | float | Array, **attributes: Any) -> str:
        """Adds a node and returns its only output. A Python number is a float32 constant."""
        return self.split(op, 1, *operands, **attributes)[0]

    def split(self, op: str, count: int, *operands: str | float | Array, **attributes: Any) -> list[str]:
        """Adds a node and returns its outputs."""
        names = [f"{op}_{len(self._nodes)}_{k}" for k in range(count)]
        self._nodes.append(helper.make_node(op, [self._named(each) for each in operands], names, **attributes))
        return names

    def cast(self, value: str, dtype: str) -> str:
        """The value as "float32", "int64" or "bool"."""
        return self.add("Cast", value, to=_KINDS[dtype])

    def reduce_row(self, op: str, value: str, keep: bool = False) -> str:
        """A reduction of each row's last axis."""
        if op == "ReduceSum":  # its axes are an operand
            return self.add(op, value, np.array([-1], np.int64), keepdims=int(keep))
        return self.add(op, value, **({"axis": -1} if op == "ArgMax" else {"axes": [-1]}), keepdims=int(keep))

    def allowed(self, mask: str) -> str:
        """[N, width] bool for a mask [N, width] bool: the mask, or all of a row that allows nothing."""
        nothing = self.add("Equal", self.reduce_row("ReduceMax", self.cast(mask, "float32"), keep=True), 0.0)
        return self.add("Or", mask, nothing)

    def zero_where(self, flag: str, value: str) -> str:
        """[N] float32: 0 in rows whose flag [N, 1] is set."""
        return self.add("Where", self.add("Squeeze", flag, np.array([1], np.int64)), 0.0, value)

    def model(self, name: str, outputs: Mapping[str, Port]) -> Model:
        """The graph, loaded; every op of it runs on the planned tier.

        Args:
          outputs: by name.
        """
        ports = []
        produced = {value for node in self._nodes for value in node.output}
        for key, (value, dtype, row) in outputs.items():
            if value in produced:  # renamed to the output's name: an Identity would be a copy
                self._rename(value, key)
                produced.discard(value)
            else:
                self._nodes.append(helper.make_node("Identity", [value], [key]))
            ports.append(helper.make_tensor_value_info(key, _KINDS[dtype], ["N", *row]))
        graph = helper.make_graph(self._nodes, name, self._inputs, ports, self._constants)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return Model.load(proto, strict=True)

    def _rename(self, value: str, name: str) -> None:
        for node in self._nodes:
            for names in (node.input, node.output):
                for i, each in enumerate(names):
                    if each == value:
                        names[i] = name

    def _named(self, operand: str | float | Array) -> str:
        if isinstance(operand, str):
            return operand
        name = f"constant_{len(self._constants)}"
        array = operand if isinstance(operand, np.ndarray) else np.array(operand, np.float32)
        self._constants.append(numpy_helper.from_array(array, name))
        return name
