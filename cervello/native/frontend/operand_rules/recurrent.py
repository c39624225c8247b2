"""LSTM, GRU and RNN: weights, states and attributes of one hidden size. Source: ONNX operator specification, opset 22."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}  # each direction's


@operands_of("LSTM", "GRU", "RNN")
def _recurrent(o: Operands) -> None:
    op = o.node.op
    direction = o.choice("direction", "forward", ("forward", "reverse", "bidirectional"))
    directions = 2 if direction == "bidirectional" else 1
    activations = o.attribute("activations") or ()
    if len(activations) not in (0, directions * _ACTIVATIONS[op]):
        o.fail(f"{directions * _ACTIVATIONS[op]} activations", list(activations))
    flat = o.choice("layout", 0, (0, 1))
    clip = o.attribute("clip")
    if clip is not None and not clip > 0:  # 0 would leave nothing of the sums; some runtimes read it so, others as no clip
        o.fail("a clip above 0, or none", clip)
    for index, name in enumerate(("a sequence", "weights", "recurrent weights")):
        o.rank(index, name, 3, 3)
    x, hidden = o.shape(0), o.shape(2)[-1]
    if o.attribute("hidden_size") not in (None, hidden):
        o.fail(f"hidden_size {hidden}, as the recurrent weights have it", o.attribute("hidden_size"))
    rows, width = x[0] if flat else x[1], hidden * _GATES[op]
    o.has_shape(1, "weights", (directions, width, x[2]))
    o.has_shape(2, "recurrent weights", (directions, width, hidden))
    o.has_shape(3, "biases", (directions, 2 * width))
    o.has_shape(4, "sequence lengths", (rows,))
    state = (rows, directions, hidden) if flat else (directions, rows, hidden)
    o.has_shape(5, "an initial state", state)
    if op == "LSTM":
        o.has_shape(6, "an initial cell state", state)
        o.has_shape(7, "peepholes", (directions, 3 * hidden))
