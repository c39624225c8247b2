"""What the four inferers share: columns in, columns out, through the model's executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cervello.codegen import linker
from cervello.inferers.deadline_path import DeadlinePath
from cervello.inferers.fast_path import FastPath
from cervello.native import Model
from cervello.native.execution import thread_pool
from cervello.native.execution.chained import Chained
from cervello.native.execution.context import ExecutionContext
from cervello.native.program.encode import Plan
from cervello.noise import layout
from cervello.spec import FusedOp, Specs, View

Array = np.ndarray[Any, Any]


_empty = np.empty


class ModelInferer:
    """Runs a model's program; a subclass says how many rows at a time and where plans come from.

    Args:
      threads: rows of a large batch are split over this many threads; small ones stay on the caller's.

    Attributes:
      fast_path_sizes: how many sizes of batches the short way keeps prepared.
      out_specs: the model's outputs, in its order.
      kind: what people call it.
    """

    fast_path_sizes = 64
    kind = "own"  # what people call it

    def __init__(self, model: Model, threads: int = 1):
        self.model = model
        self.threads = threads
        self._names_in, self._names_out = tuple(model.spec.inputs), tuple(model.spec.outputs)
        self.out_specs = tuple(model.spec.outputs.values())
        self._random = bool(model.random_nodes)
        self._last_rows = -1
        if threads > 1:  # compiled now and not when the first large batch comes
            linker.link(thread_pool.REFERENCES)
        self._last_shapes: tuple[tuple[str, tuple[int, ...], Any], ...] = ()

    def __repr__(self) -> str:
        threads = "" if self.threads == 1 else f", {self.threads} threads"
        return f"<{self.kind} inferer of model {self.model.name!r}: {self.rows_per_run}{threads}>"

    @property
    def rows_per_run(self) -> str:
        """How many rows run at once, for people."""
        return "all rows at once"

    @property
    def raw_inputs(self) -> Specs:
        """What the model takes."""
        return self.model.spec.inputs

    @property
    def raw_outputs(self) -> Specs:
        """What the model gives."""
        return self.model.spec.outputs

    @property
    def inputs(self) -> Specs:
        """What a caller gives: less than the model takes where wrappers provide the rest."""
        return self.model.spec.inputs

    @property
    def outputs(self) -> Specs:
        """What a caller gets."""
        return self.model.spec.outputs

    def begin_agent(self, slot: int) -> None:
        """Nothing to do: models have no state of their own."""

    def end_agent(self, slot: int) -> None:
        """Nothing to do."""

    def select_batch_size(self, max_rows: int) -> int:
        """All rows."""
        return max_rows

    def plan(self, n_rows: int) -> Plan:
        """The plan for a batch of n_rows rows."""
        raise NotImplementedError

    def shapes(self, n_rows: int) -> tuple[tuple[str, tuple[int, ...], Any], ...]:
        """(name, shape, dtype) of every output for n_rows rows."""
        return tuple((spec.name, spec.batched(n_rows), spec.dtype) for spec in self.out_specs)

    def fast_path(self, moves: Callable[[], Sequence[FusedOp]], chained: Chained, results: type[dict[str,
                                                                                                     Array]] = dict) -> FastPath | None:
        """The short way for arrays that fit as they are; None where there is none.

        Args:
          moves: what the wrappers around this inferer do, asked again whenever their slabs have grown.
          chained: what they compute of the model's outputs.
          results: what outputs are returned in.
        """
        if not layout.is_known():
            return None
        return FastPath(self.model, self.fast_path_plan, moves, chained, self.fast_path_sizes, results)

    def deadline_path(self, moves: Callable[[], Sequence[FusedOp]]) -> DeadlinePath | None:
        """The way of batches that are over in time; None where there is none, or where threads are worth more. `moves` gives what wrappers
        do inside the compiled call."""
        rows_in_front = all(spec.batch_axis == 0 for spec in self.out_specs)
        if not (rows_in_front and self.model.batched and self.model.divisible) or self.threads > 1:
            return None
        if not layout.is_known() or not DeadlinePath.has_clock:
            return None
        return DeadlinePath(self.model, self.fresh_plan, self.select_batch_size, moves)

    def fresh_plan(self, n_rows: int) -> Plan:
        """A plan for n_rows rows that stays as it is while others are asked for."""
        return self.plan(n_rows)

    def fast_path_plan(self, n_rows: int, last: Plan | None) -> Plan:
        """A plan for n_rows rows that only the short way uses, in place of the last one, or a shared one that never changes."""
        return self.plan(n_rows)

    def infer_raw(self, view: View) -> None:
        """Runs all rows of view.inputs; writes to the arrays in view.outputs, fresh ones where there are none."""
        n_rows, outputs = view.n_rows, view.outputs
        if n_rows != self._last_rows:
            self._last_shapes, self._last_rows = self.shapes(n_rows), n_rows
        for name, shape, dtype in self._last_shapes:
            if name not in outputs:
                outputs[name] = _empty(shape, dtype)
        if not n_rows:
            return
        model = self.model
        idle = model.idle
        run = idle.pop() if idle else model.acquire()
        try:
            plan = self.plan(n_rows)
            if model.compiled(plan):
                streams = view.agents.streams  # held: a table that grows meanwhile lets go of these arrays
                given = n_rows, view.inputs, outputs, view.slots, streams.steps, streams.keys, view.deterministic
                if model.execute(run, plan, run.named, given):
                    return
            if self._random:
                self._aim(run, view)
            columns, results = [view.inputs[name] for name in self._names_in], [outputs[name] for name in self._names_out]
            model.run_rows(run, columns, results, plan)
        finally:
            idle.append(run)

    def _aim(self, run: ExecutionContext, view: View) -> None:
        streams = view.agents.streams
        flags = view.deterministic
        run.set_noise(view.slots.ctypes.data, streams.keys.ctypes.data, streams.steps.ctypes.data,
                      0 if flags is None else flags.ctypes.data)
