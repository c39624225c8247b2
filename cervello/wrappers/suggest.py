"""The wrappers of `wrappers="auto"`, which `cervello api` shows."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from cervello.heads import Categorical, MultiDiscrete
from cervello.heads.logits_names import is_named_logits
from cervello.spec import PolicySpec, Specs, TensorSpec, Wrapper
from cervello.wrappers.episode_start import EpisodeStart
from cervello.wrappers.epsilon import Epsilon
from cervello.wrappers.fill import Fill
from cervello.wrappers.recurrent import PreviousAction, Recurrent
from cervello.wrappers.recurrent_pairs import recurrent_pairs
from cervello.wrappers.sample import Sample

_NOISE = re.compile(r"(^|[/_.:])(epsilon|eps|noise)($|[/_.:\d])", re.IGNORECASE)
_MASK = re.compile(r"(action_?masks?|^mask$)", re.IGNORECASE)
_LENGTHS = re.compile(r"^seq_?lens?$", re.IGNORECASE)
_STARTS = re.compile(r"^(episode_?starts?|dones?_in|reset)$", re.IGNORECASE)
_PREVIOUS = re.compile(r"^(?:prev|previous|last)_(?P<output>\w*actions?)(?:[.:]\d+)?$", re.IGNORECASE)
_BRANCHES = re.compile(r"^discrete_action_output_shape(:\d+)?$", re.IGNORECASE)
_ACTION_OUTPUTS = re.compile(r"action|log_?prob|entropy|sample", re.IGNORECASE)  # names of outputs that show that no action need be drawn


def suggest_wrappers(spec: PolicySpec) -> list[Wrapper]:
    """Wrappers for the inputs of `spec` that are no observations, and for logits without an action output; outermost first.

    Noise inputs get `Epsilon`. State that an output feeds gets `Recurrent`. Action masks allow everything, sequence lengths are 1,
    episode starts get `EpisodeStart`, previous actions come from the output of that name. If the game has its own mask, pass it: leave
    the Fill out of your own list.

    `Sample` draws from the only output called logits if no output is an action; the logits stay. With ML-Agents' branch sizes
    in the file it is a `MultiDiscrete`, and there is no `Sample` if these do not add up. No name in a graph tells whether images come as
    bytes or as floats, or whether observations have to be normalised: `Image`, `Normalize`, `FrameStack`,
    `Clip` and `Guard` are never suggested. Nothing is taken from a file's metadata: exporters store joint names, scales and default poses
    there in their own formats, and do not tell whether the graph applies them already; see `Policy.metadata`.
    """
    found: list[Wrapper] = []
    pairs = recurrent_pairs(spec)
    if len(pairs) == len(spec.inputs):
        pairs = {}  # at least one input is the observation
    for item in spec.inputs.values():
        if item.name in pairs:
            continue
        if _NOISE.search(item.name) and item.dtype == np.float32 and item.batch_axis == 0:
            found.append(Epsilon(item.name))
        elif _MASK.search(item.name) and len(spec.inputs) > 1:
            found.append(Fill(item.name, True if item.dtype == np.bool_ else 1.0))
        elif _LENGTHS.match(item.name) and item.size == 1:
            found.append(Fill(item.name, 1.0))
        elif _STARTS.match(item.name) and item.size == 1 and item.batch_axis is not None:
            found.append(EpisodeStart(item.name))
        elif (output := _previous_action_output(spec, item)) is not None:
            found.append(PreviousAction(item.name, output))
    if pairs:
        found.append(Recurrent(pairs))
    sample = _sample(spec)
    return found if sample is None else [sample, *found]


def _sample(spec: PolicySpec) -> Sample | None:
    """A draw from the only output called logits; None if another output is the action, or if the logits are no vector of floats."""
    logits = [item for item in spec.outputs.values() if is_named_logits(item.name)]
    if len(logits) != 1 or any(_ACTION_OUTPUTS.search(item.name) for item in spec.outputs.values() if item is not logits[0]):
        return None
    [item] = logits
    if len(item.shape) != 1 or item.shape[0] < 2 or item.dtype.kind != "f" or item.batch_axis != 0:
        return None
    sizes = _branches(spec)
    if sizes is None:
        return Sample(Categorical(item.name))
    if sum(sizes) != item.shape[0]:
        return None
    return Sample(Categorical(item.name) if len(sizes) == 1 else MultiDiscrete(item.name, sizes))


def _branches(spec: PolicySpec) -> list[int] | None:
    """The sizes of an action's branches, if the file has them as ML-Agents does; else None."""
    found = next((value for name, value in spec.constants.items() if _BRANCHES.match(name)), None)
    if found is None or found.size == 0 or not np.isfinite(found).all() or (found < 1).any() or (found != np.floor(found)).any():
        return None
    return [int(size) for size in found.reshape(-1)]


def mark_masks(inputs: Specs) -> Specs:
    """Inputs, with is_mask set on those named as masks that hold bools or integers."""
    if not any(_MASK.search(name) for name in inputs):
        return inputs
    return Specs([replace(spec, is_mask=True) if spec.dtype.kind in "biu" and _MASK.search(name) else spec
                  for name, spec in inputs.items()])


def _previous_action_output(spec: PolicySpec, into: TensorSpec) -> str | None:
    """The output of the previous action by the input's name, if it has the same rows."""
    matched = _PREVIOUS.match(into.name)
    out = spec.outputs.get(matched["output"]) if matched else None
    if out is None or out.batch_axis != 0:
        return None
    return out.name if (out.shape, out.dtype, out.batch_axis) == (into.shape, into.dtype, into.batch_axis) else None
