"""Pairs inputs and outputs of recurrent state by the names exporters give them."""

from __future__ import annotations

import re

from cervello.spec import PolicySpec, TensorSpec

# (in, out) fragments found in exported policies: ML-Agents, Godot RL Agents, RLlib, Stable-Baselines3, Keras, hand-written.
_FRAGMENTS = (("state_ins", "state_outs"), ("recurrent_in", "recurrent_out"), ("_in_", "_out_"), ("_in", "_out"), ("in_", "out_"),
              ("_input", "_output"), ("_old", "_new"), ("prev_", "next_"))
_BEFORE, _AFTER = ("new_", "next_"), ("_out", "_new", "_next", "_n")  # added to the whole name: state → next_state, h → h_out
_PREVIOUS_VALUE = re.compile(r"^(?:last|prev|previous)_(?P<name>(?!.*action).+)$", re.IGNORECASE)  # actions: see `suggest`
_NUMBERED_0 = re.compile(r"^(?P<stem>.*[A-Za-z]_?)0(?P<tail>\D*)$")  # h0 → hn, h_0 → h_n, as in torch's documentation
_OBSERVED = re.compile(r"obs|image|pixel|frame|action", re.IGNORECASE)  # never state by these rules: obs → next_obs is a model's prediction
_SUFFIX = re.compile(r"^(?P<stem>.+?)(?:\.\d+|_\d+|:\d+)$")


def recurrent_pairs(spec: PolicySpec) -> dict[str, str]:
    """Output by input, for inputs that an output of equal row shape and type feeds."""
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    for into in spec.inputs.values():
        for candidate in _candidates(into.name):
            out = spec.outputs.get(candidate)
            if out is not None and candidate not in taken and _same_rows(into, out):
                pairs[into.name] = candidate
                taken.add(candidate)
                break
    return pairs


def _candidates(name: str) -> list[str]:
    found = [name]
    for before, after in _FRAGMENTS:
        if before in name:
            head, _, tail = name.rpartition(before)
            found.append(f"{head}{after}{tail}")
    matched = _SUFFIX.match(name)
    if matched:
        found.append(matched["stem"])
    found += [f"{name}.1", f"{name}_1"]
    if not _OBSERVED.search(name):
        found += [f"{before}{name}" for before in _BEFORE] + [f"{name}{after}" for after in _AFTER]
    if former := _PREVIOUS_VALUE.match(name):
        found.append(former["name"])
    if first := _NUMBERED_0.match(name):
        found.append(f"{first['stem']}n{first['tail']}")
    return found


def _same_rows(into: TensorSpec, out: TensorSpec) -> bool:
    return into.shape == out.shape and into.dtype == out.dtype and into.batch_axis is not None
