"""`BatchRunner`: runs batches of arrays by name. It counts rows, caches plans and allocates outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.native.execution.arguments import as_array, check_mapping, check_names, fitted
from cervello.native.execution.context import ExecutionContext
from cervello.native.execution.executor import Executable
from cervello.native.execution.noise_keys import RowNoise
from cervello.native.kernels import abi
from cervello.native.program.build import BuildResult
from cervello.native.program.encode import Plan

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Any]
_PLANS_KEPT = 64  # resolved plans that `run` caches; inferers keep their own


class BatchRunner(Executable):
    """A program that runs dicts of arrays. Immutable except for its pool and its cache of plans; threads may share it."""

    def __init__(self, name: str, built: BuildResult):
        super().__init__(name, built)
        self._plans: dict[int, Plan] = {}
        leading = next((spec for spec in self.spec.inputs.values() if spec.batch_axis == 0), None)
        one_call = self.program.wholly_planned and not built.dynamic_outputs
        one_call &= self.divisible or self.batched  # else row by row, on axis 0 only
        self._counting_input = leading.name if leading is not None and one_call else None  # its length is the number of rows

    def _plan(self, n_rows: int) -> Plan:
        plan = self._plans.get(n_rows)
        if plan is None:
            plan = self.resolve(n_rows)
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.pop(list(self._plans)[0], None)  # noqa: RUF015  (atomic: other threads may add concurrently)
            self._plans[n_rows] = plan
        return plan

    def _without_rows(self, run: ExecutionContext, arrays: Sequence[Any], results: Mapping[str, Array]) -> None:
        """Runs a batch of 0 rows: only outputs without a batch axis have elements; a row of zeros computes them."""
        columns, _ = self.fitted(arrays, list(results.values()), 0)
        shared = [spec.name for spec in self.spec.outputs.values() if spec.batch_axis is None]
        if not shared:
            return
        columns = [c if spec.batch_axis is None else np.zeros(spec.batched(1), spec.dtype)
                   for c, spec in zip(columns, self.spec.inputs.values(), strict=True)]
        found = {spec.name: np.empty(spec.batched(1), spec.dtype) for spec in self.spec.outputs.values()}
        run.context[abi.CTX.all_deterministic] = 1  # no row draws random numbers
        self.run_rows(run, columns, list(found.values()), self._plan(1))
        for name in shared:
            results[name][...] = found[name]

    def _run_fast_path(self, run: ExecutionContext, inputs: Arrays, out: Arrays | None, seed: int | None) -> dict[str, Array] | None:
        """Fast path: one compiled call for arrays that need no copy and a batch size seen before; None if the general path must run.

        Args:
          seed: as `_checked_seed` gives it.
        """
        try:
            n_rows = len(inputs[self._counting_input])  # type: ignore[index]
        except (LookupError, TypeError):
            return None
        plan = self._plans.get(n_rows)
        if plan is None or plan.releases_gil:
            return None
        if plan.arena_bytes > run.capacity:
            run.reserve(plan.arena_bytes)
        if out is not None and not isinstance(out, dict):
            return None
        results = dict(out) if out is not None else {s.name: np.empty(s.batched(n_rows), s.dtype) for s in self.spec.outputs.values()}
        named = run.named  # a local: the interpreter calls a slot attribute slowly
        if self._built.random_nodes:
            status = named(plan.address, n_rows, inputs, results, *RowNoise.of(run, n_rows).arguments(seed))
        else:
            status = named(plan.address, n_rows, inputs, results)
        if status > 0:
            raise self.failure(status)
        return results if status == 0 else None

    def _checked_seed(self, seed: int | None, deterministic: bool) -> int | None:
        """The checked seed of a model with random ops; None if deterministic."""
        if deterministic is not False and not isinstance(deterministic, (bool, np.bool_)):
            raise InputError(f"model {self.name!r}: expected deterministic=True or False, got {deterministic!r}")
        if deterministic:
            return None
        if seed is None:
            raise InputError(f"model {self.name!r}: expected seed= or deterministic=True, got neither; "
                             f"{self._built.random_nodes[0]} draws random numbers")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 1 << 64:
            raise InputError(f"model {self.name!r}: expected a seed, 0 <= seed < 2**64, got {seed!r}")
        return int(seed)

    def _columns(self, inputs: Arrays) -> list[Any]:
        specs = self.spec.inputs
        check_mapping(self.name, inputs)
        try:
            arrays = [inputs[name] for name in specs]
        except KeyError:
            check_names(self.name, specs, inputs, "model")
            raise
        if len(inputs) != len(arrays):
            check_names(self.name, specs, inputs, "model")
        return arrays

    def _rows(self, arrays: Sequence[Any]) -> int:
        for spec, array in zip(self.spec.inputs.values(), arrays, strict=True):
            if spec.batch_axis is not None:
                shape = as_array(self.name, spec, array).shape
                if len(shape) == len(spec.shape) and shape == spec.shape and (not self.batched or self._built.batching.vectorized):
                    return 1  # as exported, without a batch axis
                if len(shape) != len(spec.shape) + 1:
                    fitted(self.name, spec, array, None)
                return int(shape[spec.batch_axis])
        return 1
