"""Observations of several steps at once."""

from __future__ import annotations

import copy

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import PolicySpec, TensorSpec, View, Wrapper
from cervello.wrappers.base import Passive, check_choice, check_name, take_input, with_input
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
        self.key = check_name("FrameStack", "input", key)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
            raise WrapperError(f"FrameStack({key!r}): expected at least 2 frames, got {n!r}")
        check_choice(f"FrameStack({key!r})", "fill", fill, ("first", "zeros"))
        if axis is not None and (isinstance(axis, bool) or not isinstance(axis, (int, np.integer))):
            raise WrapperError(f"FrameStack({key!r}): expected axis as a whole number or None, got {axis!r}")
        self.n, self.fill, self.drop_axis = int(n), fill, drop_axis
        self.axis = None if axis is None else int(axis)
        self._frame_size = self._axis = 0

    def __repr__(self) -> str:
        options = ("" if self.fill == "first" else f", fill={self.fill!r}") + (", drop_axis=True" if self.drop_axis else "")
        options += "" if self.axis is None else f", axis={self.axis}"
        return f"FrameStack({self.key!r}, {self.n}{options})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        axis, n_entries = self._stacked_axis(found)
        bound = copy.copy(self)
        bound._axis, bound._frame_size = axis, n_entries // self.n
        if self.drop_axis and bound._frame_size != 1:
            raise WrapperError(f"wrapper {self!r}: expected rows ({self.n}, …) to drop an axis, got {found}; leave drop_axis out")
        bound.slabs = {self.key: Slab(found)}
        frame = (*found.shape[:axis], *(() if self.drop_axis else (bound._frame_size,)), *found.shape[axis + 1:])
        return bound, with_input(spec, self.key, shape=frame, default=None, keeps_float64=False)

    def _stacked_axis(self, spec: TensorSpec) -> tuple[int, int]:
        """The axis of a row along which frames are stacked, and the row's length along it, a positive multiple of n."""
        shape, rank = spec.shape, len(spec.shape)
        axis = 0 if self.axis is None else self.axis + (rank if self.axis < 0 else 0)
        if spec.batch_axis != 0 or not 0 <= axis < rank or shape[axis] == 0 or shape[axis] % self.n:
            where = "begin with" if self.axis is None else f"have, on axis {self.axis},"
            raise WrapperError(f"wrapper {self!r}: expected an input with the batch on axis 0 whose rows {where} a multiple of {self.n}, "
                               f"got {spec}; axis= says along which axis frames lie")
        if self.axis is None and rank == 3 and shape[2] % self.n == 0 and shape[2] < shape[0]:
            raise WrapperError(f"wrapper {self!r}: expected axis=, got none for {spec}, a picture whose frames may lie along its first "
                               "or last axis; give axis=0 or axis=-1")
        return axis, shape[axis]

    def inward(self, view: View) -> None:
        slab, size, axis = self.slabs[self.key], self._frame_size, 1 + self._axis  # of a column
        rows = slab.gather(view.slots)
        frames = view.inputs[self.key].reshape(*rows.shape[:axis], size, *rows.shape[axis + 1:])
        stack, newest = np.moveaxis(rows, axis, 1), np.moveaxis(frames, axis, 1)  # views
        stack[:, :-size] = stack[:, size:]  # numpy copies what overlaps
        stack[:, -size:] = newest
        if self.fill == "first":
            starts = np.flatnonzero(view.agents.steps[view.slots] == 0)
            if len(starts):
                stack[starts] = np.tile(newest[starts], (1, self.n) + (1,) * (newest.ndim - 2))
        rows.flags.writeable = False  # kept for later: a wrapper further in that writes to its input would change past frames
        view.inputs[self.key] = view.scratch[self] = rows

    def commit(self, view: View) -> None:
        self.slabs[self.key].scatter(view.slots, view.scratch[self])
