"""LSTM, GRU and RNN in the forms that have no kernel, step by step: other activations, clip, peepholes, sequence lengths, layout 1, coupled
gates. Source: ONNX operator specification, opset 22; its reference implementation ignores activations, clip and lengths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import Affine
from cervello.native.passes.graph_builder import GraphBuilder, decomposes

F32 = np.dtype(np.float32)
Array = np.ndarray[Any, Any]
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_MOST_STEPS = 64  # each is a dozen nodes
# Activations with the attributes they take from activation_alpha and activation_beta, and what those are unless told.
_ACTIVATIONS: dict[str, tuple[tuple[str, float | None], ...]] = {
    "Relu": (), "Tanh": (), "Sigmoid": (), "Softsign": (), "Softplus": (), "Affine": (("alpha", 1.0), ("beta", 0.0)),
    "LeakyRelu": (("alpha", 0.01),), "ThresholdedRelu": (("alpha", 1.0),), "ScaledTanh": (("alpha", 1.0), ("beta", 1.0)),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)), "Elu": (("alpha", 1.0),)}


class _Cell:
    """One direction of a layer."""

    def __init__(self, s: GraphBuilder, direction: int, activations: list[Any], clip: float):
        w, r = (s.value(i).constant[direction].astype(F32) for i in (1, 2))  # type: ignore[union-attr,index]
        self.s, self.hidden, self.activations, self.clip = s, r.shape[-1], activations, clip
        gates = w.shape[0] // self.hidden
        bias = np.zeros(2 * gates * self.hidden, F32)
        if s.input(3):
            bias = s.value(3).constant[direction].astype(F32)  # type: ignore[union-attr,index]
        self.w_bias, self.r_bias = bias[:gates * self.hidden].copy(), bias[gates * self.hidden:].copy()
        self.w, self.r = w, r

    def gate(self, index: int) -> slice:
        return slice(index * self.hidden, (index + 1) * self.hidden)

    def product(self, x: str, weights: Array, bias: Array | None = None) -> str:
        y = self.s.add("MatMul", x, self.s.constant(weights.T, F32))
        return y if bias is None else str(self.s.add("Add", y, self.s.constant(bias, F32)))

    def active(self, which: int, x: str) -> str:
        if self.clip:
            x = self.s.add("Clip", x, self.s.constant(-self.clip, F32), self.s.constant(self.clip, F32))
        kind, parameters = self.activations[which]
        if kind == "Affine":
            return str(self.s.add("Add", self.s.add("Mul", x, self.s.constant(parameters["alpha"], F32)), self.s.constant(
                parameters["beta"], F32)))
        if kind == "ScaledTanh":
            inner = self.s.add("Tanh", self.s.add("Mul", x, self.s.constant(parameters["beta"], F32)))
            return str(self.s.add("Mul", inner, self.s.constant(parameters["alpha"], F32)))
        return str(self.s.add(kind, x, **parameters))

    def lstm(self, x: str, h: str, c: str, peepholes: Array | None) -> tuple[str, str]:
        def raw(index: int, state: str = "", peephole: int = 0) -> str:
            g = self.gate(index)
            total = self.s.add("Add", self.product(x, self.w[g], self.w_bias[g] + self.r_bias[g]), self.product(h, self.r[g]))
            if peepholes is not None and state:
                total = self.s.add("Add", total, self.s.add("Mul", state, self.s.constant(peepholes[self.gate(peephole)], F32)))
            return str(total)

        i = self.active(0, raw(0, c, 0))
        f = self.s.add("Sub", self.s.constant(1.0, F32), i) if self.s.attribute("input_forget", 0) else self.active(0, raw(2, c, 2))
        fresh = self.s.add("Add", self.s.add("Mul", f, c), self.s.add("Mul", i, self.active(1, raw(3))))
        o = self.active(0, raw(1, fresh, 1))
        kept, self.clip = self.clip, 0.0  # clip is for what enters the gates
        shown = self.s.add("Mul", o, self.active(2, fresh))
        self.clip = kept
        return str(shown), str(fresh)

    def gru(self, x: str, h: str) -> str:
        z, r = (self.active(0, self.s.add("Add", self.product(x, self.w[g], self.w_bias[g] + self.r_bias[g]), self.product(h, self.r[g])))
                for g in (self.gate(0), self.gate(1)))
        g = self.gate(2)
        if self.s.attribute("linear_before_reset", 0):
            again = self.s.add("Mul", r, self.product(h, self.r[g], self.r_bias[g]))
            new = self.active(1, self.s.add("Add", self.product(x, self.w[g], self.w_bias[g]), again))
        else:
            again = self.product(self.s.add("Mul", r, h), self.r[g], self.r_bias[g])
            new = self.active(1, self.s.add("Add", self.product(x, self.w[g], self.w_bias[g]), again))
        kept = self.s.add("Mul", self.s.add("Sub", self.s.constant(1.0, F32), z), new)
        return str(self.s.add("Add", kept, self.s.add("Mul", z, h)))

    def rnn(self, x: str, h: str) -> str:
        return self.active(0, self.s.add("Add", self.product(x, self.w, self.w_bias + self.r_bias), self.product(h, self.r)))


def _activations(s: GraphBuilder, directions: int) -> list[list[tuple[str, dict[str, float]]]] | None:
    """By direction, the activations and their attributes."""
    defaults = _DEFAULTS[s.node.op]
    named = list(s.attribute("activations") or defaults * directions)
    alphas, betas = list(s.attribute("activation_alpha") or ()), list(s.attribute("activation_beta") or ())
    found = []
    for name in named:
        kind = next((known for known in _ACTIVATIONS if known.lower() == str(name).lower()), None)
        if kind is None:
            return None
        parameters: dict[str, float] = {}
        for attribute, default in _ACTIVATIONS[kind]:
            given = alphas if attribute == "alpha" else betas
            parameters[attribute] = given.pop(0) if given else default  # type: ignore[assignment]
        found.append((kind, parameters))
    each = len(defaults)
    return [found[d * each:(d + 1) * each] for d in range(directions)] if len(found) == each * directions else None


def _has_kernel(s: GraphBuilder) -> bool:
    """Whether a compiled kernel runs the layer as it is."""
    defaults = _DEFAULTS[s.node.op]
    activations = tuple(s.attribute("activations") or ())
    usual = not activations or activations in (defaults, defaults * 2)
    odd = s.attribute("clip") or s.attribute("layout", 0) or s.attribute("input_forget", 0) or s.input(4) or s.input(7)
    return s.node.op != "RNN" and usual and not odd


@decomposes("LSTM", "GRU", "RNN")
def _recurrent(s: GraphBuilder) -> bool:
    x, w, r = (s.value(i) for i in range(3))
    if _has_kernel(s) or x is None or x.dtype != F32 or w is None or w.constant is None or r is None or r.constant is None:
        return False
    if any(s.input(i) and s.value(i).constant is None for i in (3, 7)):  # type: ignore[union-attr]
        return False
    flat = bool(s.attribute("layout", 0))
    shape = x.shape or ()
    steps, rows = (shape[1], shape[0]) if flat else (shape[0], shape[1])
    direction = s.attribute("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    activations = _activations(s, directions)
    if isinstance(steps, Affine) or steps > _MOST_STEPS or activations is None or (s.input(4) and direction != "forward"):
        return False
    hidden = int(r.constant.shape[-1])
    whole = s.transpose(s.input(0), 1, 0, 2) if flat else s.input(0)
    moments = [s.add("Squeeze", s.add("Slice", whole, s.constant([t]), s.constant([t + 1]), s.constant([0])), s.constant([0]))
               for t in range(int(steps))]
    lengths = s.add("Unsqueeze", s.input(4), s.constant([1])) if s.input(4) else ""
    if lengths and s.value(4).dtype != np.dtype(np.int64):  # type: ignore[union-attr]
        lengths = s.add("Cast", lengths, to=np.dtype(np.int64))
    sequences, last_h, last_c = [], [], []
    zeros = s.constant(np.array([rows, hidden], object), object)
    for d in range(directions):
        cell = _Cell(s, d, activations[d], float(s.attribute("clip", 0.0) or 0.0))
        h, c = (_start(s, index, d, flat, zeros) for index in (5, 6))
        peepholes = s.value(7).constant[d].astype(F32) if s.input(7) else None  # type: ignore[union-attr,index]
        shown: list[str] = [""] * int(steps)
        backwards = direction == "reverse" or d == 1
        for t in (range(int(steps) - 1, -1, -1) if backwards else range(int(steps))):
            before = h, c
            if s.node.op == "LSTM":
                h, c = cell.lstm(moments[t], h, c, peepholes)
            else:
                h = cell.gru(moments[t], h) if s.node.op == "GRU" else cell.rnn(moments[t], h)
            shown[t] = h
            if lengths:
                inside = s.add("Greater", lengths, s.constant(t))
                shown[t] = s.add("Where", inside, h, s.constant(0.0, F32))
                h = s.add("Where", inside, h, before[0])
                c = s.add("Where", inside, c, before[1]) if s.node.op == "LSTM" else c
        stacked = [s.add("Unsqueeze", each, s.constant([0])) for each in shown]
        sequences.append(s.add("Unsqueeze", stacked[0] if len(stacked) == 1 else s.add("Concat", *stacked, axis=0), s.constant([1])))
        last_h.append(s.add("Unsqueeze", h, s.constant([0])))
        last_c.append(s.add("Unsqueeze", c, s.constant([0])))
    y, y_h, y_c = (parts[0] if directions == 1 else s.add("Concat", *parts, axis=axis)
                   for parts, axis in ((sequences, 1), (last_h, 0), (last_c, 0)))
    if flat:
        y, y_h, y_c = s.transpose(y, 2, 0, 1, 3), s.transpose(y_h, 1, 0, 2), s.transpose(y_c, 1, 0, 2)
    s.set_outputs(y, y_h, *([y_c] if s.node.op == "LSTM" else []))
    return True


def _start(s: GraphBuilder, index: int, direction: int, flat: bool, zeros: str) -> str:
    """An initial state [rows, hidden]; zeros where none is given."""
    name = s.input(index) if s.node.op == "LSTM" or index == 5 else ""
    if not name:
        return str(s.add("ConstantOfShape", zeros, value=np.zeros(1, F32)))
    axis = 1 if flat else 0
    part = s.add("Slice", name, s.constant([direction]), s.constant([direction + 1]), s.constant([axis]))
    return str(s.add("Squeeze", part, s.constant([axis])))
