"""The short way: one compiled call from the caller's dicts to the caller's dicts, wrappers included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cervello.inferers.nonfinite import NonFiniteState
from cervello.native import Model
from cervello.native.abi import NONFINITE
from cervello.native.executor import Run
from cervello.native.program import Plan
from cervello.spec import Move

Array = np.ndarray[Any, Any]
_empty = np.empty


class Swift:
    """Runs batches whose arrays fit as they are; the compiled door is the only check.

    Wrappers take part by their moves, which do what their `inward`, `outward` and `commit` do, on the same memory. Python's lock is
    held all along, so one run serves all threads and nobody can end an agent meanwhile.

    Args:
      plans: the plan for a number of rows, given the last one.
      moves: what the wrappers do, asked again whenever their slabs have grown.
    """

    __slots__ = ("_capacity", "_given", "_model", "_moves", "_plan", "_plans", "_rows", "_run", "_shapes")

    def __init__(self, model: Model, plans: Callable[[int, Plan | None], Plan], moves: Callable[[], Sequence[Move]]):
        self._model, self._plans, self._moves = model, plans, moves
        self._run = Run((*model.inputs.values(), *model.outputs.values()), len(model.inputs))
        self._shapes: tuple[tuple[str, tuple[int, ...], Any], ...] = ()
        self._given = tuple(model.outputs.values())
        self._plan: Plan | None = None
        self._rows = self._capacity = -1

    def infer(self, n_rows: int, inputs: Any, out: Any, slots: Array, steps: Array, keys: Array) -> Any:
        """Runs a batch, stores the wrappers' state and advances the step counters.

        Returns:
          outputs by name; None when the long way must look (arrays that do not fit as they are, an empty, chunked or long batch), and
          nothing has happened then.
        Raises:
          NonFiniteState: the batch has run, and a wrapper has something to report.
        """
        if n_rows != self._rows or len(keys) != self._capacity:
            self._choose(n_rows, len(keys))
        plan = self._plan
        if plan is None:
            return None
        if out is None:
            out = {name: _empty(shape, dtype) for name, shape, dtype in self._shapes}
        status = self._run.named(plan.address, n_rows, inputs, out, slots, steps, keys)
        if status > 0:
            raise NonFiniteState(out) if status == NONFINITE else self._model.failure(status)
        return out if status == 0 else None

    def forget(self) -> None:
        """What is known of slabs is no longer true; the next batch asks again."""
        self._rows = self._capacity = -1

    def _choose(self, n_rows: int, capacity: int) -> None:
        """Prepares for another size. Whatever fails on the way, or interrupts it, leaves nothing half prepared to be trusted."""
        last, self._rows, self._plan = self._plan, -1, None
        run = self._run
        if capacity != self._capacity:
            self._capacity = -1
            moves = self._moves()
            run.provide(moves)
            hidden = {move.port for move in moves if move.hidden and move.kind == "scatter"}
            self._given = tuple(spec for spec in self._model.outputs.values() if spec.name not in hidden)
            self._capacity, last = capacity, None
        plan = self._plans(n_rows, last) if n_rows else None
        if plan is not None and (plan.long or not self._model.compiled(plan)):
            plan = None
        if plan is not None:
            run.reserve(plan.arena_bytes)
            run.place(n_rows)
            self._shapes = tuple((spec.name, spec.batched(n_rows), spec.dtype) for spec in self._given)
        self._plan, self._rows = plan, n_rows
