"""Observations of several steps at once."""

from __future__ import annotations

import copy

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import PolicySpec, View, Wrapper
from cervello.wrappers.base import Passive, named, take_input, with_input
from cervello.wrappers.slab import Slab


class FrameStack(Passive):
    """Passes the last n frames of an agent to the model; the caller gives the newest one. Oldest first, along one axis of the row.

    A row (n · c, …) has frames (c, …). A row (n, …) has frames (1, …), as Stable-Baselines3 stacks grey images, or with `drop_axis`
    frames (…), as gymnasium's FrameStackObservation stacks.

    Args:
      key: the input.
      n: number of frames, at least 2.
      fill: frames before an episode's first: "first", copies of the first frame (gymnasium), or "zeros"
        (Stable-Baselines3).
      axis: of the row, along which frames are stacked; None for the first one, and an image whose last axis fits better is rejected then.
      drop_axis: whether frames of a row (n, …) omit the axis of length 1.
    Raises:
      WrapperError: fewer than two frames, an unknown `fill`, an axis that is no whole number; at `attach`, what does not fit
        there.
    """

    reads_inputs = True

    def __init__(self, key: str, n: int, fill: str = "first", drop_axis: bool = False, axis: int | None = None):
        self.key = named("FrameStack", "input", key)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
            raise WrapperError(f"FrameStack({key!r}): expected at least 2 frames, got {n!r}")
        if fill not in ("first", "zeros"):
            raise WrapperError(f"FrameStack({key!r}): expected fill='first' or 'zeros', got {fill!r}")
        if axis is not None and (isinstance(axis, bool) or not isinstance(axis, (int, np.integer))):
            raise WrapperError(f"FrameStack({key!r}): expected axis as a whole number or None, got {axis!r}")
        self.n, self.fill, self.drop_axis = int(n), fill, drop_axis
        self.axis = None if axis is None else int(axis)
        self._depth = self._at = 0

    def __repr__(self) -> str:
        options = ("" if self.fill == "first" else f", fill={self.fill!r}") + (", drop_axis=True" if self.drop_axis else "")
        options += "" if self.axis is None else f", axis={self.axis}"
        return f"FrameStack({self.key!r}, {self.n}{options})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        rank = len(found.shape)
        at = 0 if self.axis is None else self.axis + (rank if self.axis < 0 else 0)
        if found.batch_axis != 0 or not rank or not 0 <= at < rank or found.shape[at] % self.n or not found.shape[at]:
            where = "begin with" if self.axis is None else f"have, on axis {self.axis},"
            raise WrapperError(f"wrapper {self!r}: expected an input with the batch on axis 0 whose rows {where} a multiple of {self.n}, "
                               f"got {found}; axis= says along which axis frames lie")
        if self.axis is None and rank == 3 and found.shape[2] % self.n == 0 and found.shape[2] < found.shape[0]:
            raise WrapperError(f"wrapper {self!r}: expected axis=, got none for {found}, a picture whose frames may lie along its first "
                               "or last axis; give axis=0 or axis=-1")
        bound = copy.copy(self)
        bound._at = at
        bound._depth = found.shape[at] // self.n
        if self.drop_axis and bound._depth != 1:
            raise WrapperError(f"wrapper {self!r}: expected rows ({self.n}, …) to drop an axis, got {found}; leave drop_axis out")
        bound.slabs = {self.key: Slab(found)}
        frame = (*found.shape[:at], *(() if self.drop_axis else (bound._depth,)), *found.shape[at + 1:])
        return bound, with_input(spec, self.key, shape=frame, default=None, keeps_float64=False)

    def inward(self, view: View) -> None:
        slab, depth = self.slabs[self.key], self._depth
        rows, at = slab.gather(view.slots), self._at
        frame = view.inputs[self.key].reshape(view.n_rows, *rows.shape[1:1 + at], depth, *rows.shape[2 + at:])
        stack, frame = np.moveaxis(rows, 1 + at, 1), np.moveaxis(frame, 1 + at, 1)  # views
        stack[:, :-depth] = stack[:, depth:]  # numpy copies what overlaps
        stack[:, -depth:] = frame
        if self.fill == "first":
            starts = np.flatnonzero(view.agents.steps[view.slots] == 0)
            if len(starts):
                stack[starts] = np.tile(frame[starts], (1, self.n) + (1,) * (frame.ndim - 2))
        rows.flags.writeable = False  # kept for later: a wrapper further in that writes to its input would change past frames
        view.inputs[self.key] = view.scratch[self] = rows

    def commit(self, view: View) -> None:
        self.slabs[self.key].scatter(view.slots, view.scratch[self])
