"""A batch of fixed agents and columns, run repeatedly inside another compiled call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cervello.agents.policy.engine import Engine
from cervello.spec import Array


class RepeatedBatch:
    """A batch that keeps its arrays. Mutable: a run reads `inputs` and writes `outputs`. Made by `PolicyCore.repeat`, run
    by `PolicyCore.run_repeated`.

    Attributes:
      ids: of its agents. engine: the engine; after a swap the batch is invalid.
      inputs, outputs: columns [N, ...] by name, contiguous; row i belongs to ids[i].
      slots: [N] int64, slots of the agents when the table's `slots_version` was the same.
      deterministic: as the compiled call takes it: empty if no row is deterministic, else flags [N] and None.
    """

    __slots__ = ("deterministic", "engine", "ids", "inputs", "outputs", "slots", "slots_version")

    def __init__(self, engine: Engine, ids: list[int], flags: Array | None):
        n_rows = len(ids)
        self.engine, self.ids = engine, ids
        self.inputs = {spec.name: np.zeros(spec.batched(n_rows), spec.dtype) for spec in engine.inputs.values()}
        self.outputs = {spec.name: np.zeros(spec.batched(n_rows), spec.dtype) for spec in engine.outputs.values()}
        self.slots: Array = np.zeros(0, np.int64)
        self.slots_version = -1
        self.deterministic: tuple[Any, ...] = () if flags is None else (np.ascontiguousarray(flags), None)


Call = Callable[..., int]  # (address of the plan, word, inputs, outputs, slots, steps, keys[, flags, None]) → word

__all__ = ["Call", "RepeatedBatch"]
