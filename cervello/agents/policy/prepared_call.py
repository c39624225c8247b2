"""Decides for the agents of the last batch in one compiled call: their ids are compared, and not looked up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cervello.agents.membership import equal_ids
from cervello.agents.membership.table import AgentTable
from cervello.agents.membership.words import PREPARED
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.readiness import readiness
from cervello.codegen import entry, linker
from cervello.spec import Array

_RUN = "cervello.native.kernels.runtime.control:run_named"
_DECIDE, _PREPARE = (f"cervello.agents.membership.table_kernels:{name}" for name in ("decide_prepared", "prepare"))
_IDS = PREPARED.index.ids


class PreparedCall:
    """The compiled call of one engine for one table of agents. Mutable: it knows the agents of the last `prepare`.

    Attributes:
      engine: decides. fast_path: its own. version: its version.
      decide: f(membership version or -1, 0, ids, inputs, outputs[, flags]) → status, see `table_kernels.decide_prepared`. Outputs are a
        dict of arrays, or an empty `Actions` that gets new arrays.
    """

    __slots__ = ("_keepalive", "_prepare", "_words", "decide", "engine", "fast_path", "version")

    def __init__(self, engine: Engine, table: AgentTable, holder: dict[int, int]):
        fast_path = engine.fast_path
        assert fast_path is not None
        ready = readiness(fast_path, table, holder)
        block = self._words = np.array(PREPARED.filled(run=linker.address(_RUN), context=fast_path.context, readiness=ready.ctypes.data,
                                                       list_type=id(list), size_at=equal_ids.SIZE), np.int64)
        keep = block, ready, fast_path, holder, table.versions
        self.engine, self.fast_path, self.version = engine, fast_path, engine.version
        self.decide: Callable[..., int] = entry.fastcall_objects(_DECIDE, block.ctypes.data, keep)
        self._prepare: Callable[..., int] = entry.fastcall_objects(_PREPARE, block.ctypes.data, keep)
        self._keepalive: tuple[Any, ...] = ()

    @classmethod
    def of(cls, engine: Engine, table: AgentTable, holder: dict[int, int]) -> PreparedCall | None:
        """The call; None if compiled code cannot read lists and tuples, or if the engine has no fast path that makes outputs."""
        if engine.fast_path is None or not engine.fast_path.makes_outputs or not equal_ids.is_compiled():
            return None
        return cls(engine, table, holder)

    def prepare(self, ids: list[Any] | tuple[Any, ...], slots: Array, steps: Array, keys: Array) -> None:
        """Sets the agents; the caller holds the exclusive lock.

        Args:
          ids: never changed from now on. slots: [n] int64, theirs. steps, keys: of the table.
        """
        self._words[_IDS] = 0  # first: the objects before are released
        self._keepalive = ids, slots, steps, keys
        self._prepare(0, 0, ids, slots, steps, keys)
