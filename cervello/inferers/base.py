"""What the four inferers share: columns in, columns out, through the model's executor."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cervello.inferers.swift import Swift
from cervello.native import Model
from cervello.native.executor import Run
from cervello.native.program import Plan
from cervello.noise import layout
from cervello.spec import Move, Specs, View

Array = np.ndarray[Any, Any]


_empty = np.empty


class ModelInferer:
    """Runs a model's program; a subclass says how many rows at a time and where plans come from.

    Args:
      threads: rows of a large batch are split over this many threads; small ones stay on the caller's.
    """

    def __init__(self, model: Model, threads: int = 1):
        self.model = model
        self.threads = threads
        self._names_in, self._names_out = tuple(model.spec.inputs), tuple(model.spec.outputs)
        self.out_specs = tuple(model.spec.outputs.values())
        self._random = bool(model.random_nodes)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0
        self._last_rows = -1
        self._last_shapes: tuple[tuple[str, tuple[int, ...], Any], ...] = ()
        self._at_once = model.batched and not model.slow_nodes

    @property
    def raw_inputs(self) -> Specs:
        return self.model.spec.inputs

    @property
    def raw_outputs(self) -> Specs:
        return self.model.spec.outputs

    @property
    def inputs(self) -> Specs:
        return self.model.spec.inputs

    @property
    def outputs(self) -> Specs:
        return self.model.spec.outputs

    def begin_agent(self, slot: int) -> None:
        """Nothing to do: models have no state of their own."""

    def end_agent(self, slot: int) -> None:
        """Nothing to do."""

    def select_batch_size(self, max_rows: int) -> int:
        """All rows."""
        return max_rows

    def plan(self, n_rows: int) -> Plan:
        """The plan for a batch of this size."""
        raise NotImplementedError

    def chunks(self, n_rows: int) -> Sequence[int] | None:
        """Rows per run, in order; None for all at once."""
        return None

    def shapes(self, n_rows: int) -> tuple[tuple[str, tuple[int, ...], Any], ...]:
        """(name, shape, dtype) of every output for n_rows rows."""
        return tuple((spec.name, spec.batched(n_rows), spec.dtype) for spec in self.out_specs)

    def swift(self, moves: Callable[[], Sequence[Move]]) -> Swift | None:
        """The short way for arrays that fit as they are; None when a batch needs more than one compiled call.

        Args:
          moves: what the wrappers around this inferer do, asked again whenever their slabs have grown.
        """
        return Swift(self.model, self.swift_plan, moves) if self._at_once and layout.is_known() else None

    def swift_plan(self, n_rows: int, last: Plan | None) -> Plan | None:
        """A plan that only the short way uses, or a shared one that never changes; None when the rows run in chunks."""
        return self.plan(n_rows) if self.chunks(n_rows) is None else None

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
            splits = self.threads > 1 and model.worth_splitting(n_rows, self.threads)
            if self._at_once and not splits and self.chunks(n_rows) is None:
                plan = self.plan(n_rows)
                if plan.arena_bytes > run.room:
                    run.reserve(plan.arena_bytes)
                streams = view.agents.streams  # held: a table that grows meanwhile lets go of these arrays
                status = run.named(plan.address, n_rows, view.inputs, outputs, view.slots, streams.steps, streams.keys,
                                   view.deterministic)
                if status == 0:
                    return
                if status > 0:
                    raise model.failure(status)
            if self._random:
                self._aim(run, view)
            columns, results = [view.inputs[name] for name in self._names_in], [outputs[name] for name in self._names_out]
            if splits:
                self._split(run, view, columns, results)
            else:
                self.model.run_rows(run, columns, results, n_rows, self.plan, self.chunks(n_rows))
        finally:
            idle.append(run)

    def _aim(self, run: Run, view: View) -> None:
        streams = view.agents.streams
        flags = view.deterministic
        run.aim(view.slots.ctypes.data, streams.keys.ctypes.data, streams.steps.ctypes.data, 0 if flags is None else flags.ctypes.data)

    def _split(self, run: Run, view: View, columns: list[Array], results: list[Array]) -> None:
        """Hands each thread a stretch of rows; bits do not change (law 1)."""
        n_rows = view.n_rows
        if self._pool is None or self._pool_process != os.getpid():  # a fork copies the pool and not its threads
            self._pool, self._pool_process = ThreadPoolExecutor(self.threads - 1, "cervello"), os.getpid()
        pool = self._pool
        edges = [n_rows * i // self.threads for i in range(self.threads + 1)]

        def part(index: int, own: Run) -> None:
            first, end = edges[index], edges[index + 1]
            sizes = [end - first] if self.chunks(n_rows) is None else list(self.chunks(end - first) or ())
            self.model.run_part(own, columns, results, n_rows, first, sizes, self.plan)

        def elsewhere(index: int) -> None:
            own = self.model.acquire()
            try:
                if self._random:
                    self._aim(own, view)
                part(index, own)
            finally:
                self.model.release(own)

        given = results
        columns, results = self.model.fitted(columns, results, n_rows)  # before the others start: they read these names
        waiting = [pool.submit(elsewhere, i) for i in range(1, self.threads)]
        errors = []
        try:
            part(0, run)
        finally:
            errors = [error for future in waiting if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        for target, result in zip(results, given, strict=True):
            if target is not result:
                result[...] = target

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}
