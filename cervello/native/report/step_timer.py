"""Times the steps of a program one by one, on a context that a full run has filled.

A round runs the program in order and repeats each step until the clock resolves it, so every step reads the results of its producers. An
in-place step is repeated on its own results; then its operands are restored and it runs once more, so that its consumers read the same
values as in a run.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from cervello.native.execution.context import ExecutionContext, operand_view, run_fallback, run_mixed, set_arrays
from cervello.native.graph.dtypes import Array
from cervello.native.graph.tensors import Step, Tensor
from cervello.native.kernels import abi
from cervello.native.model import Model
from cervello.native.program.encode import Plan

Progress = Callable[[int, int], None]  # rounds done, of how many
_BLOCK_S = 2e-4  # a measurement lasts this long or one call, so that the clock's own 50 ns do not count
_LEAST_S = 1e-10  # reported for a step that is no slower than an empty segment


@contextmanager
def without_gc() -> Iterator[None]:
    """No garbage collection inside the block."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class StepTimer:
    """One run, timed step by step; mutable, used once."""

    def __init__(self, model: Model, run: ExecutionContext, plan: Plan, arrays: Sequence[Array], n_inputs: int):
        self._model, self._run, self._whole_plan, self._arrays, self._n_inputs = model, run, plan, arrays, n_inputs
        run.reserve(plan.arena_bytes)
        run.context[abi.CTX.row] = 0
        self._resolved = plan = next(plan.chunks)  # the first is the largest
        address, start = run.context.ctypes.data, int(plan.header[abi.PLAN.index.program])
        self._empty = partial(run.segment, address, start, start)
        ends = iter([*model.program.offsets[1:], plan.words.size])
        starts = iter(model.program.offsets)
        self._calls: list[Callable[[], Any]] = []
        for step in model.program.steps:
            if step.fallback is None:
                self._calls.append(partial(run.segment, address, start + next(starts) * 8, start + next(ends) * 8))
            else:
                self._calls.append(partial(run_fallback, model.program, run, plan, step.fallback, arrays, n_inputs))

    @property
    def chunk_rows(self) -> int:
        """Rows that the steps are timed with."""
        return self._resolved.n_rows

    @without_gc()
    def measure(self, rounds: int, progress: Progress | None) -> tuple[float, list[list[float]]]:
        """Seconds of the whole (median), and [steps][rounds] seconds of each step."""
        whole, steps = self._whole(), self._model.program.steps
        self._check(whole(), None)
        whole_repeats, empty_repeats = _repeats(whole), _repeats(self._empty)
        set_arrays(self._run, self._resolved, self._arrays)
        repeats: list[int] = []
        for step, call in zip(steps, self._calls, strict=True):
            with self._restoring_operands(step, call):
                repeats.append(_repeats(call))
        wholes: list[float] = []
        measured: list[list[float]] = [[] for _ in steps]
        for done in range(rounds):
            wholes.append(_timed(whole, whole_repeats)[0])
            set_arrays(self._run, self._resolved, self._arrays)
            nothing_s = _timed(self._empty, empty_repeats)[0]
            for own, step, call, count in zip(measured, steps, self._calls, repeats, strict=True):
                with self._restoring_operands(step, call):
                    lasted_s, status = _timed(call, count)
                self._check(status, step)
                own.append(max(lasted_s - (nothing_s if step.fallback is None else 0.0), _LEAST_S))
            if progress is not None:
                progress(done + 1, rounds)
        return statistics.median(wholes), measured

    def _whole(self) -> Callable[[], Any]:
        program, plan = self._model.program, self._whole_plan
        if program.wholly_planned:
            call = partial(self._run.call, plan.address, plan.n_rows, *self._arrays)
            if call() >= 0:
                return call
        return partial(run_mixed, program, self._run, plan, self._arrays, self._n_inputs)

    def _check(self, status: int | None, step: Step | None) -> None:
        if status is None or status <= 0:  # below 0, the step says to go on elsewhere
            return
        if step is not None:
            status += self._model.program.offsets[[s for s in self._model.program.steps if s.fallback is None].index(step)] * 8 * 256
        raise self._model.failure(status)

    @contextmanager
    def _restoring_operands(self, step: Step, call: Callable[[], Any]) -> Iterator[None]:
        """Restores the operands of a step that overwrites them, so that later steps read the same values as in a run."""
        read = {id(tensor.buffer) for tensor in step.reads}
        views = [self._view(tensor) for tensor in step.writes if id(tensor.buffer) in read]
        before = [view.copy() for view in views]
        yield
        for view, data in zip(views, before, strict=True):
            view[...] = data
        if views:
            call()

    def _view(self, tensor: Tensor) -> Array:
        view = operand_view(self._model.program, self._run, self._resolved, tensor, self._arrays, self._n_inputs)
        assert view is not None
        return view


def _timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Seconds per call, and what the last call gave."""
    result = None
    start = time.perf_counter()
    for _ in range(repeats):
        result = call()
    return (time.perf_counter() - start) / repeats, result


def _repeats(call: Callable[[], Any]) -> int:
    """Calls that make a measurement long enough."""
    count = 1
    while count < 1 << 20:
        lasted_s = _timed(call, count)[0] * count
        if lasted_s >= _BLOCK_S / 4:
            return max(1, round(count * _BLOCK_S / lasted_s))
        count *= 4
    return count
