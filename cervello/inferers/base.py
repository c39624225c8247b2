"""Common base of the four inferers: columns in, columns out, through the model's executor."""

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
from cervello.spec import Array, FusedOp, Specs, View

_empty = np.empty


class ModelInferer:
    """Runs a model's program. A subclass chooses the number of rows per run and the source of plans.

    Args:
      threads: rows of a large batch are split over this many threads; small batches stay on the caller's.

    Attributes:
      fast_path_sizes: number of batch sizes that the fast path keeps prepared.
      out_specs: the model's outputs, in its order.
      kind: display name.
    """

    fast_path_sizes = 64
    kind = "own"

    def __init__(self, model: Model, threads: int = 1):
        self.model = model
        self.threads = threads
        self._names_in, self._names_out = tuple(model.spec.inputs), tuple(model.spec.outputs)
        self.out_specs = tuple(model.spec.outputs.values())
        self._random = bool(model.random_nodes)
        self._last_rows = -1
        if threads > 1:  # compiled now rather than at the first large batch
            linker.link(thread_pool.REFERENCES)
        self._last_shapes: tuple[tuple[str, tuple[int, ...], Any], ...] = ()

    def __repr__(self) -> str:
        threads = "" if self.threads == 1 else f", {self.threads} threads"
        return f"<{self.kind} inferer of model {self.model.name!r}: {self.rows_per_run}{threads}>"

    @property
    def rows_per_run(self) -> str:
        """Description of how many rows run at once."""
        return "all rows at once"

    @property
    def raw_inputs(self) -> Specs:
        """The model's inputs."""
        return self.model.spec.inputs

    @property
    def raw_outputs(self) -> Specs:
        """The model's outputs."""
        return self.model.spec.outputs

    @property
    def inputs(self) -> Specs:
        """The caller's inputs: fewer than the model's if wrappers supply some."""
        return self.model.spec.inputs

    @property
    def outputs(self) -> Specs:
        """The outputs that the caller gets."""
        return self.model.spec.outputs

    def begin_agent(self, slot: int) -> None:
        """No effect: models have no state of their own."""

    def end_agent(self, slot: int) -> None:
        """No effect."""

    def select_batch_size(self, max_rows: int) -> int:
        """All rows."""
        return max_rows

    def plan(self, n_rows: int) -> Plan:
        """The plan for a batch of n_rows rows."""
        raise NotImplementedError

    def shapes(self, n_rows: int) -> tuple[tuple[str, tuple[int, ...], Any], ...]:
        """(name, shape, dtype) of every output for n_rows rows."""
        return tuple((spec.name, spec.batched(n_rows), spec.dtype) for spec in self.out_specs)

    def fast_path(self, fused_ops: Callable[[], Sequence[FusedOp]], chained: Chained,
                  results: type[dict[str, Array]] = dict) -> FastPath | None:
        """The fast path for arrays that fit without conversion; None if unavailable.

        Args:
          fused_ops: returns the wrappers' fused ops; called again whenever their slabs have grown.
          chained: graphs that wrappers run on the model's outputs.
          results: type of the mapping that outputs are returned in.
        """
        if not layout.is_known():
            return None
        return FastPath(self.model, self.fast_path_plan, fused_ops, chained, self.fast_path_sizes, results)

    def deadline_path(self, fused_ops: Callable[[], Sequence[FusedOp]]) -> DeadlinePath | None:
        """Batches with a deadline; None if unavailable, or if threads are faster. `fused_ops` returns the wrappers' fused ops."""
        rows_in_front = all(spec.batch_axis == 0 for spec in self.out_specs)
        if not (rows_in_front and self.model.batched and self.model.divisible) or self.threads > 1:
            return None
        if not layout.is_known() or not DeadlinePath.has_clock:
            return None
        return DeadlinePath(self.model, self.fresh_plan, self.select_batch_size, fused_ops)

    def fresh_plan(self, n_rows: int) -> Plan:
        """A plan for n_rows rows that stays valid while others are requested."""
        return self.plan(n_rows)

    def fast_path_plan(self, n_rows: int, last: Plan | None) -> Plan:
        """A plan for n_rows rows for the fast path only, which replaces the last one, or a shared plan that never changes."""
        return self.plan(n_rows)

    def infer_raw(self, view: View) -> None:
        """Runs all rows of view.inputs; writes to the arrays in view.outputs, or to new ones if there are none."""
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
                streams = view.agents.streams  # keeps these arrays alive if the table grows meanwhile
                given = n_rows, view.inputs, outputs, view.slots, streams.steps, streams.keys, view.deterministic
                if model.execute(run, plan, run.named, given):
                    return
            if self._random:
                self._set_noise(run, view)
            columns, results = [view.inputs[name] for name in self._names_in], [outputs[name] for name in self._names_out]
            model.run_rows(run, columns, results, plan)
        finally:
            idle.append(run)

    def _set_noise(self, run: ExecutionContext, view: View) -> None:
        streams = view.agents.streams
        flags = view.deterministic
        run.set_noise(view.slots.ctypes.data, streams.keys.ctypes.data, streams.steps.ctypes.data,
                      0 if flags is None else flags.ctypes.data)
