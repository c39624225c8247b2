"""LSTM and GRU in their default form: one kernel per direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import Dim, product
from cervello.native.graph.dtypes import F32, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Space, Tensor, Weight, reshaped
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.linear import padded_bias, segments_for
from cervello.native.passes.decompositions.recurrent import unsupported


def _checked(lowering: Lowering, node: Node) -> tuple[Array, Array, Array]:
    """Weights, recurrent weights and biases of a form the kernels run."""
    if reason := unsupported(node):
        raise NoKernelError(reason)
    w, r, b = (lowering.constant(node.input(i)) for i in (1, 2, 3))
    if w is None or r is None or (node.input(3) and b is None) or lowering.dtype(node.inputs[0]) != F32:
        raise NoKernelError("weights that are not constant float32")
    return w, r, np.zeros((w.shape[0], 2 * w.shape[1]), F32) if b is None else b


def _sequence(lowering: Lowering, name: str) -> tuple[Tensor, int]:
    """A sequence as [steps * rows, features], and 1 if its memory order is [rows * steps, features], as after a transpose; else 0."""
    source = lowering.tensor(name)
    features = source.shape[2]
    for order, rows_first in (((0, 1, 2), 0), ((1, 0, 2), 1)):
        view = source.transposed(order)
        matrix = reshaped(view, source.name, (product(view.shape[:2]), features))
        if matrix is not None and matrix.strides[-1] == 4:
            return matrix, rows_first
    return lowering.materialised(source).dense_view((product(source.shape[:2]), features), source.name), 0


def _state(lowering: Lowering, name: str, expected: tuple[Dim, ...]) -> Tensor | None:
    if not name:
        return None
    state = lowering.tensor(name)
    zeros = state.buffer.data if state.dtype == F32 and state.buffer.space is Space.CONSTANT else None
    if zeros is not None and zeros.dtype == F32 and not zeros.view(np.int32).any():
        return None  # the default state
    if state.shape != expected or state.dtype != F32:
        raise NoKernelError(f"an initial state of {state.dtype}, shape {state.shape}, for {expected}")
    return lowering.contiguous(state)


@lowers("LSTM", "GRU")
def _recurrent(lowering: Lowering, node: Node) -> None:
    constants = _checked(lowering, node)
    directions, _, hidden = constants[1].shape
    steps, rows, features = lowering.shape(node.inputs[0])
    x, rows_first = _sequence(lowering, node.inputs[0])
    expected = (directions, rows, hidden)
    h0 = _state(lowering, node.input(5), expected)
    c0 = _state(lowering, node.input(6), expected) if node.op == "LSTM" else None
    results = (*node.outputs, *[""] * 3)[:3]
    y = lowering.output(results[0]) if results[0] and lowering.uses[results[0]] else None
    last_h, last_c = (lowering.output(name) if name else lowering.scratch(expected, F32) if i == 0 or node.op == "LSTM" else None
                      for i, name in enumerate(results[1:]))
    common: dict[str, Any] = {
        "steps": steps, "rows": rows, "features": features, "hidden": hidden, "has_h0": int(h0 is not None),
        "wants_y": int(y is not None), "y_step": 0 if y is None else y.strides[0], "lda": x.strides[0], "rows_first": rows_first}
    for d in range(directions):
        reverse = int(node.attributes.get("direction", "forward") == "reverse" or d == 1)
        h0_d, c0_d, h_d, c_d = (None if state is None else state.select(0, d) for state in (h0, c0, last_h, last_c))
        y_d = h_d if y is None else y.select(1, d)
        w, r, b = (each[d] for each in constants)
        words = {**common, "reverse": reverse}
        if node.op == "LSTM":
            _lstm(lowering, w, r, b, (x, h0_d or x, c0_d or x), (y_d, h_d, c_d), {**words, "has_c0": int(c0 is not None)})
        else:
            linear_before_reset = int(node.attributes.get("linear_before_reset", 0))
            _gru(lowering, w, r, b, (x, h0_d or x), (y_d, h_d), {**words, "linear_before_reset": linear_before_reset})


def _lstm(lowering: Lowering, w: Array, r: Array, b: Array, reads: Any, writes: Any, words: dict[str, Any]) -> None:
    rows, hidden = words["rows"], words["hidden"]
    width = 4 * hidden
    gates, recurrent_products = lowering.scratch((product((words["steps"], rows)), width), F32), lowering.scratch((rows, width), F32)
    lowering.emit(
        "recurrent:lstm", reads, writes, (gates, recurrent_products), weights=Weight(w.T.astype(F32), "panels"),
        bias=Weight(padded_bias(b[:width] + b[width:], width)), r=Weight(r.T.astype(F32), "panels"), zeros=Weight(padded_bias(None, width)),
        w_segments=segments_for(w.shape[1], width), r_segments=segments_for(hidden, width), **words)


def _gru(lowering: Lowering, w: Array, r: Array, b: Array, reads: Any, writes: Any, words: dict[str, Any]) -> None:
    rows, hidden = words["rows"], words["hidden"]
    width, both = 3 * hidden, 2 * hidden  # columns of all three gates, and of the two that share a product
    gates = lowering.scratch((product((words["steps"], rows)), width), F32)
    recurrent_products, reset_state = lowering.scratch((rows, width), F32), lowering.scratch((rows, hidden), F32)
    w_bias, r_bias = b[:width].copy(), b[width:]
    w_bias[:both] += r_bias[:both]
    lowering.emit(
        "recurrent:gru", reads, writes, (gates, recurrent_products, reset_state), weights=Weight(w.T.astype(F32), "panels"),
        bias=Weight(padded_bias(w_bias, width)), r_gates=Weight(r[:both].T.astype(F32), "panels"),
        r_new=Weight(r[both:].T.astype(F32), "panels"), zeros=Weight(padded_bias(None, both)),
        r_bias=Weight(padded_bias(r_bias[both:], hidden)), w_segments=segments_for(w.shape[1], width),
        g_segments=segments_for(hidden, both), n_segments=segments_for(hidden, hidden), **words)
