"""LSTM and GRU in their default form: one kernel per direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import GraphError
from cervello.native.graph.dims import Dim, product
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Space, Tensor, Weight, reshaped
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.linear import padded_bias, segments_for

F32 = np.dtype(np.float32)
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


def _checked(lowering: Lowering, node: Node) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Weights, recurrent weights and biases of a form the kernels run."""
    inputs = (*node.inputs, *[""] * 8)
    activations = tuple(node.attributes.get("activations") or ())
    defaults = _DEFAULTS[node.op]
    if (activations and activations[:len(defaults)] * (len(activations) // len(defaults)) != activations) or (
            activations and activations[:len(defaults)] != defaults):
        raise NoKernelError(f"activations {activations}")
    if node.attributes.get("clip") or node.attributes.get("layout", 0) or node.attributes.get("input_forget", 0):
        raise NoKernelError("clip, layout 1 or input_forget")
    if inputs[4] or (node.op == "LSTM" and inputs[7]):
        raise NoKernelError("sequence_lens or peepholes")
    w, r = lowering.constant(inputs[1]), lowering.constant(inputs[2])
    b = lowering.constant(inputs[3]) if inputs[3] else None
    if w is None or r is None or (inputs[3] and b is None) or lowering.dtype(inputs[0]) != F32:
        raise NoKernelError("weights that are not constant float32")
    if b is None:
        b = np.zeros((w.shape[0], 2 * w.shape[1]), F32)
    hidden = r.shape[-1]
    width = (4 if node.op == "LSTM" else 3) * hidden
    both = 2 if node.attributes.get("direction", "forward") == "bidirectional" else 1
    features = lowering.shape(inputs[0])[-1]
    if (w.shape, r.shape, b.shape) != ((both, width, features), (both, width, hidden), (both, 2 * width)):
        raise GraphError(f"node {node}: expected weights {(both, width, features)}, {(both, width, hidden)} and {(both, 2 * width)}, "
                         f"got {w.shape}, {r.shape} and {b.shape}")
    return w, r, b


def _sequence(lowering: Lowering, name: str) -> tuple[Tensor, int]:
    """[steps * rows, features] without gaps, and whether it is [rows * steps, features] as it lies: a sequence that was transposed."""
    source = lowering.tensor(name)
    (steps, rows, features), (a, b, c) = source.shape, source.strides
    for shape, strides, rows_first in (((steps, rows), (a, b), 0), ((rows, steps), (b, a), 1)):
        view = source.viewed(source.name, (*shape, features), (*strides, c))
        matrix = reshaped(view, source.name, (product(shape), features))
        if matrix is not None and matrix.strides[-1] == 4:
            return matrix, rows_first
    fresh = lowering.scratch(source.shape, F32)
    lowering.copy(source, fresh)
    matrix = reshaped(fresh, source.name, (product(source.shape[:2]), features))
    assert matrix is not None
    return matrix, 0


def _part(tensor: Tensor, direction: int, axis: int) -> Tensor:
    """One direction of a state or sequence."""
    offset = tensor.offset + tensor.strides[axis] * direction if direction else tensor.offset
    shape = tuple(d for i, d in enumerate(tensor.shape) if i != axis)
    strides = tuple(s for i, s in enumerate(tensor.strides) if i != axis)
    return tensor.viewed(tensor.name, shape, strides, offset)


def _state(lowering: Lowering, name: str, expected: tuple[Dim, ...], node: Node) -> Tensor | None:
    if not name:
        return None
    state = lowering.tensor(name)
    zeros = state.buffer.data if state.dtype == F32 and state.buffer.space is Space.CONSTANT else None
    if zeros is not None and zeros.dtype == F32 and not zeros.view(np.int32).any():
        return None  # what a state is that is not given
    if state.shape != expected or state.dtype != F32:
        raise NoKernelError(f"an initial state of {state.dtype}, shape {state.shape}, for {expected}")
    return lowering.contiguous(state)


@lowers("LSTM", "GRU")
def _recurrent(lowering: Lowering, node: Node) -> None:
    w, r, b = _checked(lowering, node)
    inputs = (*node.inputs, *[""] * 8)
    steps, rows, features = lowering.shape(inputs[0])
    directions, hidden = r.shape[0], r.shape[2]
    x, rows_first = _sequence(lowering, inputs[0])
    expected = (directions, rows, hidden)
    h0 = _state(lowering, inputs[5], expected, node)
    c0 = _state(lowering, inputs[6], expected, node) if node.op == "LSTM" else None
    outputs = (*node.outputs, *[""] * 3)[:3]
    y = lowering.output(outputs[0]) if outputs[0] and lowering.uses[outputs[0]] else None
    state_h = lowering.output(outputs[1]) if outputs[1] else lowering.scratch(expected, F32)
    state_c = None
    if node.op == "LSTM":
        state_c = lowering.output(outputs[2]) if outputs[2] else lowering.scratch(expected, F32)
    direction = node.attributes.get("direction", "forward")
    emit = _lstm if node.op == "LSTM" else _gru
    for d in range(directions):
        reverse = 1 if direction == "reverse" or d == 1 else 0
        emit(lowering, node, (w[d], r[d], b[d]), x, [
            None if t is None else _part(t, d, axis) for t, axis in ((h0, 0), (c0, 0), (y, 1), (state_h, 0), (state_c, 0))],
            (steps, rows, features, hidden), reverse, 0 if y is None else y.strides[0], rows_first)


def _lstm(lowering: Lowering, node: Node, constants: Any, x: Tensor, parts: list[Tensor | None], sizes: Any, reverse: int,
          y_step: Dim, rows_first: int) -> None:
    w, r, b = constants
    steps, rows, features, hidden = sizes
    h0, c0, y, h, c = parts
    assert h is not None
    assert c is not None
    gates = lowering.scratch((product((steps, rows)), 4 * hidden), F32)
    again = lowering.scratch((rows, 4 * hidden), F32)
    writes = ((y, h, c) if y is not None else (h, h, c))
    lowering.emit(
        "recurrent:lstm", (x, h0 or x, c0 or x), writes, (gates, again),
        weights=Weight(w.T.astype(F32), "panels"), bias=Weight(padded_bias(b[:4 * hidden] + b[4 * hidden:], 4 * hidden)),
        r=Weight(r.T.astype(F32), "panels"), zeros=Weight(padded_bias(None, 4 * hidden)),
        steps=steps, rows=rows, features=features, hidden=hidden,
        has_h0=int(h0 is not None), has_c0=int(c0 is not None), wants_y=int(y is not None), reverse=reverse, y_step=y_step,
        w_segments=segments_for(w.shape[1], 4 * hidden), r_segments=segments_for(hidden, 4 * hidden), lda=x.strides[0],
        rows_first=rows_first)


def _gru(lowering: Lowering, node: Node, constants: Any, x: Tensor, parts: list[Tensor | None], sizes: Any, reverse: int,
         y_step: Dim, rows_first: int) -> None:
    w, r, b = constants
    steps, rows, features, hidden = sizes
    h0, _, y, h, _ = parts
    assert h is not None
    linear = node.attributes.get("linear_before_reset", 0)
    gates = lowering.scratch((product((steps, rows)), 3 * hidden), F32)
    again, mixed = lowering.scratch((rows, 3 * hidden), F32), lowering.scratch((rows, hidden), F32)
    w_bias, r_bias = b[:3 * hidden].copy(), b[3 * hidden:].copy()
    w_bias[:2 * hidden] += r_bias[:2 * hidden]
    lowering.emit(
        "recurrent:gru", (x, h0 or x), (y if y is not None else h, h), (gates, again, mixed),
        weights=Weight(w.T.astype(F32), "panels"), bias=Weight(padded_bias(w_bias, 3 * hidden)),
        r_gates=Weight(r[:2 * hidden].T.astype(F32), "panels"), r_new=Weight(r[2 * hidden:].T.astype(F32), "panels"),
        zeros=Weight(padded_bias(None, 2 * hidden)), r_bias=Weight(padded_bias(r_bias[2 * hidden:], hidden)),
        steps=steps, rows=rows, features=features, hidden=hidden, has_h0=int(h0 is not None), wants_y=int(y is not None),
        reverse=reverse, y_step=y_step, linear=int(linear), w_segments=segments_for(w.shape[1], 3 * hidden),
        g_segments=segments_for(hidden, 2 * hidden), n_segments=segments_for(hidden, hidden), lda=x.strides[0], rows_first=rows_first)
