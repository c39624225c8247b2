"""Marks the first decision of an episode."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from cervello.errors import WrapperError
from cervello.spec import FusedOp, PolicySpec, TensorSpec, View, Wrapper
from cervello.wrappers.base import Passive, check_name, take_input, without


class EpisodeStart(Passive):
    """Fills an input with 1 (or True) at an agent's first decision of an episode and 0 afterwards.

    Args:
      key: the input; one element per agent.
    """

    def __init__(self, key: str = "episode_starts"):
        self.key = check_name("EpisodeStart", "input", key)
        self._spec: TensorSpec | None = None

    def __repr__(self) -> str:
        return f"EpisodeStart({self.key!r})"

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        found = take_input(spec, self, self.key)
        if found.size != 1 or found.batch_axis is None:
            raise WrapperError(f"wrapper {self!r}: expected an input of one element per agent, got {found}")
        bound = copy.copy(self)
        bound._spec = found
        return bound, without(spec, [self.key])

    def fused_ops(self) -> Sequence[FusedOp] | None:
        if self._spec is None or self._spec.batch_axis != 0 or self._spec.dtype != np.float32:
            return None
        return [FusedOp("start", self.key)]

    def inward(self, view: View) -> None:
        assert self._spec is not None
        starts = view.agents.steps[view.slots] == 0
        view.inputs[self.key] = starts.astype(self._spec.dtype).reshape(self._spec.batched(view.n_rows))
