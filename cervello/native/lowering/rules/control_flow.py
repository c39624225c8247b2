"""Lowers If, Loop and Scan from their control markers (see `frontend.control_flow`).

Their steps are in the program like any others, with jumps between, and their buffers are in the same arena. Values that a loop's body reads
from outside stay live until the last iteration ends; buffers inside the body are planned for one iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cervello.native.frontend.control_flow import BRANCH, JOINED, LOOP_BEGIN, LOOP_END, OTHERWISE
from cervello.native.graph.dtypes import BOOL, I64
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import LABEL, Jump, Step
from cervello.native.lowering.lowering import Lowering, copy_words
from cervello.native.lowering.registry import lowers
from cervello.native.shapes.control_flow import ENDLESS


@dataclass(frozen=True, slots=True)
class _Loop:
    """State that a loop's end marker needs from its begin marker."""

    begin: Step
    body_start: Step  # the start of an iteration
    end: Step


def _label(lowering: Lowering) -> Step:
    """A jump target; not yet emitted."""
    node = lowering.node
    return Step(LABEL, (), (), [], node.op if node else "", str(node) if node else "")


@lowers(BRANCH)
def _branch(lowering: Lowering, node: Node) -> None:
    otherwise = lowering.open_markers[node.outputs[0]] = _label(lowering)
    lowering.emit("control_flow:branch", (lowering.tensor(node.inputs[0]),), (), to=Jump(otherwise))


@lowers(OTHERWISE)
def _otherwise(lowering: Lowering, node: Node) -> None:
    for name, copy in zip(node.inputs[1:], node.outputs[1:], strict=True):
        if name:
            lowering.copy(lowering.tensor(name), lowering.output(copy))
    end = lowering.open_markers[node.outputs[0]] = _label(lowering)
    lowering.emit("control_flow:jump", (), (), to=Jump(end))
    lowering.steps.append(lowering.open_markers.pop(node.inputs[0]))


@lowers(JOINED)
def _joined(lowering: Lowering, node: Node) -> None:
    n = len(node.outputs)
    for result, copy, name in zip(node.outputs, node.inputs[1:n + 1], node.inputs[n + 1:], strict=True):
        if result:
            target = lowering.tensor(copy)
            lowering.copy(lowering.tensor(name), target)
            lowering.alias(result, target)
    lowering.steps.append(lowering.open_markers.pop(node.inputs[0]))


@lowers(LOOP_BEGIN)
def _loop_begin(lowering: Lowering, node: Node) -> None:
    counter, trips, iteration, active, *body_inputs = node.outputs
    n_states = node.attributes["states"]
    count = lowering.constant(trips)
    trip_count = lowering.tensor(trips) if count is not None else lowering.tensor(node.inputs[0])
    condition = lowering.tensor(node.inputs[1]) if node.inputs[1] else lowering.stored(f"{active}/first", np.array(True))
    states = [(lowering.tensor(name), lowering.scratch(lowering.shape(state), lowering.dtype(state), state))
              for name, state in zip(node.inputs[2:2 + n_states], body_inputs, strict=False)]
    for source, state in states:
        lowering.copy(source, state)
        lowering.alias(state.name, state)
    counter_words, flag = lowering.scratch((2,), I64, counter), lowering.scratch((), BOOL, active)
    body_start, end = _label(lowering), _label(lowering)
    begin = lowering.emit("control_flow:loop_begin", (trip_count, condition), (counter_words, flag), to=Jump(end))
    loop = lowering.open_markers[counter] = _Loop(begin, body_start, end)
    loop.begin.keeps = tuple(state for _, state in states)
    lowering.steps.append(loop.body_start)
    lowering.alias(counter, counter_words)
    lowering.alias(trips, trip_count)
    lowering.alias(iteration, counter_words.viewed(iteration, (), ()))
    lowering.alias(active, flag)
    known = 1 if count is None or int(count) >= ENDLESS else max(int(count), 1)
    lowering.trip_counts.append(known)
    for i, name in enumerate(node.inputs[2 + n_states:]):
        sequence, element = lowering.tensor(name), lowering.output(body_inputs[n_states + i])
        axis = node.attributes["axes"][i] % len(sequence.shape)
        one = sequence.select(axis)
        lowering.emit("control_flow:scan_read", (sequence, counter_words), (element,), length=sequence.shape[axis],
                      element_by=sequence.strides[axis], reverse=node.attributes["reverse"][i], **copy_words(one, element))


@lowers(LOOP_END)
def _loop_end(lowering: Lowering, node: Node) -> None:
    loop: _Loop = lowering.open_markers.pop(node.inputs[0])
    counter_words, n_states, axes = lowering.tensor(node.inputs[0]), node.attributes["states"], node.attributes["axes"]
    ended, given = node.inputs[4:4 + n_states], node.inputs[4 + n_states:4 + n_states + len(axes)]
    active, *begun = node.inputs[5 + n_states + len(axes):][:1 + n_states]
    for i, (name, result) in enumerate(zip(given, node.outputs[n_states:], strict=True)):
        if result:
            element, sequence = lowering.tensor(name), lowering.output(result, contiguous=False)
            axis = axes[i] % len(sequence.shape)
            one = sequence.select(axis)
            lowering.emit("control_flow:scan_write", (element, counter_words), (sequence,), length=sequence.shape[axis],
                          element_by=sequence.strides[axis], reverse=node.attributes["reverse"][i], **copy_words(element, one))
            loop.begin.keeps += (sequence,)  # each iteration writes one element
    states = [lowering.tensor(name) for name in begun]
    results = [lowering.tensor(name) for name in ended]
    for i, (last, state) in enumerate(zip(results, states, strict=True)):
        if last != state and any(last.buffer is other.buffer for other in states):  # states that are exchanged, or a view of a state
            results[i] = lowering.scratch(last.shape, last.dtype)
            lowering.copy(last, results[i])
    for last, state in zip(results, states, strict=True):
        if last != state:
            lowering.copy(last, state)
    continues = node.inputs[3]
    condition = lowering.tensor(continues) if continues else lowering.stored(f"{node.inputs[0]}/on", np.array(True))
    loop_next = lowering.emit("control_flow:loop_next", (condition,), (counter_words, lowering.tensor(active)), to=Jump(loop.body_start))
    loop_next.keeps = tuple(lowering.tensors[name] for name in node.inputs if name in lowering.tensors)
    lowering.steps.append(loop.end)
    lowering.trip_counts.pop()
    for name, state in zip(node.outputs, states, strict=False):
        if name:
            lowering.alias(name, state)
