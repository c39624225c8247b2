"""Observations of several steps at once."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import PolicySpec, Specs, View, Wrapper
from cervello.wrappers.base import Passive, named, take_input
from cervello.wrappers.slab import Slab

Array = np.ndarray[Any, Any]


class FrameStack(Passive):
    """Gives the model the last n frames of an agent; the caller gives the newest one. Oldest first, along the row's first axis.

    A row (n · c, …) has frames (c, …). A row (n, …) has frames (1, …), as Stable-Baselines3 stacks grey images, or with `drop_axis`
    frames (…), as gymnasium's FrameStackObservation stacks.

    Args:
      key: the input.
      n: how many frames, at least 2.
      fill: what stands for the frames before an episode's first: "first", the first frame itself (gymnasium's way), or "zeros"
        (Stable-Baselines3's).
      drop_axis: whether frames of a row (n, …) go without the axis of length 1.
    """

    reads_inputs = True

    def __init__(self, key: str, n: int, fill: str = "first", drop_axis: bool = False):
        self.key = named("FrameStack", "input", key)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
            raise WrapperError(f"FrameStack({key!r}): expected at least 2 frames, got {n!r}")
        if fill not in ("first", "zeros"):
            raise WrapperError(f"FrameStack({key!r}): expected fill='first' or 'zeros', got {fill!r}")
        self.n, self.fill, self.drop_axis = int(n), fill, drop_axis
        self._depth = 0

    def __repr__(self) -> str:
        options = ("" if self.fill == "first" else f", fill={self.fill!r}") + (", drop_axis=True" if self.drop_axis else "")
        return f"FrameStack({self.key!r}, {self.n}{options})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        if found.batch_axis != 0 or not found.shape or found.shape[0] % self.n or not found.shape[0]:
            raise WrapperError(f"wrapper {self!r}: expected an input with rows in front whose rows begin with a multiple of {self.n}, got "
                               f"{found}")
        bound = copy.copy(self)
        bound._depth = found.shape[0] // self.n
        if self.drop_axis and bound._depth != 1:
            raise WrapperError(f"wrapper {self!r}: expected rows ({self.n}, …) to drop an axis, got {found}; leave drop_axis out")
        bound.slabs = {self.key: Slab(found)}
        frame = found.shape[1:] if self.drop_axis else (bound._depth, *found.shape[1:])
        inputs = [replace(each, shape=frame, default=None, wide=False) if each.name == self.key else each for each in spec.inputs.values()]
        return bound, replace(spec, inputs=Specs(inputs))

    def inward(self, view: View) -> None:
        slab, depth = self.slabs[self.key], self._depth
        stack = slab.gather(view.slots)
        frame = view.inputs[self.key].reshape(view.n_rows, depth, *stack.shape[2:])
        stack[:, :-depth] = stack[:, depth:]  # numpy copies what overlaps
        stack[:, -depth:] = frame
        if self.fill == "first":
            starts = np.flatnonzero(view.agents.steps[view.slots] == 0)
            if len(starts):
                stack[starts] = np.tile(frame[starts], (1, self.n) + (1,) * (frame.ndim - 2))
        stack.flags.writeable = False  # kept for later: a wrapper further in that writes to its input would change the past
        view.inputs[self.key] = view.kept[self] = stack

    def commit(self, view: View) -> None:
        self.slabs[self.key].scatter(view.slots, view.kept[self])
