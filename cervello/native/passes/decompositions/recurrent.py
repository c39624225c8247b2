"""Unrolls forms of LSTM, GRU and RNN that have no kernel: other activations, clip, peepholes, sequence lengths, layout 1, coupled gates.
 Source: ONNX operator specification, opset 22; its reference implementation ignores activations, clip and lengths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import Affine
from cervello.native.graph.dtypes import F32, I64, Array
from cervello.native.graph.graph import Node
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_MOST_STEPS = 64  # each is a dozen nodes
# Activations with the parameters that they take from activation_alpha and activation_beta, and their defaults.
_ACTIVATIONS: dict[str, tuple[tuple[str, float], ...]] = {
    "Relu": (), "Tanh": (), "Sigmoid": (), "Softsign": (), "Softplus": (), "Affine": (("alpha", 1.0), ("beta", 0.0)),
    "LeakyRelu": (("alpha", 0.01),), "ThresholdedRelu": (("alpha", 1.0),), "ScaledTanh": (("alpha", 1.0), ("beta", 1.0)),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)), "Elu": (("alpha", 1.0),)}


class _Cell:
    """One direction of a layer."""

    def __init__(self, s: GraphBuilder, direction: int, activations: list[tuple[str, dict[str, Any]]]):
        self.s, self.activations = s, activations
        self.clip = float(s.attribute("clip", 0.0) or 0.0)
        w, r, bias, self.peepholes = (None if (data := s.data(i)) is None else data[direction].astype(F32) for i in (1, 2, 3, 7))
        assert w is not None
        assert r is not None
        self.w, self.r = w, r
        n_rows, self.hidden = r.shape
        self.w_bias, self.r_bias = np.split(np.zeros(2 * n_rows, F32) if bias is None else bias, 2)

    def gate(self, index: int) -> slice:
        return slice(index * self.hidden, (index + 1) * self.hidden)

    def number(self, value: Any) -> str:
        return self.s.constant(value, F32)

    def sum(self, a: str, b: str) -> str:
        return self.s.add("Add", a, b)

    def times(self, a: str, b: str) -> str:
        return self.s.add("Mul", a, b)

    def product(self, x: str, weights: Array, bias: Array | None = None) -> str:
        y = self.s.add("MatMul", x, self.number(weights.T))
        return y if bias is None else self.sum(y, self.number(bias))

    def before_gate(self, x: str, h: str, g: slice) -> str:
        """The input of a gate: x W + h R + both biases."""
        return self.sum(self.product(x, self.w[g], self.w_bias[g] + self.r_bias[g]), self.product(h, self.r[g]))

    def active(self, which: int, x: str, clipped: bool = True) -> str:
        if self.clip and clipped:
            x = self.s.add("Clip", x, self.number(-self.clip), self.number(self.clip))
        kind, parameters = self.activations[which]
        if kind == "Affine":
            return self.sum(self.times(x, self.number(parameters["alpha"])), self.number(parameters["beta"]))
        if kind == "ScaledTanh":
            return self.times(self.s.add("Tanh", self.times(x, self.number(parameters["beta"]))), self.number(parameters["alpha"]))
        return str(self.s.add(kind, x, **parameters))

    def lstm(self, x: str, h: str, c: str) -> tuple[str, str]:
        def gate(index: int, state: str, peephole: int) -> str:
            total = self.before_gate(x, h, self.gate(index))
            if self.peepholes is not None:
                total = self.sum(total, self.times(state, self.number(self.peepholes[self.gate(peephole)])))
            return self.active(0, total)

        i = gate(0, c, 0)
        f = self.s.add("Sub", self.number(1.0), i) if self.s.attribute("input_forget", 0) else gate(2, c, 2)
        fresh = self.sum(self.times(f, c), self.times(i, self.active(1, self.before_gate(x, h, self.gate(3)))))
        o = gate(1, fresh, 1)
        return self.times(o, self.active(2, fresh, clipped=False)), fresh

    def gru(self, x: str, h: str) -> str:
        z, r = (self.active(0, self.before_gate(x, h, self.gate(index))) for index in (0, 1))
        g = self.gate(2)
        if self.s.attribute("linear_before_reset", 0):
            recurrent = self.times(r, self.product(h, self.r[g], self.r_bias[g]))
        else:
            recurrent = self.product(self.times(r, h), self.r[g], self.r_bias[g])
        new = self.active(1, self.sum(self.product(x, self.w[g], self.w_bias[g]), recurrent))
        return self.sum(self.times(self.s.add("Sub", self.number(1.0), z), new), self.times(z, h))

    def rnn(self, x: str, h: str) -> str:
        return self.active(0, self.before_gate(x, h, slice(None)))


def _activations(s: GraphBuilder, directions: int) -> list[list[tuple[str, dict[str, Any]]]] | None:
    """Activations and their parameters, by direction; None if one is not supported."""
    defaults = _DEFAULTS[s.node.op]
    given = {name: list(s.attribute(f"activation_{name}") or ()) for name in ("alpha", "beta")}
    found = []
    for name in s.attribute("activations") or defaults * directions:
        kind = next((known for known in _ACTIVATIONS if known.lower() == str(name).lower()), None)
        if kind is None:
            return None
        found.append((kind, {each: given[each].pop(0) if given[each] else default for each, default in _ACTIVATIONS[kind]}))
    n = len(defaults)
    return [found[d * n:(d + 1) * n] for d in range(directions)]


def unsupported(node: Node) -> str:
    """What the kernel of a layer does not support, in words; "" if there is a kernel for it."""
    activations, defaults = tuple(node.attributes.get("activations") or ()), _DEFAULTS[node.op]
    if node.op == "RNN" or activations not in ((), defaults, defaults * 2):
        return f"activations {activations}"
    if node.attributes.get("clip") or node.attributes.get("layout", 0) or node.attributes.get("input_forget", 0):
        return "clip, layout 1 or input_forget"
    return "sequence_lens or peepholes" if node.input(4) or node.input(7) else ""


@decomposes("LSTM", "GRU", "RNN")
def _recurrent(s: GraphBuilder) -> Results:
    recurrent = s.data(2)
    if not unsupported(s.node) or s.dtype(0) != F32 or s.data(1) is None or recurrent is None or any(
            s.input(i) and s.data(i) is None for i in (3, 7)):
        return None
    flat = bool(s.attribute("layout", 0))
    steps, rows = s.shape(0)[1::-1] if flat else s.shape(0)[:2]
    direction = s.attribute("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    activations = _activations(s, directions)
    if isinstance(steps, Affine) or steps > _MOST_STEPS or activations is None or (s.input(4) and direction != "forward"):
        return None
    whole = s.transpose(s.input(0), 1, 0, 2) if flat else s.input(0)
    x_by_step = [s.add("Squeeze", s.add("Slice", whole, s.constant([t]), s.constant([t + 1]), s.constant([0])), s.constant([0]))
               for t in range(steps)]
    lengths = s.add("Unsqueeze", s.input(4), s.constant([1])) if s.input(4) else ""
    if lengths and s.dtype(4) != I64:
        lengths = s.add("Cast", lengths, to=I64)
    sequences, last_h, last_c = [], [], []
    zeros = s.constant(np.array([rows, recurrent.shape[-1]], object), object)
    for d in range(directions):
        cell = _Cell(s, d, activations[d])
        h, c = (_start(s, index, d, flat, zeros) for index in (5, 6))
        y_by_step: list[str] = [""] * steps
        reverse = direction == "reverse" or d == 1
        for t in reversed(range(steps)) if reverse else range(steps):
            before = h, c
            if s.node.op == "LSTM":
                h, c = cell.lstm(x_by_step[t], h, c)
            else:
                h = cell.gru(x_by_step[t], h) if s.node.op == "GRU" else cell.rnn(x_by_step[t], h)
            y_by_step[t] = h
            if lengths:
                inside = s.add("Greater", lengths, s.constant(t))
                y_by_step[t] = s.add("Where", inside, h, s.constant(0.0, F32))
                h = s.add("Where", inside, h, before[0])
                c = s.add("Where", inside, c, before[1]) if s.node.op == "LSTM" else c
        stacked = [s.add("Unsqueeze", each, s.constant([0])) for each in y_by_step]
        sequences.append(s.add("Unsqueeze", stacked[0] if len(stacked) == 1 else s.add("Concat", *stacked, axis=0), s.constant([1])))
        last_h.append(s.add("Unsqueeze", h, s.constant([0])))
        last_c.append(s.add("Unsqueeze", c, s.constant([0])))
    y, y_h, y_c = (parts[0] if directions == 1 else s.add("Concat", *parts, axis=axis)
                   for parts, axis in ((sequences, 1), (last_h, 0), (last_c, 0)))
    if flat:
        y, y_h, y_c = s.transpose(y, 2, 0, 1, 3), s.transpose(y_h, 1, 0, 2), s.transpose(y_c, 1, 0, 2)
    return y, y_h, *([y_c] if s.node.op == "LSTM" else [])


def _start(s: GraphBuilder, index: int, direction: int, flat: bool, zeros: str) -> str:
    """An initial state [rows, hidden]; zeros where none is given."""
    name = s.input(index) if s.node.op == "LSTM" or index == 5 else ""
    if not name:
        return s.add("ConstantOfShape", zeros, value=np.zeros(1, F32))
    axis = 1 if flat else 0
    part = s.add("Slice", name, s.constant([direction]), s.constant([direction + 1]), s.constant([axis]))
    return s.add("Squeeze", part, s.constant([axis]))
