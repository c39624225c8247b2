"""The fast path: one compiled call from the caller's dicts to the caller's dicts, wrappers included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.inferers.nonfinite import NonFiniteState
from cervello.native import Model
from cervello.native.execution.chained import Chain, Chained
from cervello.native.execution.context import ExecutionContext
from cervello.native.kernels.abi import NONFINITE
from cervello.native.program.encode import Plan
from cervello.spec import Array, FusedOp

_empty = np.empty


@dataclass(frozen=True, slots=True)
class _Size:
    """Prepared data of one batch size.

    Attributes:
      plan: of the model. chained: of the graphs after it.
      shapes: (name, shape, dtype) of the outputs that the caller gets.
    """

    plan: Plan
    chained: tuple[Plan, ...]
    shapes: tuple[tuple[str, tuple[int, ...], Any], ...]


class FastPath:
    """Runs batches whose arrays fit without conversion; the compiled argument check is the only check.

    Wrappers take part by their fused ops, which do the same as their `inward`, `outward` and `commit`, on the same memory. The GIL is
    held throughout, so one execution context serves all threads and no agent can end meanwhile.

    Args:
      plans: the plan for a number of rows, given the last one.
      fused_ops: returns the wrappers' fused ops; called again whenever their slabs have grown.
      chained: graphs that wrappers run on the model's outputs.
      max_sizes: number of sizes kept prepared, at least 1. With 1, plans reuse the memory of the last one.
      results: type of the mapping that outputs are returned in.

    Attributes:
      current: [2] int64: the address of the plan that everything is prepared for, 0 for none, and its number of rows.
      all_true: bools, True, at least as many as the rows of the current plan.
      makes_outputs: whether the compiled call fills an empty mapping of type `results`.
    """

    __slots__ = (
        "_capacity",
        "_chain",
        "_fused_ops",
        "_hidden",
        "_hidden_rows",
        "_max_sizes",
        "_model",
        "_outputs",
        "_plan",
        "_plans",
        "_prepared_for",
        "_results",
        "_run",
        "_shapes",
        "_sizes",
        "_visible",
        "all_true",
        "current",
        "makes_outputs",
    )

    def __init__(self, model: Model, plans: Callable[[int, Plan | None], Plan], fused_ops: Callable[[], Sequence[FusedOp]],
                 chained: Chained, max_sizes: int, results: type[dict[str, Array]] = dict):
        self._model, self._plans, self._fused_ops, self._max_sizes = model, plans, fused_ops, max_sizes
        self._sizes: dict[int, _Size] = {}
        self._hidden_rows = -1
        self._run = ExecutionContext((*model.inputs.values(), *model.outputs.values()), len(model.inputs),
                                     (chained.inputs, chained.outputs))
        self._results, self.makes_outputs = results, self._run.make_outputs(results)
        self._chain = Chain(self._run, chained) if chained.stages else None
        self._hidden = chained.hidden
        self._shapes: tuple[tuple[str, tuple[int, ...], Any], ...] = ()
        self._outputs = self._visible = (*model.outputs.values(), *chained.outputs)
        self.all_true: Array = np.ones(0, np.bool_)  # deterministic flags of all rows
        self._plan: Plan | None = None  # kept alive: compiled code has its address
        self.current: Array = np.zeros(2, np.int64)
        self._prepared_for = -1, -1, 0, self._run.named  # rows, capacity, and the address of the plan for these, 0 for none
        self._capacity = -1

    def infer(self, n_rows: int, inputs: Any, out: Any, slots: Array, steps: Array, keys: Array, deterministic: Any = None) -> Any:
        """Runs a batch, stores the wrappers' state and advances the step counters.

        Args:
          deterministic: [N] bool, contiguous; True for all rows, None for no row.
        Returns:
          outputs by name; None if the general path is needed (arrays that need conversion, an empty, chunked or long batch), and
          nothing has happened then.
        Raises:
          NonFiniteState: the batch has run, and a wrapper has something to report.
        """
        rows, capacity, address, named = self._prepared_for
        if n_rows != rows or len(keys) != capacity:
            self._select_size(n_rows, len(keys))
            address = self._prepared_for[2]
        if not address:
            return None
        if out is None:
            out = self._results()
            if not self.makes_outputs:
                out.update({name: _empty(shape, dtype) for name, shape, dtype in self._shapes})
        if deterministic is None:
            status = named(address, n_rows, inputs, out, slots, steps, keys)
        else:
            flags = self.all_true if deterministic is True else deterministic
            status = named(address, n_rows, inputs, out, slots, steps, keys, flags, None)
        if status > 0:
            raise self.error(status, out)
        return out if status == 0 else None

    def error(self, status: int, out: Any) -> Exception:
        """The error of a status above 0 of the compiled call, which has run with the outputs `out`."""
        return NonFiniteState(out) if status == NONFINITE else self._model.failure(status)

    @property
    def context(self) -> int:
        """The first argument for compiled code that calls `control.run_named` itself."""
        return self._run.address

    def ready_for(self, n_rows: int, capacity: int) -> int:
        """The address of the plan for such a batch, if all is prepared for it; 0 if the general path is needed.

        Args:
          capacity: of the table of agents.
        """
        rows, known, address, _ = self._prepared_for
        if n_rows != rows or capacity != known:
            self._select_size(n_rows, capacity)
            address = self._prepared_for[2]
        return address

    def invalidate(self) -> None:
        """Invalidates cached slab addresses; the next batch looks them up."""
        self.current[0] = 0
        self._prepared_for, self._capacity = (-1, -1, 0, self._run.named), -1

    def _select_size(self, n_rows: int, capacity: int) -> None:
        """Prepares for another size. After an error or interrupt, no partly prepared state is used."""
        run = self._run
        self.current[0] = 0
        self._prepared_for, self._plan = (-1, -1, 0, run.named), None
        if capacity != self._capacity:
            self._capacity = self._hidden_rows = -1
            self._sizes.clear()
            fused_ops = self._fused_ops()
            run.set_wrapper_ops(fused_ops, self._hidden)
            hidden = {op.port for op in fused_ops if op.hidden and op.kind == "scatter"} | self._hidden
            self._visible = tuple(spec for spec in self._outputs if spec.name not in hidden)
            self._capacity = capacity
        size = self._sizes.get(n_rows) or (self._add_size(n_rows) if n_rows else None)
        if size is not None:
            run.reserve(size.plan.arena_bytes)
            if self._chain is not None:
                self._chain.bind_plans(size.chained)
            self._plan, self._shapes = size.plan, size.shapes
        address = 0 if self._plan is None else self._plan.address
        self.current[:] = address, n_rows
        self._prepared_for = n_rows, capacity, address, run.named

    def _add_size(self, n_rows: int) -> _Size | None:
        """Prepares a new size; None if it needs the general path."""
        sizes, self._sizes = self._sizes, {}  # on an early exit, memory may have moved: the cached ones are invalid then
        found = self._make_size(n_rows, sizes)
        if found is not None:
            sizes[n_rows] = found
        self._sizes = sizes
        return found

    def _make_size(self, n_rows: int, sizes: dict[int, _Size]) -> _Size | None:
        """As `_add_size`; evicts a cached size if necessary."""
        last = None
        while len(sizes) >= self._max_sizes:
            last = sizes.pop(next(iter(sizes)))
        if self._max_sizes > 1:
            last = None  # inferers keep its plan for other uses
        plan = self._plans(n_rows, None if last is None else last.plan)
        if plan.releases_gil or not self._model.compiled(plan):
            return None
        chained = () if self._chain is None else self._chain.resolve(n_rows, None if last is None else last.chained)
        if chained is None:
            return None
        if n_rows > self._hidden_rows:
            self._hidden_rows = -1
            self._run.allocate_hidden(n_rows)
            self._hidden_rows = n_rows
        if len(self.all_true) < n_rows:
            self.all_true = np.ones(n_rows, np.bool_)
        return _Size(plan, chained, tuple((spec.name, spec.batched(n_rows), spec.dtype) for spec in self._visible))
