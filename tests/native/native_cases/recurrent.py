"""LSTM and GRU: sequences [N, steps, features] turned to ONNX's [steps, N, features], states with their rows on axis 1."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from native_graphs import Chain, In, node, rows, weights

from native_cases.case import Case

STEPS, FEATURES = 3, 5


def _cell(op: str, width: int, *, direction: str = "forward", state: bool = False, bias: bool = True, steps: int = STEPS,
          outputs: str = "yhc", **attributes: Any) -> Any:
    gates, both = (4 if op == "LSTM" else 3), (2 if direction == "bidirectional" else 1)
    c = Chain(x=rows(steps, FEATURES))
    names = [c.add("Transpose", "x", perm=[1, 0, 2]), c.const(weights(both, gates * width, FEATURES)),
             c.const(weights(both, gates * width, width, seed=1)), c.const(weights(both, 2 * gates * width, seed=2)) if bias else ""]
    if state:
        for name in ("start_h", "start_c")[:2 if op == "LSTM" else 1]:
            c.inputs[name] = In((both, "N", width))
        names += ["", "start_h", *(["start_c"] if op == "LSTM" else [])]
    wanted = [name if name in outputs else "" for name in ("yhc" if op == "LSTM" else "yh")]
    c.nodes.append(node(op, names, wanted, hidden_size=width, direction=direction, **attributes))
    return c.model(*[name for name in wanted if name])


def _batch_first(width: int) -> Any:
    """Observations [N, features] through a one-step LSTM whose state lies in rows, as ML-Agents packs it."""
    c = Chain(obs=rows(FEATURES), memory=rows(1, 2 * width))
    h, s = c.add("Split", "memory", np.array([width, width]), outputs=2, axis=2)
    h, s = c.add("Transpose", h, perm=[1, 0, 2]), c.add("Transpose", s, perm=[1, 0, 2])
    x = c.add("Unsqueeze", "obs", np.array([0]))
    _, new_h, new_s = c.add("LSTM", x, weights(1, 4 * width, FEATURES), weights(1, 4 * width, width, seed=1),
                            weights(1, 8 * width, seed=2), "", h, s, outputs=3, hidden_size=width)
    packed = c.add("Concat", c.add("Transpose", new_h, perm=[1, 0, 2]), c.add("Transpose", new_s, perm=[1, 0, 2]), axis=2)
    return c.model(c.add("Squeeze", new_h, np.array([0])), packed)


CASES = [Case(name, build, tolerance=1e-5) for name, build in {
    **{f"{op}-{direction}{'-state' if state else ''}": partial(_cell, op, direction=direction, state=state)
       for op in ("LSTM", "GRU") for direction in ("forward", "reverse", "bidirectional") for state in (False, True)},
    "LSTM-no-bias": partial(_cell, "LSTM", bias=False), "LSTM-last-state": partial(_cell, "LSTM", outputs="h", state=True),
    "LSTM-sequence": partial(_cell, "LSTM", outputs="y", steps=1),
    "GRU-linear": partial(_cell, "GRU", state=True, linear_before_reset=1),
    "GRU-linear-bidirectional": partial(_cell, "GRU", direction="bidirectional", linear_before_reset=1),
    "GRU-no-bias": partial(_cell, "GRU", bias=False), "LSTM-batch-first": _batch_first}.items()]
