"""A batch of fixed agents and columns, run repeatedly inside another compiled call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.readiness import SLOTS_VERSION, readiness
from cervello.spec import Array


class RepeatedBatch:
    """A batch that keeps its arrays. Mutable: a run reads `inputs` and writes `outputs`. Made by `PolicyCore.repeat`, run
    by `PolicyCore.run_repeated`, or by compiled code that finds it ready.

    Attributes:
      engine: the engine; after a swap the batch is invalid.
      inputs, outputs: columns [N, ...] by name, contiguous; row i belongs to the agent ids[i].
      arguments: as the compiled call takes them, with the slots of the agents at the last `look_up`.
      readiness: the words READINESS for compiled code; ready after `look_up` until the table changes or the engine is swapped.
    """

    __slots__ = ("_deterministic", "_holder", "_ids", "_table", "arguments", "engine", "inputs", "outputs", "readiness")

    def __init__(self, engine: Engine, table: AgentTable, holder: dict[int, int], ids: list[int], flags: Array | None):
        assert engine.fast_path is not None
        n_rows = len(ids)
        self.engine, self._table, self._holder, self._ids = engine, table, holder, ids
        self.inputs = {spec.name: np.zeros(spec.batched(n_rows), spec.dtype) for spec in engine.inputs.values()}
        self.outputs = {spec.name: np.zeros(spec.batched(n_rows), spec.dtype) for spec in engine.outputs.values()}
        self._deterministic: tuple[Any, ...] = () if flags is None else (np.ascontiguousarray(flags), None)
        self.arguments: tuple[Any, ...] = ()
        self.readiness = readiness(engine.fast_path, table, holder)

    def look_up(self) -> int:
        """Looks up the agents' slots again if the table has changed; the caller holds the exclusive lock.

        Returns:
          the address of the plan; 0 if the batch needs the general path.
        Raises:
          AgentError: agents have ended.
        """
        table, fast_path = self._table, self.engine.fast_path
        assert fast_path is not None
        version = int(table.versions[0])
        if self.readiness[SLOTS_VERSION] != version:
            self.arguments = self.inputs, self.outputs, table.slots_of(self._ids), table.steps, table.keys, *self._deterministic
            self.readiness[SLOTS_VERSION] = version
        return fast_path.ready_for(len(self._ids), len(table.keys))


Call = Callable[..., int]  # (address of the plan, word, inputs, outputs, slots, steps, keys[, flags, None]) → word

__all__ = ["Call", "RepeatedBatch"]
